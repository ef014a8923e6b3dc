// What would be published: everything that is meant to be, and nothing else.
import assert from 'node:assert/strict'
import {execFileSync} from 'node:child_process'
import {readFileSync} from 'node:fs'
import {test} from 'node:test'

const json = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {encoding: 'utf8'})
const [{files}] = JSON.parse(json)
const paths = files.map(({path}) => path)

test('the package has what it needs', () => {
  const needed = [
    'CHANGELOG.md',
    'LICENSE',
    'README.md',
    'dist/index.d.ts',
    'dist/index.js',
    'package.json',
    'src/index.ts',
  ]
  assert.deepEqual(
    needed.filter((path) => !paths.includes(path)),
    [],
  )
})

test('the package has the pictures of its README', () => {
  const pictures = [...readFileSync('README.md', 'utf8').matchAll(/\]\((docs\/[^)]+)\)/g)].map(([, path]) => path)
  assert.ok(pictures.length > 0)
  assert.deepEqual(
    pictures.filter((path) => !paths.includes(path)),
    [],
  )
})

test('the package has nothing that is ours alone', () => {
  const meant = /^(dist\/|docs\/|src\/(?!.*\.test\.)|CHANGELOG\.md$|LICENSE$|README\.md$|package\.json$)/
  assert.deepEqual(
    paths.filter((path) => !meant.test(path)),
    [],
  )
})
