// Against the simulated Content Lake, with Sanity's own client.
import {createClient} from '@sanity/client'
import type {SanityClient} from 'sanity'
import {afterAll, beforeAll, beforeEach, describe, expect, test} from 'vitest'
// @ts-expect-error The simulation is plain JavaScript.
import {start} from '../e2e/content-lake/server.js'
import type {CrmStatus} from './lead'
import {fieldNames} from './options'
import {publishAndRequest, request, requestAll, withdraw} from './request'

interface Lead {
  _id: string
  [field: string]: unknown
}
interface Lake {
  documents: Map<string, Lead>
  transactions: {changes: {id: string}[]}[]
  get: (id: string) => Lead | undefined
  commit: (mutations: object[], options?: object) => void
}

const fields = fieldNames()
const users = [
  {id: 'pAda', name: 'Ada', role: 'editor', token: 'skAda'},
  {id: 'pVisitor', name: 'Visitor', role: 'viewer', token: 'skVisitor'},
]
let stage: {lake: Lake; url: string; failures: string[]; close: () => void}

const clientOf = (token: string) => {
  const where = {projectId: 'inv3nted', dataset: 'production', apiHost: stage.url, useProjectHostname: false}
  const client = createClient({...where, token, useCdn: false, apiVersion: '2024-01-01', maxRetries: 0})
  // The plugin is given Studio's client, which is of another version and called the same.
  return client as unknown as SanityClient
}
const ada = () => clientOf('skAda')
const lead = (id: string, more: object = {}) => ({create: {_id: id, _type: 'dbrLead', firstName: 'Ada', ...more}})
// Leads as an editor saw them before requesting them.
const seen = (ids: string[], status: CrmStatus = 'NOT_SENT') => ids.map((id) => ({id, status}))
const status = (id: string) => stage.lake.get(id)?.crmStatus

beforeAll(async () => {
  // eslint-disable-next-line @typescript-eslint/no-unsafe-call -- as above
  stage = (await start({users, webhookSecret: 'invented'})) as typeof stage
})
afterAll(() => stage.close())
beforeEach(() => {
  stage.lake.documents.clear()
  stage.lake.transactions.length = 0
  expect(stage.failures).toEqual([])
})

describe('a request', () => {
  test('is written to the lead and all its copies in one transaction, and to nothing else of them', async () => {
    const sent = {crmStatus: 'SENT', biginContactId: '7', lastSyncedAt: '2026-11-22T10:00:00Z'}
    const ids = ['lead-1', 'drafts.lead-1', 'versions.r1.lead-1']
    stage.lake.commit([...ids.map((id) => lead(id, sent)), lead('lead-10')])
    expect(await request(ada(), seen(['lead-1'], 'SENT'), fields)).toEqual(['done'])
    expect(stage.lake.transactions).toHaveLength(2)
    for (const id of ids) expect(stage.lake.get(id)).toMatchObject({...sent, firstName: 'Ada', crmStatus: 'REQUESTED'})
    expect(status('lead-10')).toBeUndefined()
  })

  test('is made once by two editors at the same time', async () => {
    stage.lake.commit([lead('lead-1')])
    const outcomes = await Promise.all([1, 2, 3, 4].map(() => request(ada(), seen(['lead-1']), fields)))
    expect(outcomes.flat().toSorted()).toEqual(['done', 'unchanged', 'unchanged', 'unchanged'])
    expect(stage.lake.transactions).toHaveLength(2)
  })

  test('is decided again if the lead changes in between', async () => {
    stage.lake.commit([lead('lead-1')])
    const client = changing(ada(), () => stage.lake.commit([{patch: {id: 'lead-1', set: {city: 'Fareham'}}}]))
    expect(await request(client, seen(['lead-1']), fields)).toEqual(['done'])
    expect(stage.lake.get('lead-1')).toMatchObject({city: 'Fareham', crmStatus: 'REQUESTED'})
  })

  test.each<[CrmStatus, CrmStatus]>([
    ['NOT_SENT', 'SENT'],
    ['NOT_SENT', 'FAILED'],
    ['FAILED', 'SENT'],
    ['SENT', 'FAILED'],
  ])('for a lead that was seen as %s leaves alone what says %s', async (before, after) => {
    stage.lake.commit([lead('lead-1', {crmStatus: after}), lead('drafts.lead-1', {crmStatus: after})])
    expect(await request(ada(), seen(['lead-1'], before), fields)).toEqual(['changed'])
    expect([status('lead-1'), status('drafts.lead-1')]).toEqual([after, after])
    expect(stage.lake.transactions).toHaveLength(1)
  })

  test('leaves alone what arrives between reading and writing', async () => {
    stage.lake.commit([lead('lead-1', {crmStatus: 'FAILED'})])
    const client = changing(ada(), () => stage.lake.commit([{patch: {id: 'lead-1', set: {crmStatus: 'SENT'}}}]))
    expect(await request(client, seen(['lead-1'], 'FAILED'), fields)).toEqual(['changed'])
    expect(status('lead-1')).toBe('SENT')
  })

  test('treats an unknown status as NOT_SENT', async () => {
    stage.lake.commit([lead('lead-1', {crmStatus: 'NEW'})])
    expect(await request(ada(), seen(['lead-1']), fields)).toEqual(['done'])
  })

  test('does not fail because the draft is published in between', async () => {
    stage.lake.commit([lead('lead-1'), lead('drafts.lead-1', {firstName: 'Grace'})])
    const publish = () =>
      stage.lake.commit([{delete: {id: 'drafts.lead-1'}}, {patch: {id: 'lead-1', set: {firstName: 'Grace'}}}])
    expect(await request(changing(ada(), publish), seen(['lead-1']), fields)).toEqual(['done'])
    expect(stage.lake.get('drafts.lead-1')).toBeUndefined()
    expect(stage.lake.get('lead-1')).toMatchObject({firstName: 'Grace', crmStatus: 'REQUESTED'})
  })

  test('gives up where the lead never stays still', async () => {
    stage.lake.commit([lead('lead-1')])
    const client = changing(
      ada(),
      () => stage.lake.commit([{patch: {id: 'lead-1', set: {n: Math.random()}}}]),
      Infinity,
    )
    expect(await request(client, seen(['lead-1']), fields)).toEqual(['conflict'])
    expect(status('lead-1')).toBeUndefined()
  })

  test('is none where nothing is published', async () => {
    stage.lake.commit([lead('drafts.lead-1')])
    expect(await request(ada(), seen(['lead-1', 'lead-2']), fields)).toEqual(['unpublished', 'unpublished'])
    expect(status('drafts.lead-1')).toBeUndefined()
  })

  test('without permission is an error', async () => {
    stage.lake.commit([lead('lead-1')])
    await expect(request(clientOf('skVisitor'), seen(['lead-1']), fields)).rejects.toMatchObject({statusCode: 403})
  })
})

