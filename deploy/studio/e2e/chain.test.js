// Editors and what they do, from the click in a real Studio to the contact in Bigin and back: Studio with the plugin as it is
// published, Debian's Chromium, the Content Lake of this folder, its webhook, the real bigin-sync and the fake Bigin, which
// tests/it/studio.rs has started. SCREENSHOTS is a folder for pictures, if they are wanted; STUDIO_MAJORS those to play with.
import assert from 'node:assert/strict'
import {mkdtemp, rm} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {after, afterEach, before, describe, test} from 'node:test'
import {barriers, logIn, openBrowser, serveStudio, settings, startLake, startService, USERS} from './stage.js'

const {BIGIN_SYNC, BIGIN_CONTROL, SCREENSHOTS, STUDIO_MAJORS = '5,6'} = process.env
const BIGIN = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => /^BIGIN_(CLIENT|REFRESH|ACCOUNTS)_/.test(name)),
)

const BAD_EMAIL = 'Bigin rejected Email: not an email address'

const eventually = async (what, probe) => {
  const end = Date.now() + 40_000
  for (;;) {
    const found = await probe()
    if (found) return found
    if (Date.now() > end) assert.fail(`never came true: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

for (const major of STUDIO_MAJORS.split(',')) {
  describe(`Studio ${major}`, () => {
    let lake, studio, browser, service, folder
    const pages = []

    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'bigin-sync-studio-'))
      lake = await startLake()
      service = await startService(BIGIN_SYNC, folder, settings(lake, BIGIN, {TAG_DELAY: '1s', RETRY_MAX_DELAY: '1s'}))
      lake.webhook.url = `${service.url}/webhooks/sanity`
      studio = await serveStudio(major, lake.studioUrl)
      browser = await openBrowser()
    })
    after(async () => {
      await browser?.close()
      studio?.close()
      await service?.stop()
      lake?.close()
      if (folder) await rm(folder, {recursive: true, force: true})
    })
    afterEach(async () => {
      const faults = pages.flatMap((page) => page.faults)
      await Promise.all(pages.splice(0).map((page) => page.close()))
      assert.deepEqual(faults, [], 'nothing is thrown in the browser')
      assert.deepEqual(lake.failures.splice(0), [], 'the Content Lake could answer everything')
    })

    // A lead as it is before the first request: created through the API, without any of the CRM's fields.
    const publish = (name, fields = {}) => {
      const [id, email] = [`lead-${name.toLowerCase()}-${major}`, `${name.toLowerCase()}.${major}@example.org`]
      const lead = {_id: id, _type: 'dbrLead', firstName: name, secondName: 'Example', emailAddress: email, ...fields}
      lake.lake.commit([{createOrReplace: lead}], {by: 'pApi'})
      return id
    }
    const says = (id) => lake.lake.get(id) ?? {}
    const until = (id, status) => eventually(`${id} says ${status}`, () => says(id).crmStatus === status)
    const contacts = async (email) => {
      const all = await (await fetch(`${BIGIN_CONTROL}/contacts`)).json()
      return all.filter(({fields}) => fields.Email === email)
    }

    const bigin = (state) => fetch(`${BIGIN_CONTROL}/${state}`, {method: 'POST'})

    const open = async (id, user = USERS.ada) => {
      const page = await logIn(browser, studio, user, `/structure/dbrLead;${id}`)
      pages.push(page)
      await panel(page).waitFor()
      return page
    }
    const panel = (page) => page.getByRole('group', {name: 'CRM'})
    const status = (page, name) => page.locator(`[data-crm-status="${name}"]`).waitFor()
    const badge = (page, label) => page.locator('[data-ui=Badge]').getByText(label, {exact: true}).waitFor()
    const picture = async (page, name) => {
      if (!SCREENSHOTS || major !== STUDIO_MAJORS.split(',')[0]) return
      await page.mouse.move(0, 0)
      // Until what moves has come to rest.
      await page.waitForTimeout(600)
      await page.screenshot({path: join(SCREENSHOTS, `${name}.png`)})
    }
    const answer = (page, text) => page.getByRole('dialog').getByRole('button', {name: text, exact: true}).click()
    // Finds an item of the actions' menu in the state that is wanted. Studio closes the menu when it renders the actions
    // again, as it does when the lead has changed or another version of it has loaded: the menu is opened again then.
    const menuItem = (page, name, {disabled}) => {
      const item = page.getByRole('menu').getByRole('menuitem', {name})
      return eventually(`the menu has ${name}, ${disabled ? 'disabled' : 'enabled'}`, async () => {
        if (!(await page.getByRole('menu').isVisible())) await page.getByTestId('action-menu-button').click()
        return (await item.isDisabled({timeout: 1000}).catch(() => !disabled)) === disabled && item
      })
    }
    const choose = (page, name) =>
      eventually(`${name} is chosen`, async () => {
        const item = await menuItem(page, name, {disabled: false})
        return item.click({timeout: 1000}).then(
          () => true,
          () => false,
        )
      })

    test('an editor sends a lead and sees it arrive', async () => {
      const id = publish('Ada')
      const page = await open(id)
      await picture(page, 'not-sent')
      // What is seen on the way is not a matter of how fast this machine is.
      await bigin('down')
      await choose(page, 'Send to CRM')
      await picture(page, 'confirm')
      await answer(page, 'Send to CRM')

      await status(page, 'REQUESTED')
      await badge(page, 'Sending…')
      await menuItem(page, 'Sending…', {disabled: true})
      await page.keyboard.press('Escape')
      const bar = panel(page).getByRole('progressbar')
      await bar.waitFor()
      if (SCREENSHOTS) await eventually('some progress', async () => (await bar.getAttribute('aria-valuenow')) > 40)
      await picture(page, 'sending')
      await bigin('up')

      await status(page, 'SENT')
      await badge(page, 'In CRM')
      await picture(page, 'in-crm')
      assert.deepEqual(await barriers(page, '[data-crm-status]'), [])
      const {biginContactId, lastSyncedAt} = says(id)
      assert.equal(
        await panel(page).getByRole('link').getAttribute('href'),
        `https://bigin.example.org/contacts/${biginContactId}`,
      )
      assert.equal(await panel(page).locator('time').getAttribute('datetime'), lastSyncedAt)
      const [contact, ...more] = await contacts(`ada.${major}@example.org`)
      assert.deepEqual([contact.id, contact.tags, more], [biginContactId, ['DBR_Dashboard_Import'], []])
    })

    test('a rejected lead shows its reason, is fixed and sent again', async () => {
      const id = publish('Bob', {emailAddress: 'not an address'})
      const page = await open(id)
      await panel(page).getByRole('button', {name: 'Send to CRM'}).click()
      await answer(page, 'Send to CRM')
      await status(page, 'FAILED')
      await panel(page).getByText(BAD_EMAIL).waitFor()
      await picture(page, 'failed')
      await page.locator('[data-ui=Badge]').getByText('Failed').hover()
      await page.getByText(BAD_EMAIL).nth(1).waitFor()

      await page.getByTestId('field-emailAddress').locator('input').fill(`bob.${major}@example.org`)
      await panel(page).getByText('There are unpublished edits').waitFor()
      await panel(page).getByRole('button', {name: 'Try again'}).click()
      await page.getByRole('dialog').getByText('The published version is the one that failed').waitFor()
      const answers = await page.getByRole('dialog').locator('button').allInnerTexts()
      assert.deepEqual(answers.slice(-2), ['Send published version', 'Publish and send'], 'the primary answer is last')
      await picture(page, 'unpublished-edits')
      await answer(page, 'Publish and send')
      await status(page, 'SENT')
      assert.equal(lake.lake.get(`drafts.${id}`), undefined)
      assert.equal(says(id).crmError, undefined)
      assert.equal((await contacts(`bob.${major}@example.org`)).length, 1)
    })

    test('a draft left open neither travels nor undoes the result', async () => {
      const id = publish('Cleo')
      const page = await open(id)
      await page.getByTestId('field-secondName').locator('input').fill('Unfinished')
      await eventually('there is a draft', () => lake.lake.get(`drafts.${id}`)?.secondName === 'Unfinished')
      await panel(page).getByRole('button', {name: 'Send to CRM'}).click()
      await answer(page, 'Send published version')
      await status(page, 'SENT')
      const [contact] = await contacts(`cleo.${major}@example.org`)
      assert.equal(contact.fields.Last_Name, 'Example')
      assert.equal(says(`drafts.${id}`).secondName, 'Unfinished')
      assert.equal(says(`drafts.${id}`).crmStatus, 'SENT')

      const webhooks = lake.webhook.attempts.length
      await page.getByTestId('action-publish').click()
      await eventually('it is published', () => says(id).secondName === 'Unfinished')
      await lake.webhook.settled()
      assert.equal(lake.webhook.attempts.length, webhooks, 'publishing asks for nothing')
      assert.deepEqual([says(id).crmStatus, says(id).biginContactId], ['SENT', contact.id])
      await status(page, 'SENT')
    })

    test('what was never published is published and sent as one', async () => {
      const id = `lead-dora-${major}`
      const draft = {
        _id: `drafts.${id}`,
        _type: 'dbrLead',
        firstName: 'Dora',
        emailAddress: `dora.${major}@example.org`,
      }
      lake.lake.commit([{create: draft}], {by: 'pApi'})
      const page = await open(id)
      await panel(page).getByRole('button', {name: 'Send to CRM'}).click()
      assert.equal(await page.getByRole('dialog').getByRole('button', {name: 'Send published version'}).count(), 0)
      await answer(page, 'Publish and send')
      await status(page, 'SENT')
      const creation = lake.lake.transactions.find(({changes}) =>
        changes.some((change) => change.id === id && !change.before),
      )
      assert.equal(creation.changes.find((change) => change.id === id).after.crmStatus, 'REQUESTED')
    })

    test('two editors at once make one request, and both see it arrive', async () => {
      const id = publish('Eve')
      const pair = await Promise.all([open(id, USERS.ada), open(id, USERS.bea)])
      for (const page of pair) await panel(page).getByRole('button', {name: 'Send to CRM'}).click()
      await Promise.all(pair.map((page) => answer(page, 'Send to CRM')))
      await Promise.all(pair.map((page) => status(page, 'SENT')))
      const requests = lake.lake.transactions
        .flatMap(({changes}) => changes)
        .filter(
          (change) =>
            change.id === id && change.after?.crmStatus === 'REQUESTED' && change.before?.crmStatus !== 'REQUESTED',
        )
      assert.equal(requests.length, 1)
      assert.equal(lake.webhook.attempts.filter(({document}) => document === id).length, 1)
      assert.equal((await contacts(`eve.${major}@example.org`)).length, 1)
    })

    test('what was sent is sent again, with what has changed since', async () => {
      const id = publish('Finn')
      const page = await open(id)
      await panel(page).getByRole('button', {name: 'Send to CRM'}).click()
      await answer(page, 'Send to CRM')
      await status(page, 'SENT')
      const first = says(id).lastSyncedAt
      lake.lake.commit([{patch: {id, set: {secondName: 'Married'}}}], {by: 'pApi'})
      await panel(page).getByRole('button', {name: 'Send again'}).click()
      await answer(page, 'Send again')
      await eventually('it is sent again', () => says(id).crmStatus === 'SENT' && says(id).lastSyncedAt > first)
      const [contact, ...more] = await contacts(`finn.${major}@example.org`)
      assert.deepEqual([contact.fields.Last_Name, more], ['Married', []])
    })

    test('an editor withdraws what waits', async () => {
      const id = publish('Gus')
      await bigin('down')
      const page = await open(id)
      await panel(page).getByRole('button', {name: 'Send to CRM'}).click()
      await answer(page, 'Send to CRM')
      await panel(page).getByRole('button', {name: 'Cancel sending'}).click()
      await status(page, 'NOT_SENT')
      await bigin('up')
      // Another lead that arrives shows that the service has been at work since.
      const other = publish('Hal')
      lake.lake.commit([{patch: {id: other, set: {crmStatus: 'REQUESTED'}}}], {by: 'pApi'})
      await until(other, 'SENT')
      assert.equal(says(id).crmStatus, 'NOT_SENT')
      const sent = await contacts(`gus.${major}@example.org`)
      assert.deepEqual(
        sent.flatMap(({tags}) => tags),
        [],
      )
      await status(page, 'NOT_SENT')
    })

    test('the copy of a lead is neither sent nor requested', async () => {
      const id = publish('Ola')
      const page = await open(id)
      const copies = () =>
        [...lake.lake.documents.values()].filter((lead) => lead.firstName === 'Ola' && !lead._id.endsWith(id))
      // Returns the id of the copy of what is open, once it is published.
      const copied = async () => {
        const before = copies().map(({_id}) => _id)
        await choose(page, 'Duplicate')
        const copy = await eventually('there is a copy', () => copies().find(({_id}) => !before.includes(_id)))
        await status(page, 'NOT_SENT')
        await panel(page).getByRole('button', {name: 'Send to CRM'}).waitFor()
        assert.deepEqual([copy.crmStatus, copy.biginContactId, copy.lastSyncedAt], ['NOT_SENT', undefined, undefined])
        await page.getByTestId('action-publish').click()
        const published = copy._id.replace('drafts.', '')
        await eventually('the copy is published', () => lake.lake.get(published))
        return published
      }

      await bigin('down')
      await panel(page).getByRole('button', {name: 'Send to CRM'}).click()
      await answer(page, 'Send to CRM')
      await status(page, 'REQUESTED')
      const first = await copied()
      await bigin('up')
      await until(id, 'SENT')

      await page.goto(`${studio.url}/structure/dbrLead;${id}`)
      await status(page, 'SENT')
      const second = await copied()
      await lake.webhook.settled()
      for (const copy of [first, second]) {
        assert.equal(says(copy).crmStatus, 'NOT_SENT')
        assert.ok(!lake.webhook.attempts.some(({document}) => document === copy), 'the copy was not requested')
      }
      assert.equal((await contacts(`ola.${major}@example.org`)).length, 1)
    })

    test('what arrives while the question is open is not sent a second time', async () => {
      const failed = (name) => publish(name, {crmStatus: 'FAILED', crmError: BAD_EMAIL})
      const arrive = (id) => lake.lake.commit([{patch: {id, set: {crmStatus: 'SENT'}}}], {by: USERS.robot.id})
      const [pat, quin, rosa] = ['Pat', 'Quin', 'Rosa'].map(failed)
      const page = await open(pat)
      await panel(page).getByRole('button', {name: 'Try again'}).click()
      arrive(pat)
      const question = page.getByRole('dialog')
      await question.getByText('The lead was just changed.').waitFor()
      assert.ok(await question.getByRole('button', {name: 'Try again'}).isDisabled())

      await page.goto(`${studio.url}/crm`)
      const row = (id) => page.getByRole('row').filter({has: page.getByText(says(id).emailAddress, {exact: true})})
      for (const id of [quin, rosa]) await row(id).getByRole('checkbox').check()
      await page.getByText('2 selected').waitFor()
      arrive(quin)
      await page.getByText('1 selected').waitFor()
      assert.ok(!(await row(quin).getByRole('checkbox').isChecked()))
      await page.getByRole('button', {name: 'Retry all failed'}).click()
      await page.getByRole('dialog', {name: 'Send 1 leads to CRM?'}).waitFor()
      arrive(rosa)
      await answer(page, 'Send to CRM')
      await page.getByText('Leads skipped because they changed meanwhile: 1').first().waitFor()
      await lake.webhook.settled()
      assert.ok(!lake.webhook.attempts.some(({document}) => [pat, quin, rosa].includes(document)))
    })

    test('what stands in the way is said', async () => {
      const refused = async (page, reason) => {
        const button = panel(page).getByRole('button')
        await panel(page).getByText(reason).waitFor({state: 'attached'})
        assert.ok(await button.isDisabled())
        await menuItem(page, 'Send to CRM', {disabled: true})
      }
      const page = await open(publish('Ida'))
      await page.getByTestId('field-firstName').locator('input').fill('')
      await refused(page, 'Correct the errors in the form first.')
      const jon = publish('Jon')
      await refused(await open(jon, USERS.visitor), 'You have no permission')

      lake.lake.commit([{patch: {id: jon, set: {crmStatus: 'FAILED'}}}], {by: 'pApi'})
      const tool = await logIn(browser, studio, USERS.visitor, '/crm')
      pages.push(tool)
      await tool.getByText('You have no permission to change these leads.').waitFor()
      const offered = tool.getByRole('button', {name: /^(Send selected|Retry all failed)$/})
      for (const one of [...(await offered.all()), ...(await tool.getByRole('checkbox').all())]) {
        assert.ok(await one.isDisabled())
      }
      // The Studio loads the names of the leads after the list.
      await tool.waitForFunction(() => {
        const links = [...document.querySelectorAll('[data-crm-tool] a')]
        return links.length > 0 && links.every((link) => link.textContent.trim() !== '')
      })
      assert.deepEqual(await barriers(tool, '[data-crm-tool]'), [])
      lake.lake.commit([{patch: {id: jon, set: {crmStatus: 'NOT_SENT'}}}], {by: 'pApi'})
    })

    test('many are sent from the tool, and those that failed again', async () => {
      const names = ['Kim', 'Leo', 'Mia']
      const ids = names.map((name) => publish(name))
      const bad = publish('Ned', {emailAddress: 'not an address', crmStatus: 'FAILED', crmError: BAD_EMAIL})
      const page = await logIn(browser, studio, USERS.ada, '/crm')
      pages.push(page)
      const filter = (name) => page.getByRole('button', {name}).click()
      const row = (name) =>
        page.getByRole('row').filter({has: page.getByText(`${name.toLowerCase()}.${major}@example.org`, {exact: true})})
      await row('Kim').waitFor()
      assert.deepEqual(await barriers(page, '[data-crm-tool]'), [])
      for (const name of ['Kim', 'Leo']) await row(name).getByRole('checkbox').check()
      await page.getByText('2 selected').waitFor()
      await bigin('down')
      await page.getByRole('button', {name: 'Send selected'}).click()
      await answer(page, 'Send to CRM')
      await row('Kim').getByText('Sending…').waitFor()
      assert.ok(await row('Kim').getByRole('checkbox').isDisabled())
      await picture(page, 'tool-sending')
      await bigin('up')
      for (const name of ['Kim', 'Leo']) await row(name).getByText('In CRM').waitFor()
      assert.equal(says(ids[2]).crmStatus, undefined, 'leads that were not selected are unchanged')

      lake.lake.commit([{patch: {id: bad, set: {emailAddress: `ned.${major}@example.org`}}}], {by: 'pApi'})
      await filter(/^Failed/)
      await row('Ned').getByText(BAD_EMAIL).waitFor()
      await page.getByRole('button', {name: 'Retry all failed'}).click()
      await answer(page, 'Send to CRM')
      await until(bad, 'SENT')
      await page.getByText('No leads.').waitFor()
    })

    test('a page of a thousand leads is sent at once', async () => {
      const many = Array.from({length: 1000}, (_, n) => ({
        create: {_id: `crowd-${major}-${n}`, _type: 'dbrLead', firstName: `Crowd ${n}`, secondName: 'Example'},
      }))
      lake.lake.commit(many, {by: 'pApi'})
      const waiting = () => many.filter(({create}) => says(create._id).crmStatus === 'REQUESTED').length
      const page = await logIn(browser, studio, USERS.ada, '/crm')
      pages.push(page)
      await page.getByRole('button', {name: /^Not sent/}).click()
      await page.getByRole('button', {name: 'Next page'}).click()
      await page.getByText(/^Page 2 of 2\d$/).waitFor()
      await page.getByRole('checkbox', {name: 'Select all on this page'}).check()
      await page.getByText('50 selected').waitFor()
      await page.getByRole('button', {name: 'Previous page'}).click()
      await page.getByText(/^Page 1 of/).waitFor()
      await bigin('down')
      await page.getByRole('button', {name: 'Send selected'}).click()
      await page.getByRole('dialog', {name: 'Send 50 leads to CRM?'}).waitFor()
      await answer(page, 'Send to CRM')
      await page.getByRole('button', {name: 'Sending… 50'}).waitFor()
      assert.equal(waiting(), 50)
      await bigin('up')
      await page.getByRole('button', {name: 'Sending… 0'}).waitFor()
    })
  })
}
