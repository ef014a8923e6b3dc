// @vitest-environment happy-dom
import {act, cleanup, fireEvent, render, screen} from '@testing-library/react'
import {afterEach, beforeEach, expect, test, vi} from 'vitest'

import {SendToCrm} from '../components/SendToCrm'
import {throughService} from '../lib/crm'

const fetched = vi.fn<(url: string, init: RequestInit) => Promise<Response>>()
const LEAD = {_id: 'lead-1', crmStatus: 'NOT_SENT'} as const

/** What the routes answer from now on. */
function routes(answers: Record<string, () => Response>) {
  fetched.mockImplementation(async (url, {method = 'GET'}) => {
    const answer = answers[`${method} ${url}`]
    if (!answer) throw new Error(`unexpected request: ${method} ${url}`)
    return answer()
  })
}

const json = (status: number, body: object) => () => Response.json(body, {status})
const away = () => {
  throw new TypeError('fetch failed')
}
const pass = (seconds: number) => act(() => vi.advanceTimersByTimeAsync(seconds * 1000))
const press = async () => {
  fireEvent.click(screen.getByRole('button'))
  await pass(0)
}
const said = () => screen.getByRole('status').textContent
const button = () => screen.queryByRole('button')

beforeEach(() => {
  vi.useFakeTimers()
  vi.stubGlobal('fetch', fetched)
})
afterEach(() => {
  cleanup()
  fetched.mockReset()
  vi.unstubAllGlobals()
  vi.useRealTimers()
})

const ASK = 'POST /api/leads/lead-1/crm'
const LOOK = 'GET /api/leads/lead-1/crm'
const ASKED = {[ASK]: json(202, {crmStatus: 'REQUESTED'}), [LOOK]: json(200, {crmStatus: 'REQUESTED'})}

test('a lead is sent: the delay passes, and the card says that it is in the CRM', async () => {
  routes(ASKED)
  const onEnd = vi.fn()
  render(<SendToCrm lead={LEAD} onEnd={onEnd} />)
  expect(button()?.textContent).toBe('Send to CRM')
  expect(said()).toBe('')

  await press()
  expect(button()?.textContent).toBe('Sending… (15 s)')
  expect(button()?.getAttribute('aria-disabled')).toBe('true')
  expect(said()).toBe('Sending to the CRM')

  await pass(6)
  expect(button()?.textContent).toBe('Sending… (9 s)')
  expect(screen.getByRole('progressbar').getAttribute('value')).toBe('6')

  await pass(12)
  expect(button()?.textContent).toBe('Sending…')
  expect(screen.getByRole('progressbar').hasAttribute('value')).toBe(false)

  routes({[LOOK]: json(200, {crmStatus: 'SENT'})})
  await pass(2)
  expect(said()).toBe('✓ In CRM')
  expect(button()).toBeNull()
  expect(screen.queryByRole('progressbar')).toBeNull()
  expect(onEnd).toHaveBeenCalledExactlyOnceWith({state: 'sent'})
})

test('a second click while sending makes no request', async () => {
  routes(ASKED)
  render(<SendToCrm lead={LEAD} />)
  act(() => {
    button()?.click()
    button()?.click()
  })
  await press()
  expect(fetched.mock.calls.filter(([, init]) => init.method === 'POST')).toHaveLength(1)
})

test('a lead that failed says why, and can be tried again', async () => {
  routes({...ASKED, [LOOK]: json(200, {crmStatus: 'FAILED', crmError: 'Bigin rejected Email: not an email address'})})
  render(<SendToCrm lead={LEAD} />)
  await press()
  await pass(2)
  expect(said()).toBe('Failed: Bigin rejected Email: not an email address')
  expect(button()?.textContent).toBe('Try again')

  routes({...ASKED, [LOOK]: json(200, {crmStatus: 'SENT'})})
  await press()
  expect(said()).toBe('Sending to the CRM')
  await pass(2)
  expect(said()).toBe('✓ In CRM')
})

test('a request that cannot be made says so at once', async () => {
  routes({[ASK]: json(403, {error: 'You do not have permission to send leads.'})})
  render(<SendToCrm lead={LEAD} />)
  await press()
  expect(said()).toBe('Failed: You do not have permission to send leads.')
})