describe('cancelling', () => {
  test('takes back what waits, from all copies, and keeps what was sent before', async () => {
    const waiting = {crmStatus: 'REQUESTED', biginContactId: '7', lastSyncedAt: '2026-11-22T10:00:00Z'}
    stage.lake.commit([lead('lead-1', waiting), lead('drafts.lead-1', waiting)])
    expect(await withdraw(ada(), ['lead-1'], fields)).toEqual(['done'])
    for (const id of ['lead-1', 'drafts.lead-1']) {
      expect(stage.lake.get(id)).toMatchObject({...waiting, crmStatus: 'NOT_SENT'})
    }
  })

  test('leaves alone what has arrived in between', async () => {
    stage.lake.commit([lead('lead-1', {crmStatus: 'REQUESTED'})])
    const client = changing(ada(), () => stage.lake.commit([{patch: {id: 'lead-1', set: {crmStatus: 'SENT'}}}]))
    expect(await withdraw(client, ['lead-1'], fields)).toEqual(['unchanged'])
    expect(status('lead-1')).toBe('SENT')
  })
})

describe('publishing and asking', () => {
  const drafted = (crmStatus: CrmStatus) =>
    stage.lake.commit([lead('lead-1', {crmStatus}), lead('drafts.lead-1', {firstName: 'Grace'})])

  test('is one transaction', async () => {
    drafted('FAILED')
    expect(await publishAndRequest(ada(), {id: 'lead-1', status: 'FAILED'}, fields)).toEqual(['done'])
    expect(stage.lake.transactions).toHaveLength(2)
    expect(stage.lake.get('drafts.lead-1')).toBeUndefined()
    expect(stage.lake.get('lead-1')).toMatchObject({firstName: 'Grace', crmStatus: 'REQUESTED'})
  })

  test('publishes and requests a lead with only a draft', async () => {
    stage.lake.commit([lead('drafts.lead-1', {firstName: 'Grace'})])
    expect(await publishAndRequest(ada(), {id: 'lead-1', status: 'NOT_SENT'}, fields)).toEqual(['done'])
    expect(stage.lake.get('lead-1')).toMatchObject({firstName: 'Grace', crmStatus: 'REQUESTED'})
  })

  test('is not done where it has arrived since', async () => {
    drafted('SENT')
    expect(await publishAndRequest(ada(), {id: 'lead-1', status: 'FAILED'}, fields)).toEqual(['changed'])
    expect(stage.lake.get('lead-1')).toMatchObject({firstName: 'Ada', crmStatus: 'SENT'})
    expect(stage.lake.get('drafts.lead-1')).toMatchObject({firstName: 'Grace'})
  })

  test('is not done where it arrives between reading and writing', async () => {
    drafted('FAILED')
    const client = changing(ada(), () => stage.lake.commit([{patch: {id: 'lead-1', set: {crmStatus: 'SENT'}}}]))
    expect(await publishAndRequest(client, {id: 'lead-1', status: 'FAILED'}, fields)).toEqual(['changed'])
    expect(status('lead-1')).toBe('SENT')
  })

  test('publishes edits of a lead in progress', async () => {
    drafted('REQUESTED')
    expect(await publishAndRequest(ada(), {id: 'lead-1', status: 'NOT_SENT'}, fields)).toEqual(['done'])
    expect(stage.lake.get('lead-1')).toMatchObject({firstName: 'Grace', crmStatus: 'REQUESTED'})
  })
})

