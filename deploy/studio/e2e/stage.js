// What the tests play on: a Content Lake, a Studio before it, a browser with people in it and, where a test wants it, the
// service behind it.
import {spawn} from 'node:child_process'
import {readFile} from 'node:fs/promises'
import {createServer} from 'node:http'
import {extname, join} from 'node:path'
import {createRequire} from 'node:module'
import {fileURLToPath} from 'node:url'
import {chromium} from 'playwright-core'
import {DATASET, PROJECT, start} from './content-lake/server.js'

const SECRET = 'invented webhook secret'

export const USERS = {
  ada: {id: 'pAda', name: 'Ada', role: 'editor', token: 'skInventedTokenOfAda'},
  bea: {id: 'pBea', name: 'Bea', role: 'editor', token: 'skInventedTokenOfBea'},
  visitor: {id: 'pVisitor', name: 'Visitor', role: 'viewer', token: 'skInventedTokenOfVisitor'},
  robot: {id: 'pRobot', name: 'bigin-sync', role: 'editor', token: 'skInventedRobotToken'},
}

export const startLake = () => start({users: Object.values(USERS), webhookSecret: SECRET})

const TYPES = {'.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml'}

// Serves the Studio that was built for a major version; returns its address, the windows that are open to it by whose they
// are, and how to end it.
export const serveStudio = async (major, apiHost) => {
  const folder = fileURLToPath(new URL(`./studio/dist/${major}`, import.meta.url))
  const where = `window.where = ${JSON.stringify({apiHost, projectId: PROJECT, dataset: DATASET})}`
  const server = createServer(async (request, response) => {
    const path = new URL(request.url, 'http://studio').pathname
    const type = TYPES[extname(path)]
    if (path === '/where.js') {
      response.writeHead(200, {'content-type': 'text/javascript'})
      return response.end(where)
    }
    try {
      const file = await readFile(join(folder, type ? path : 'index.html'))
      response.writeHead(200, {'content-type': type ?? 'text/html', ...(type ? {'cache-control': 'max-age=3600'} : {})})
      response.end(file)
    } catch {
      response.writeHead(404).end()
    }
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const close = () => {
    server.closeAllConnections()
    server.close()
  }
  return {url: `http://localhost:${server.address().port}`, windows: new Map(), close}
}

// The real program, with its settings in the environment and its database in `folder`. Resolves once it listens.
export const startService = async (binary, folder, settings) => {
  const child = spawn(binary, ['serve'], {cwd: folder, env: settings, stdio: ['ignore', 'ignore', 'pipe']})
  let log = ''
  const address = await new Promise((resolve, reject) => {
    child.on('exit', (code) => reject(new Error(`bigin-sync ended with ${code}: ${log}`)))
    child.stderr.setEncoding('utf8').on('data', (text) => {
      log += text
      const found = /"address":"([^"]+)"/.exec(log)
      if (found) resolve(found[1])
    })
  })
  const stop = () =>
    new Promise((resolve) => {
      child.removeAllListeners('exit')
      child.on('exit', resolve)
      child.kill('SIGTERM')
    })
  return {url: `http://${address}`, log: () => log, stop}
}

export const settings = (lake, bigin, more = {}) => ({
  SANITY_PROJECT_ID: PROJECT,
  SANITY_DATASET: DATASET,
  SANITY_API_URL: lake.url,
  SANITY_API_WRITE_TOKEN: USERS.robot.token,
  SANITY_WEBHOOK_SECRET: SECRET,
  ...bigin,
  LISTEN_ADDR: '127.0.0.1:0',
  RETRY_BASE_DELAY: '50ms',
  RECONCILE_INTERVAL: '0s',
  LOG_FORMAT: 'json',
  ...more,
})

// Nothing but this machine is asked; a Studio asks for much that is elsewhere (fonts, versions, telemetry).
export const openBrowser = () =>
  chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: [
      '--ignore-certificate-errors',
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE *.localhost',
    ],
  })

// The Content Lake of here refuses the web socket of presence. A slow Studio throws that where one in time handles it.
const NO_PRESENCE = 'WebSocketError: WebSocket connection error'

// A page of a person's own window, logged in to the Studio. What is thrown in it is kept in `faults`.
export const logIn = async (browser, studio, user, path = '/') => {
  const context = studio.windows.get(user) ?? (await openWindow(browser, user))
  studio.windows.set(user, context)
  const page = await context.newPage()
  page.faults = []
  page.on('pageerror', (error) => `${error}` === NO_PRESENCE || page.faults.push(`${error}`))
  await page.goto(studio.url + path)
  return page
}

// One for each person: the next page there has Studio in the cache.
const openWindow = async (browser, user) => {
  const own = {locale: 'en-GB', timezoneId: 'Europe/London', viewport: {width: 1200, height: 700}}
  const context = await browser.newContext({...own, ignoreHTTPSErrors: true})
  context.setDefaultTimeout(30_000)
  await context.addInitScript(
    ([project, token]) => {
      localStorage.setItem(`__studio_auth_token_${project}`, JSON.stringify({token, time: new Date().toISOString()}))
    },
    [PROJECT, user.token],
  )
  return context
}

const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js')

// What stands in the way of people who do not see the page, or use no mouse, in the part that `selector` finds.
export const barriers = async (page, selector) => {
  await page.addScriptTag({path: axe})
  const {violations, passes} = await page.evaluate((selector) => window.axe.run(selector), selector)
  if (passes.length === 0) throw new Error(`nothing to look at in ${selector}`)
  return violations.map(({id, nodes}) => `${id}: ${nodes.map(({html}) => html).join(', ')}`)
}
