import {expect, test} from 'vitest'

import {forwardRoutes} from '../lib/forwardRoutes'
import {serve} from './servers'

const TOKEN = 'an invented token of thirty-two characters'
const anybody = async () => true

/** A server with one answer to every request, and the requests it got. */
async function serviceThat(status: number, body: unknown) {
  const asked: unknown[] = []
  const url = await serve((request, sent) => {
    const {method, url, headers} = request
    asked.push({method, url, sent})
    return headers.authorization === `Bearer ${TOKEN}` ? {status, body} : {status: 401, body: {error: 'no token'}}
  })
  return {asked, url}
}

const post = (body: string, headers = {}) =>
  new Request('http://app/api/send-to-bigin', {method: 'POST', body, headers})
const get = (query: string) => new Request(`http://app/api/send-to-bigin${query}`)

test.each([
  [200, {success: true, contactId: '4876876000000000001', action: 'insert', message: 'Contact inserted'}],
  [202, {success: false, error: 'still being sent', sync: 7}],
  [404, {error: 'There is no published lead with this ID.'}],
  [422, {error: 'Bigin rejected Email: not an email address'}],
  [503, {error: 'The database failed, so nothing can be stored.'}],
])('an answer %i of bigin-sync reaches the button as it is', async (status, body) => {
  const {asked, url} = await serviceThat(status, body)
  const answer = await forwardRoutes(anybody, {url, token: TOKEN}).POST(post('{"leadId":"lead-1"}'))
  expect(answer.status).toBe(status)
  expect(await answer.json()).toEqual(body)
  expect(asked).toEqual([{method: 'POST', url: '/api/send-to-bigin', sent: {leadId: 'lead-1'}}])
})

test('how a sync stands is answered without its history', async () => {
  const sync = {id: 7, state: 'failed', reason: 'Bigin rejected Email', contactId: null, history: ['much']}
  const {asked, url} = await serviceThat(200, sync)
  const answer = await forwardRoutes(anybody, {url, token: TOKEN}).GET(get('?sync=7'))
  expect(await answer.json()).toEqual({state: 'failed', reason: 'Bigin rejected Email', contactId: null})
  expect(asked).toEqual([{method: 'GET', url: '/api/syncs/7', sent: undefined}])
})

test.each(['', '{}', '{"leadId":7}', '{"leadId":"drafts.lead-1"}', '{"leadId":"../pause"}'])(
  'what names no lead is not passed on: %s',
  async (body) => {
    const {asked, url} = await serviceThat(200, {})
    expect((await forwardRoutes(anybody, {url, token: TOKEN}).POST(post(body))).status).toBe(400)
    expect(asked).toEqual([])
  },
)

test.each(['', '?sync=', '?sync=7/cancel', '?sync=x7', '?sync=..%2Fhealth'])(
  'what names no sync is not passed on: %s',
  async (query) => {
    const {asked, url} = await serviceThat(200, {})
    expect((await forwardRoutes(anybody, {url, token: TOKEN}).GET(get(query))).status).toBe(400)
    expect(asked).toEqual([])
  },
)

test('without permission the answer is 403 without a call to bigin-sync', async () => {
  const {asked, url} = await serviceThat(200, {})
  const forbidden = forwardRoutes(async () => false, {url, token: TOKEN})
  expect((await forbidden.POST(post('{"leadId":"lead-1"}'))).status).toBe(403)
  expect((await forbidden.GET(get('?sync=7'))).status).toBe(403)
  const foreign = post('{"leadId":"lead-1"}', {'sec-fetch-site': 'cross-site'})
  expect((await forwardRoutes(anybody, {url, token: TOKEN}).POST(foreign)).status).toBe(403)
  expect(asked).toEqual([])
})

test('a wrong token and a service that is away are faults of the server, and the token is not shown', async () => {
  const {url} = await serviceThat(200, {})
  for (const service of [
    {url, token: 'another'},
    {url: 'http://127.0.0.1:9', token: TOKEN},
  ]) {
    const answer = await forwardRoutes(anybody, service).POST(post('{"leadId":"lead-1"}'))
    const text = await answer.text()
    expect(answer.status).toBe(502)
    expect(text).toContain('bigin-sync')
    expect(text).not.toContain(service.token)
  }
})
