// What people do with the pages, in Debian's Chromium. tests/it/dashboard/browser.rs has set the stage: URL is the service, TOKEN its
// admin token, CONTROL changes the world around it. SCREENSHOTS is a folder for pictures, if they are wanted.
//
// Anything on the console, any violation of the content security policy and any request to another host fails a test.
import assert from 'node:assert/strict'
import {readFileSync} from 'node:fs'
import {createRequire} from 'node:module'
import {join} from 'node:path'
import {after, afterEach, before, test} from 'node:test'

const require = createRequire(join(process.cwd(), 'package.json'))
const {chromium} = require('playwright-core')
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')

const {URL: service, CONTROL: control, TOKEN: token, SCREENSHOTS: pictures} = process.env

const DESKTOP = {width: 1280, height: 900}
const PHONE = {width: 390, height: 844}
const BAD_EMAIL = 'Bigin rejected Email: not an email address'

let browser
const contexts = []
let faults = []

before(async () => {
  // A host that is neither HTTPS nor this machine by name: browsers trust it less.
  const args = ['--host-resolver-rules=MAP dashboard.test 127.0.0.1']
  browser = await chromium.launch({executablePath: '/usr/bin/chromium', args})
})
after(() => browser?.close())
afterEach(async () => {
  await Promise.all(contexts.splice(0).map((context) => context.close()))
  const found = faults
  faults = []
  assert.deepEqual(found, [], 'the console is quiet, and nothing is fetched from elsewhere')
})

const world = async (what, lead) => {
  const response = await fetch(`${control}/${what}/${lead}`, {method: 'POST'})
  assert.equal(response.status, 204)
}

// A page of a browser that is nobody's yet. `expected` are messages of the console that belong to the story.
const visitor = async ({expected = [], ...options} = {}) => {
  const context = await browser.newContext({viewport: DESKTOP, locale: 'en-GB', timezoneId: 'Europe/London', ...options})
  contexts.push(context)
  context.setDefaultTimeout(30_000)
  const page = await context.newPage()
  page.on('console', (message) => {
    const text = message.text()
    if (!expected.some((words) => text.includes(words))) faults.push(`${page.url()}: ${message.type()}: ${text}`)
  })
  page.on('pageerror', (error) => faults.push(`${page.url()}: ${error}`))
  page.on('request', (request) => {
    const host = new URL(request.url()).host
    const known = [service, control].map((url) => new URL(url).port)
    if (!request.url().startsWith('data:') && !known.some((port) => host.endsWith(`:${port}`))) {
      faults.push(`${page.url()} asks ${request.url()}`)
    }
  })
  return page
}

const logIn = async (page, path = '/', origin = service) => {
  await page.goto(origin + path)
  await page.getByLabel('Admin token').fill(token)
  await page.getByRole('button', {name: 'Log in'}).click()
  await page.waitForURL((url) => url.pathname !== '/login')
}

const operator = async (path, options) => {
  const page = await visitor(options)
  await logIn(page, path)
  return page
}