test('a network that is away for a while ends nothing', async () => {
  routes(ASKED)
  render(<SendToCrm lead={LEAD} />)
  await press()
  routes({[LOOK]: away})
  await pass(10)
  routes({[LOOK]: json(502, {error: 'bad gateway'})})
  await pass(10)
  expect(said()).toBe('Sending to the CRM')
  routes({[LOOK]: json(200, {crmStatus: 'SENT'})})
  await pass(2)
  expect(said()).toBe('✓ In CRM')
})

test('shows a cancelled request', async () => {
  routes({...ASKED, [LOOK]: json(200, {crmStatus: 'NOT_SENT'})})
  render(<SendToCrm lead={LEAD} />)
  await press()
  await pass(2)
  expect(said()).toBe('Not sent: the request was cancelled')
})

test('shows a lead that is sent, failed, or requested elsewhere and followed', async () => {
  const {rerender} = render(<SendToCrm lead={{_id: 'lead-1', crmStatus: 'SENT'}} />)
  expect(said()).toBe('✓ In CRM')
  rerender(<SendToCrm lead={{_id: 'lead-1', crmStatus: 'FAILED', crmError: 'Bigin rejected Phone'}} />)
  expect(said()).toBe('Failed: Bigin rejected Phone')
  routes({[LOOK]: json(200, {crmStatus: 'SENT'})})
  rerender(<SendToCrm lead={{_id: 'lead-1', crmStatus: 'REQUESTED'}} />)
  expect(said()).toBe('Sending to the CRM')
  await pass(2)
  expect(said()).toBe('✓ In CRM')
})

test('a reloaded list without the request does not stop sending', async () => {
  routes(ASKED)
  const {rerender} = render(<SendToCrm lead={LEAD} />)
  await press()
  rerender(<SendToCrm lead={{_id: 'lead-1'}} />)
  await pass(2)
  expect(said()).toBe('Sending to the CRM')
})

test('a card that is gone, or shows another lead, asks no more and shows nothing of the first', async () => {
  routes(ASKED)
  const onEnd = vi.fn()
  const {rerender, unmount} = render(<SendToCrm lead={LEAD} onEnd={onEnd} />)
  await press()
  rerender(<SendToCrm lead={{_id: 'lead-2'}} onEnd={onEnd} />)
  expect(button()?.textContent).toBe('Send to CRM')
  unmount()
  const calls = fetched.mock.calls.length
  await pass(60)
  expect(fetched.mock.calls.length).toBe(calls)
  expect(onEnd).not.toHaveBeenCalled()
})

const FORWARD = 'POST /api/send-to-bigin'

test.each([
  ['200', json(200, {success: true, contactId: '1', action: 'insert'}), '✓ In CRM'],
  ['422', json(422, {error: 'Bigin rejected Email'}), 'Failed: Bigin rejected Email'],
  ['404', json(404, {error: 'There is no published lead with this ID.'}), 'Failed: There is no published lead with this ID.'],
  ['409', json(409, {error: 'The sync was cancelled by lead.'}), 'Not sent: the request was cancelled'],
  ['503', json(503, {error: 'Try again in a moment.'}), 'Failed: Try again in a moment.'],
])('through the service: an answer %s is shown for what it is', async (_status, answer, sentence) => {
  routes({[FORWARD]: answer})
  render(<SendToCrm lead={LEAD} crm={throughService} />)
  await press()
  expect(said()).toBe(sentence)
})

test('through the service: follows a sync that takes longer than the call, with one request', async () => {
  routes({
    [FORWARD]: json(202, {success: false, error: 'still being sent', sync: 7}),
    'GET /api/send-to-bigin?sync=7': json(200, {state: 'upserted', reason: null}),
  })
  render(<SendToCrm lead={LEAD} crm={throughService} />)
  await press()
  await pass(30)
  expect(said()).toBe('Sending to the CRM')
  routes({'GET /api/send-to-bigin?sync=7': json(200, {state: 'failed', reason: 'Bigin rejected Email'})})
  await pass(2)
  expect(said()).toBe('Failed: Bigin rejected Email')
})
