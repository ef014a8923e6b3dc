// Builds the Studio of the tests, with the major version of Sanity that MAJOR names, into e2e/studio/dist/<major>.
// The plugin is taken as it was built and by its name, so that the package's exports are what is tested.
import {fileURLToPath} from 'node:url'
import {defineConfig} from 'vite'

const major = process.env.MAJOR ?? '5'
const at = (path) => fileURLToPath(new URL(path, import.meta.url))

export default defineConfig({
  root: at('.'),
  base: '/',
  logLevel: 'error',
  define: {'process.env.NODE_ENV': '"production"', 'process.env': '{}'},
  resolve: {
    alias: major === '6' ? [{find: /^sanity(\/.*)?$/, replacement: 'sanity-6$1'}] : [],
    dedupe: ['react', 'react-dom', 'styled-components'],
  },
  build: {outDir: at(`dist/${major}`), emptyOutDir: true, minify: false, chunkSizeWarningLimit: 100_000},
})