// Waits until nothing is on its way.
const atRest = async () => {
  for (;;) {
    const response = await fetch(`${service}/api/health`, {headers: {authorization: `Bearer ${token}`}})
    if ((await response.json()).ledger.in_progress === 0) return
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

// Set on the window, it is gone when the page has been loaded again.
const remember = (page) => page.evaluate(() => { window.sameAsBefore = true })
const isSame = (page) => page.evaluate(() => window.sameAsBefore === true)

const findLead = async (page, lead) => {
  await page.goto(`${service}/syncs`)
  await page.getByLabel('Lead or contact id').fill(lead)
  await page.getByRole('button', {name: 'Find'}).click()
}

test('whoever has the token logs in, and comes to the page that was asked for', async () => {
  const page = await visitor({expected: ['403 (Forbidden)']})
  await page.goto(`${service}/failures`)
  assert.match(page.url(), /\/login\?next=%2Ffailures$/)
  await page.getByLabel('Admin token').fill('not the token')
  await page.keyboard.press('Enter')
  await page.getByRole('alert').getByText('That is not the admin token').waitFor()
  await page.getByLabel('Admin token').fill(token)
  await page.keyboard.press('Enter')
  await page.waitForURL(`${service}/failures`)
  await page.getByRole('button', {name: 'Log out'}).click()
  await page.waitForURL(`${service}/login`)
  await page.goto(`${service}/failures`)
  assert.match(page.url(), /\/login/, 'and is out')
})

test('a link on another site comes through the login by itself, for whoever is logged in', async () => {
  const page = await operator('/')
  await page.goto(`${control.replace('127.0.0.1', 'localhost')}/link`)
  await page.getByRole('link', {name: 'The failures'}).click()
  await page.waitForURL(`${service}/failures`)
  await page.getByRole('heading', {name: 'Failures', level: 1}).waitFor()
})

test('forms work over plain HTTP, where browsers say little of where a form comes from', async () => {
  const origin = service.replace('127.0.0.1', 'dashboard.test')
  const page = await visitor()
  await logIn(page, '/', origin)
  await page.getByText('Pause sending').click()
  await page.getByRole('button', {name: 'Pause'}).click()
  await page.getByText('Sending is paused. Resume to continue.').first().waitFor()
  await page.getByRole('button', {name: 'Resume'}).click()
  await page.getByText('Sending resumed.').waitFor()
})

test('a new operator finds what happened, why, what would mend it, and what has waited longest', async () => {
  const page = await operator('/')
  await page.locator('#headline').getByText('5 leads failed').waitFor()
  await page.locator('#services').getByText('Reachable').first().waitFor()
  // Since the restart one may not have been called.
  assert.equal(await page.locator('#services').getByText('Unavailable').count(), 0)

  await findLead(page, 'f2c7419d-8d1e-4b7a-9c05-6e2f1a4d8b73')
  await page.getByRole('cell', {name: 'Withdrawn in Sanity.'}).waitFor()
  await page.locator('tbody a').first().click()
  await page.locator('#timeline').getByText("Withdrawn in Sanity: its crmStatus is no longer REQUESTED").waitFor()

  await findLead(page, 'drafts.d95b0c13-8d1e-4b7a-9c05-6e2f1a4d8b73')
  await page.locator('tbody a').first().click()
  await page.locator('#standing').getByText('longer than').waitFor()
  await page.locator('#standing').getByText('Shorten the field in Sanity').waitFor()
  assert.equal(
    await page.locator('#studio').getAttribute('href'),
    'https://example.org/studio/intent/edit/id=d95b0c13-8d1e-4b7a-9c05-6e2f1a4d8b73;type=dbrLead',
  )

  await findLead(page, '3f9a1c7e-8d1e-4b7a-9c05-6e2f1a4d8b73')
  const contact = await page.locator('td[data-label="Contact"] code').innerText()
  await findLead(page, contact)
  await page.getByRole('rowheader', {name: '3f9a1c7e-8d1e-4b7a-9c05-6e2f1a4d8b73'}).waitFor()
  assert.equal(
    await page.locator('a[id^="bigin-"]').getAttribute('href'),
    `https://bigin.zoho.eu/bigin/Home#/contacts/${contact}`,
  )
})

test('a lead appears in the list by itself, and its bar moves until it is sent', async () => {
  const page = await operator('/syncs?q=77b3e012-8d1e-4b7a-9c05-6e2f1a4d8b73')
  await page.getByText('No sync has a lead or contact ID that contains 77b3e012-8d1e-4b7a-9c05-6e2f1a4d8b73').waitFor()
  await page.getByText('Live', {exact: true}).waitFor()
  await remember(page)
  await world('request', '77b3e012')
  const bar = page.locator('tbody progress')
  await bar.waitFor()
  const moved = await page.waitForFunction(() => {
    const bar = document.querySelector('tbody progress')
    window.firstValue ??= bar?.value
    return bar && bar.value > window.firstValue
  })
  assert.ok(moved)
  assert.match(await page.locator('tbody .badge').innerText(), /Waiting to tag, \d+\ss left/)
  await page.locator('tbody .badge.good', {hasText: 'Sent'}).waitFor()
  assert.ok(await isSame(page), 'without loading the page again')
})

test('a page that changes leaves alone what its viewer does', async () => {
  const page = await operator('/syncs')
  await page.getByText('Live', {exact: true}).waitFor()
  await page.getByText('What the states mean').click()
  await page.getByLabel('Lead or contact id').fill('half an id')
  const row = page.locator('tbody a').nth(3)
  const id = await row.getAttribute('id')
  await row.focus()
  await page.evaluate(() => scrollTo(0, 200))
  const scrolled = await page.evaluate(() => scrollY)
  await world('request', '5fd20b9c')
  await page.getByRole('rowheader', {name: '5fd20b9c-8d1e-4b7a-9c05-6e2f1a4d8b73'}).waitFor()
  assert.equal(await page.evaluate(() => document.activeElement.id), id)
  assert.equal(await page.getByLabel('Lead or contact id').inputValue(), 'half an id')
  assert.ok(await page.locator('#meanings').evaluate((details) => details.open))
  assert.ok(Math.abs((await page.evaluate(() => scrollY)) - scrolled) < 200)
})

test('a failure is mended and tried again, and its page shows how it goes', async () => {
  const page = await operator('/')
  await findLead(page, '7c2e90b4-8d1e-4b7a-9c05-6e2f1a4d8b73')
  await page.getByRole('cell', {name: BAD_EMAIL}).waitFor()
  await page.locator('tbody a').first().click()
  await page.locator('#standing').getByText('Correct the email address').waitFor()
  await world('mend', '7c2e90b4')
  await page.getByRole('button', {name: 'Retry', exact: true}).click()
  await page.getByRole('status').getByText('It is being retried.').waitFor()
  assert.match(page.url(), /\/syncs\/\d+$/, 'the note is shown once')
  await page.locator('#standing').getByText('Sent', {exact: true}).waitFor()
  await page.locator('#timeline').getByText('Wrote SENT to Sanity').waitFor()
  await page.locator('#facts').getByRole('link', {name: /^Sync \d+$/}).click()
  await page.getByText('Sent again since').waitFor()
})

test('all leads of a reason are tried again at once', async () => {
  const page = await operator('/failures')
  const group = page.locator('section', {hasText: BAD_EMAIL})
  await group.getByText('2 leads').waitFor()
  await world('mend', 'b81d3f66')
  await group.getByRole('button', {name: 'Retry all 2'}).click()
  await page.getByText('2 leads queued for retry.').waitFor()
  // One was mended, the other fails again.
  await group.getByText('1 lead').waitFor()
  await group.getByRole('link', {name: 'Show it'}).click()
  await page.getByRole('rowheader', {name: '24e6a90f-8d1e-4b7a-9c05-6e2f1a4d8b73'}).first().waitFor()
})

test('without JavaScript everything is there: login, list, one sync, trying again', async () => {
  const page = await operator('/', {javaScriptEnabled: false})
  await page.getByText(/leads failed/).first().waitFor()
  await page.getByRole('link', {name: 'Syncs'}).click()
  await page.getByLabel('Lead or contact id').fill('24e6a90f-8d1e-4b7a-9c05-6e2f1a4d8b73')
  await page.getByRole('button', {name: 'Find'}).click()
  await page.locator('tbody a').first().click()
  assert.match(await page.locator('#timeline time').first().innerText(), /UTC$/)
  await page.getByRole('button', {name: 'Retry', exact: true}).click()
  await page.getByText('It is being retried.').waitFor()
  await page.getByRole('link', {name: 'Failures'}).click()
  await page.locator('section', {hasText: BAD_EMAIL}).getByRole('button').click()
  await page.getByText(/queued for retry|nothing left to retry/).waitFor()
  await page.getByRole('button', {name: 'Log out'}).click()
  await page.getByLabel('Admin token').waitFor()
})

test('a sync is cancelled by keyboard alone', async () => {
  await atRest()
  await world('bigin', 'down')
  await world('request', '8c41f7d2')
  const page = await operator('/syncs?q=8c41f7d2-8d1e-4b7a-9c05-6e2f1a4d8b73')
  await page.locator('tbody a').first().focus()
  await page.keyboard.press('Enter')
  await page.waitForURL(/\/syncs\/\d+$/)
  await page.locator('#cancelling summary').focus()
  await page.keyboard.press('Enter')
  await page.keyboard.press('Tab')
  assert.equal(await page.evaluate(() => document.activeElement.id), 'cancel')
  await page.keyboard.press('Enter')
  await page.getByText('Sync cancelled.').waitFor()
  await page.locator('#standing').getByText('As long as it says REQUESTED in Sanity').waitFor()
})

test('while Bigin is down the page says so, who waits longest, and that none is lost', async () => {
  await world('request', '0d9e6c35')
  await world('request', 'b5507ae8')
  const page = await operator('/')
  await page.locator('#headline').getByText(/Bigin is unavailable\. 2 leads are queued; none is lost\./).waitFor()
  await page.locator('#services').getByText('Unavailable').first().waitFor()
  assert.equal(await page.locator('#oldest').innerText(), '0d9e6c35-8d1e-4b7a-9c05-6e2f1a4d8b73')
  await page.locator('#oldest').click()
  await page.locator('#standing').getByText(/Waiting: /).waitFor()
})

test('times are in the zone of whoever looks', async () => {
  const shown = async (timezoneId) => {
    const page = await operator('/syncs?q=3f9a1c7e-8d1e-4b7a-9c05-6e2f1a4d8b73', {timezoneId})
    return page.locator('tbody time').first().innerText()
  }
  const [here, there] = [await shown('UTC'), await shown('Asia/Kathmandu')]
  assert.notEqual(here, there)
  assert.doesNotMatch(here, /UTC/)
})

// --- Every page, in every look -----------------------------------------------------------------------------------------

// The last sync of a lead, by its own page.
const pageOf = async (page, lead) => {
  await page.goto(`${service}/syncs?q=${lead}`)
  return new URL(await page.locator('tbody a').first().getAttribute('href'), service).pathname
}

const pages = async (page) => ({
  overview: '/',
  list: '/syncs',
  found: '/syncs?state=failed&q=24e6a90f-8d1e-4b7a-9c05-6e2f1a4d8b73',
  nothing: '/syncs?q=lead-nowhere',
  failed: await pageOf(page, '24e6a90f-8d1e-4b7a-9c05-6e2f1a4d8b73'),
  cancelled: await pageOf(page, '8c41f7d2-8d1e-4b7a-9c05-6e2f1a4d8b73'),
  waiting: await pageOf(page, '0d9e6c35-8d1e-4b7a-9c05-6e2f1a4d8b73'),
  sent: await pageOf(page, '7c2e90b4-8d1e-4b7a-9c05-6e2f1a4d8b73'),
  failures: '/failures',
  missing: '/syncs/999999',
})

const check = async (page, name) => {
  // As a string: the policy forbids pages a script of anybody else, and a test is not a page.
  await page.evaluate(`${axe}; undefined`)
  const {violations} = await page.evaluate(() => axe.run({exclude: []}, {preload: false}))
  const told = violations.map(({id, nodes}) => `${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).join('; ')}`)
  assert.deepEqual(told, [], name)
  const width = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth])
  assert.ok(width[0] <= width[1], `${name} is wider than the window: ${width}`)
}