describe('many', () => {
  const ids = Array.from({length: 120}, (_, index) => `lead-${index}`)
  const all = (asked: number) => ({asked, changed: 0, missed: []})

  test('are requested in a few transactions, with progress', async () => {
    stage.lake.commit(ids.map((id) => lead(id)))
    const progress: number[] = []
    expect(await requestAll(ada(), seen(ids), fields, (done) => progress.push(done))).toEqual(all(120))
    expect(progress).toEqual([50, 100, 120])
    expect(stage.lake.transactions).toHaveLength(4)
    expect(ids.every((id) => status(id) === 'REQUESTED')).toBe(true)
  })

  test('are not held up by one that is gone, or by one that never stays still', async () => {
    stage.lake.commit(ids.filter((id) => id !== 'lead-7').map((id) => lead(id)))
    const restless = () => stage.lake.commit([{patch: {id: 'lead-60', set: {n: Math.random()}}}])
    const client = changing(ada(), restless, Infinity)
    expect(await requestAll(client, seen(ids), fields)).toEqual({
      asked: 118,
      changed: 0,
      missed: [
        {id: 'lead-7', why: 'unpublished'},
        {id: 'lead-60', why: 'conflict'},
      ],
    })
    const waiting = ids.filter((id) => status(id) === 'REQUESTED')
    expect(waiting).toHaveLength(118)
  })

  test('are sent only as far as they still say what was seen', async () => {
    const says: CrmStatus[] = ['FAILED', 'SENT', 'REQUESTED', 'NOT_SENT']
    stage.lake.commit(says.map((crmStatus, n) => lead(`lead-${n}`, {crmStatus})))
    const failed = seen(ids.slice(0, 4), 'FAILED')
    // A lead in progress counts as requested.
    expect(await requestAll(ada(), failed, fields)).toEqual({asked: 2, changed: 2, missed: []})
    expect(ids.slice(0, 4).map(status)).toEqual(['REQUESTED', 'SENT', 'REQUESTED', 'NOT_SENT'])
  })

  test('say why, where they are refused', async () => {
    stage.lake.commit(ids.slice(0, 2).map((id) => lead(id)))
    const {asked, missed} = await requestAll(clientOf('skVisitor'), seen(ids.slice(0, 2)), fields)
    expect([asked, missed.map(({id}) => id)]).toEqual([0, ['lead-0', 'lead-1']])
    expect(missed[0].why).toMatchObject({message: expect.stringContaining('Insufficient permissions') as string})
  })

  test('fail together without access', async () => {
    await expect(requestAll(clientOf('skStranger'), seen(ids), fields)).rejects.toMatchObject({statusCode: 401})
  })
})

// A client during whose first calls something else happens, between reading and writing.
function changing(client: SanityClient, meddle: () => void, times = 1): SanityClient {
  let left = times
  const wrap = (own: SanityClient): SanityClient =>
    new Proxy(own, {
      get(target, name) {
        if (name === 'withConfig') return (config: object) => wrap(target.withConfig(config))
        if (name !== 'transaction' && name !== 'action') return bound(target, name)
        return (...given: unknown[]) => {
          if (left-- > 0) meddle()
          return (bound(target, name) as (...given: unknown[]) => unknown)(...given)
        }
      },
    })
  return wrap(client)
}

const bound = (target: object, name: string | symbol): unknown => {
  const value: unknown = Reflect.get(target, name)
  return typeof value === 'function' ? (value.bind(target) as unknown) : value
}
