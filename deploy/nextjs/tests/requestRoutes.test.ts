import {createClient} from '@sanity/client'
import {expect, test} from 'vitest'

import {requestRoutes} from '../lib/requestRoutes'
import {serve} from './servers'

type Document = {_id: string; _type: string; _rev: string; [field: string]: unknown}

const published = (more = {}): Document => ({_id: 'lead-1', _type: 'dbrLead', _rev: 'r1', ...more})
const draft = (more = {}): Document => ({...published(more), _id: 'drafts.lead-1', _rev: 'd1'})

/** As much of Sanity as the routes use: documents by id, and a transaction of patches. */
async function sanityWith(...documents: Document[]) {
  const stored = new Map(documents.map((document) => [document._id, document]))
  const faults = {changedMeanwhile: false}
  const url = await serve((request, body) => {
    const path = new URL(request.url!, 'http://sanity').pathname
    if (path.includes('/data/doc/')) {
      const ids = decodeURIComponent(path.split('/').at(-1)!).split(',')
      return {status: 200, body: {documents: ids.flatMap((id) => stored.get(id) ?? []), omitted: []}}
    }
    const patches = body.mutations.map((mutation: any) => mutation.patch)
    if (faults.changedMeanwhile) stored.set('lead-1', {...stored.get('lead-1')!, _rev: 'r2'})
    if (patches.some((patch: any) => patch.ifRevisionID && patch.ifRevisionID !== stored.get(patch.id)?._rev)) {
      return {status: 409, body: {error: {type: 'mutationError', description: 'unexpected revision', items: []}}}
    }
    for (const {id, set, unset = []} of patches) {
      const document: Document = {...stored.get(id)!, ...set, _rev: `${stored.get(id)!._rev}+`}
      for (const field of unset) delete document[field]
      stored.set(id, document)
    }
    return {status: 200, body: {transactionId: 't', results: []}}
  })
  const made = createClient({
    apiHost: url,
    useProjectHostname: false,
    projectId: 'abc123',
    dataset: 'production',
    token: 'invented',
    apiVersion: '2025-02-19',
    useCdn: false,
  })
  return {stored, faults, client: () => made}
}

const request = (method: string, headers = {}) => new Request('http://app/api/leads/lead-1/crm', {method, headers})
const params = (leadId = 'lead-1') => ({params: Promise.resolve({leadId})})
const anybody = async () => true

test('sets REQUESTED on the lead and its draft', async () => {
  const {stored, client} = await sanityWith(
    published({crmStatus: 'FAILED', crmError: 'Bigin rejected Email', lastSyncedAt: '2026-11-01T10:00:00Z'}),
    draft({crmStatus: 'FAILED', firstName: 'Grace'}),
  )
  const answer = await requestRoutes(anybody, client).POST(request('POST'), params())

  expect(answer.status).toBe(202)
  expect(await answer.json()).toEqual({crmStatus: 'REQUESTED'})
  expect(stored.get('lead-1')).toEqual({
    ...published({crmStatus: 'REQUESTED', lastSyncedAt: '2026-11-01T10:00:00Z'}),
    _rev: 'r1+',
  })
  expect(stored.get('drafts.lead-1')).toMatchObject({crmStatus: 'REQUESTED', firstName: 'Grace'})
})

test('no draft is made where there is none', async () => {
  const {stored, client} = await sanityWith(published())
  expect((await requestRoutes(anybody, client).POST(request('POST'), params())).status).toBe(202)
  expect([...stored.keys()]).toEqual(['lead-1'])
})

test('a lead that asks already is left as it is', async () => {
  const {stored, client} = await sanityWith(published({crmStatus: 'REQUESTED'}))
  expect((await requestRoutes(anybody, client).POST(request('POST'), params())).status).toBe(202)
  expect(stored.get('lead-1')?._rev).toBe('r1')
})

test('a lead that changes at this very moment is not overwritten', async () => {
  const {faults, client} = await sanityWith(published())
  faults.changedMeanwhile = true
  const answer = await requestRoutes(anybody, client).POST(request('POST'), params())
  expect(answer.status).toBe(409)
  expect((await answer.json()).error).toContain('Try again')
})

test.each([
  ['is not there', 'lead-2', published()],
  ['is a draft alone', 'lead-1', draft()],
  ['is a document of another type', 'lead-1', published({_type: 'post'})],
  ['is named by its draft', 'drafts.lead-1', draft()],
  ['is no id', 'lead 1,lead-1', published()],
])('a lead that %s is answered 404, and nothing is written', async (_story, leadId, document) => {
  const {stored, client} = await sanityWith(document)
  const {GET, POST} = requestRoutes(anybody, client)
  expect((await POST(request('POST'), params(leadId))).status).toBe(404)
  expect((await GET(request('GET'), params(leadId))).status).toBe(404)
  expect(stored.get(document._id)).toEqual(document)
})

test('how a lead stands is answered without anything of the person', async () => {
  const lead = published({crmStatus: 'FAILED', crmError: 'Bigin rejected Email', emailAddress: 'ada@example.org'})
  const {client} = await sanityWith(lead)
  const answer = await requestRoutes(anybody, client).GET(request('GET'), params())
  expect(answer.headers.get('cache-control')).toBe('no-store')
  expect(await answer.json()).toEqual({crmStatus: 'FAILED', crmError: 'Bigin rejected Email', biginContactId: null})
})

test('without permission the answer is 403 and nothing changes', async () => {
  const {stored, client} = await sanityWith(published())
  const forbidden = requestRoutes(async () => false, client)
  expect((await forbidden.POST(request('POST'), params())).status).toBe(403)
  expect((await forbidden.GET(request('GET'), params())).status).toBe(403)
  const foreign = request('POST', {'sec-fetch-site': 'cross-site'})
  expect((await requestRoutes(anybody, client).POST(foreign, params())).status).toBe(403)
  expect(stored.get('lead-1')?._rev).toBe('r1')
})

test('without your maySend every request fails', async () => {
  const {stored, client} = await sanityWith(published())
  const {maySend} = await import('../lib/maySend')
  await expect(requestRoutes(maySend, client).POST(request('POST'), params())).rejects.toThrow('maySend.ts')
  expect(stored.get('lead-1')?._rev).toBe('r1')
})