for (const [device, viewport] of Object.entries({desktop: DESKTOP, phone: PHONE})) {
  for (const colorScheme of ['light', 'dark']) {
    test(`axe finds nothing on any page: ${device}, ${colorScheme}`, async () => {
      const page = await visitor({viewport, colorScheme, expected: ['404 (Not Found)']})
      await page.goto(`${service}/login`)
      await check(page, 'login')
      await logIn(page)
      for (const [name, path] of Object.entries(await pages(page))) {
        await page.goto(service + path)
        await page.evaluate(() => { for (const details of document.querySelectorAll('details')) details.open = true })
        await check(page, name)
      }
    })
  }
}

test('the keyboard reaches every control, and shows where it is', async () => {
  const page = await operator('/', {expected: ['404 (Not Found)']})
  for (const [name, path] of Object.entries(await pages(page))) {
    await page.goto(service + path)
    const wanted = await page.evaluate(() => {
      const controls = Array.from(document.querySelectorAll('a[href], button, input:not([type=hidden]), select, summary'))
      const seen = controls.filter((control) => control.checkVisibility() && control.tabIndex >= 0)
      seen.forEach((control, number) => { control.number = number })
      return seen.length
    })
    const reached = new Set()
    await page.evaluate(() => { document.activeElement?.blur() })
    for (let step = 0; step < wanted + 5; step++) {
      await page.keyboard.press('Tab')
      const [number, outline] = await page.evaluate(() => {
        const style = getComputedStyle(document.activeElement)
        return [document.activeElement.number, style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2]
      })
      if (number === undefined) continue
      assert.ok(outline, `${name}: control ${number} shows that it has the focus`)
      reached.add(number)
    }
    assert.equal(reached.size, wanted, `${name}: all controls`)
  }
})

