// Against the stand-in of the Content Lake, by Sanity's own client.
import {createClient} from '@sanity/client'
import type {SanityClient} from 'sanity'
import {afterAll, beforeAll, beforeEach, describe, expect, test} from 'vitest'
// @ts-expect-error The stand-in is plain JavaScript.
import {start} from '../e2e/content-lake/server.js'
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
    expect(await request(ada(), ['lead-1'], fields)).toEqual(['done'])
    expect(stage.lake.transactions).toHaveLength(2)
    for (const id of ids) expect(stage.lake.get(id)).toMatchObject({...sent, firstName: 'Ada', crmStatus: 'REQUESTED'})
    expect(status('lead-10')).toBeUndefined()
  })

  test('is made once, whoever makes it as well', async () => {
    stage.lake.commit([lead('lead-1')])
    const outcomes = await Promise.all([1, 2, 3, 4].map(() => request(ada(), ['lead-1'], fields)))
    expect(outcomes.flat().toSorted()).toEqual(['done', 'unchanged', 'unchanged', 'unchanged'])
    expect(stage.lake.transactions).toHaveLength(2)
  })

  test('is decided on anew where the lead changes in between', async () => {
    stage.lake.commit([lead('lead-1')])
    const client = meddling(ada(), () => stage.lake.commit([{patch: {id: 'lead-1', set: {city: 'Fareham'}}}]))
    expect(await request(client, ['lead-1'], fields)).toEqual(['done'])
    expect(stage.lake.get('lead-1')).toMatchObject({city: 'Fareham', crmStatus: 'REQUESTED'})
  })

  test('does not fail because the draft is published in between', async () => {
    stage.lake.commit([lead('lead-1'), lead('drafts.lead-1', {firstName: 'Grace'})])
    const publish = () =>
      stage.lake.commit([{delete: {id: 'drafts.lead-1'}}, {patch: {id: 'lead-1', set: {firstName: 'Grace'}}}])
    expect(await request(meddling(ada(), publish), ['lead-1'], fields)).toEqual(['done'])
    expect(stage.lake.get('drafts.lead-1')).toBeUndefined()
    expect(stage.lake.get('lead-1')).toMatchObject({firstName: 'Grace', crmStatus: 'REQUESTED'})
  })

  test('gives up where the lead never stays still', async () => {
    stage.lake.commit([lead('lead-1')])
    const client = meddling(
      ada(),
      () => stage.lake.commit([{patch: {id: 'lead-1', set: {n: Math.random()}}}]),
      Infinity,
    )
    expect(await request(client, ['lead-1'], fields)).toEqual(['conflict'])
    expect(status('lead-1')).toBeUndefined()
  })

  test('is none where nothing is published', async () => {
    stage.lake.commit([lead('drafts.lead-1')])
    expect(await request(ada(), ['lead-1', 'lead-2'], fields)).toEqual(['unpublished', 'unpublished'])
    expect(status('drafts.lead-1')).toBeUndefined()
  })

  test('without permission is an error', async () => {
    stage.lake.commit([lead('lead-1')])
    await expect(request(clientOf('skVisitor'), ['lead-1'], fields)).rejects.toMatchObject({statusCode: 403})
  })
})

describe('withdrawing', () => {
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
    const client = meddling(ada(), () => stage.lake.commit([{patch: {id: 'lead-1', set: {crmStatus: 'SENT'}}}]))
    expect(await withdraw(client, ['lead-1'], fields)).toEqual(['unchanged'])
    expect(status('lead-1')).toBe('SENT')
  })
})

test('publishing and asking is one transaction', async () => {
  stage.lake.commit([lead('lead-1', {crmStatus: 'FAILED'}), lead('drafts.lead-1', {firstName: 'Grace'})])
  await publishAndRequest(ada(), 'lead-1', fields)
  expect(stage.lake.transactions).toHaveLength(2)
  expect(stage.lake.get('drafts.lead-1')).toBeUndefined()
  expect(stage.lake.get('lead-1')).toMatchObject({firstName: 'Grace', crmStatus: 'REQUESTED'})
})

describe('many', () => {
  const ids = Array.from({length: 120}, (_, index) => `lead-${index}`)

  test('are asked for in a few transactions, and progress is told', async () => {
    stage.lake.commit(ids.map((id) => lead(id)))
    const told: number[] = []
    expect(await requestAll(ada(), ids, fields, (done) => told.push(done))).toEqual([])
    expect(told).toEqual([50, 100, 120])
    expect(stage.lake.transactions).toHaveLength(4)
    expect(ids.every((id) => status(id) === 'REQUESTED')).toBe(true)
  })

  test('are not held up by one that is gone, or by one that never stays still', async () => {
    stage.lake.commit(ids.filter((id) => id !== 'lead-7').map((id) => lead(id)))
    const restless = () => stage.lake.commit([{patch: {id: 'lead-60', set: {n: Math.random()}}}])
    const client = meddling(ada(), restless, Infinity)
    expect(await requestAll(client, ids, fields)).toEqual(['lead-7', 'lead-60'])
    const waiting = ids.filter((id) => status(id) === 'REQUESTED')
    expect(waiting).toHaveLength(118)
  })

  test('fail together where nobody is let in', async () => {
    await expect(requestAll(clientOf('skStranger'), ids, fields)).rejects.toMatchObject({statusCode: 401})
  })
})

// A client during whose first calls something else happens, between reading and writing.
function meddling(client: SanityClient, meddle: () => void, times = 1): SanityClient {
  let left = times
  const wrap = (own: SanityClient): SanityClient =>
    new Proxy(own, {
      get(target, name) {
        if (name === 'withConfig') return (config: object) => wrap(target.withConfig(config))
        if (name !== 'transaction') return bound(target, name)
        return () => {
          if (left-- > 0) meddle()
          return target.transaction()
        }
      },
    })
  return wrap(client)
}

const bound = (target: object, name: string | symbol): unknown => {
  const value: unknown = Reflect.get(target, name)
  return typeof value === 'function' ? (value.bind(target) as unknown) : value
}