test('when Bigin is back the leads go on, and the page with them', async () => {
  const page = await operator('/')
  await remember(page)
  await world('bigin', 'up')
  await page.locator('#headline').getByText('No leads are waiting.').waitFor()
  assert.ok(await isSame(page))
})

test('pictures', {skip: !pictures}, async () => {
  const looks = {
    desktop: {viewport: DESKTOP, colorScheme: 'light'},
    dark: {viewport: DESKTOP, colorScheme: 'dark'},
    phone: {viewport: PHONE, colorScheme: 'light'},
  }
  for (const [look, options] of Object.entries(looks)) {
    const page = await visitor(options)
    const shoot = async (name, fullPage = false) => {
      await page.waitForTimeout(500)
      await page.screenshot({path: join(pictures, `${name}-${look}.png`), fullPage})
    }
    await page.goto(`${service}/login`)
    await shoot('login')
    await logIn(page)
    await world('request', `b7${look.length}c5e19`)
    await page.locator('#waiting .count', {hasText: '1'}).waitFor()
    await shoot('overview', look !== 'phone')
    await page.goto(`${service}/syncs`)
    await page.locator('tbody progress').waitFor()
    await page.waitForTimeout(1500)
    await shoot('list')
    await page.goto(service + await pageOf(page, '24e6a90f-8d1e-4b7a-9c05-6e2f1a4d8b73'))
    await shoot('sync')
    await page.goto(`${service}/failures`)
    await shoot('failures')
    await atRest()
    await world('bigin', 'down')
    await world('request', `e0${look.length}4d7a2`)
    await world('request', `4a${look.length}99c0f`)
    await page.goto(service)
    await page.locator('#headline').getByText('Bigin is unavailable').waitFor()
    await shoot('trouble')
    await world('bigin', 'up')
    await atRest()
  }
})
