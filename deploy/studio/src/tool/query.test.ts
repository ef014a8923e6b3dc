import {evaluate, parse} from 'groq-js'
import {expect, test} from 'vitest'
import {fieldNames} from '../options'
import {failedQuery, type Filter, type Listing, listingQuery, totalOf} from './query'

const fields = fieldNames()
const lead = (id: string, crmStatus?: string, more: object = {}) => ({
  ...{_id: id, _type: 'dbrLead', _updatedAt: `2026-11-22T10:00:0${id}Z`, crmStatus},
  ...more,
})
const dataset = [
  lead('1'),
  lead('2', 'NOT_SENT'),
  lead('3', 'REQUESTED'),
  lead('4', 'SENT', {lastSyncedAt: '2026-11-22T10:00:00Z'}),
  lead('5', 'FAILED', {crmError: 'why'}),
  lead('6', 'UNHEARD_OF'),
  {_id: '7', _type: 'other', crmStatus: 'FAILED'},
]
const run = async <T>(query: string, from = 0, to = 50, selected: string[] = []): Promise<T> => {
  const params = {types: ['dbrLead'], from, to, selected}
  return (await (await evaluate(parse(query, {params}), {dataset, params})).get()) as T
}

test('leads are counted by status; what says nothing that is known is not sent', async () => {
  const {counts} = await run<Listing>(listingQuery(fields, 'ALL'))
  expect(counts).toEqual({NOT_SENT: 3, REQUESTED: 1, SENT: 1, FAILED: 1})
  expect(totalOf(counts, 'ALL')).toBe(6)
  expect(totalOf(counts, 'NOT_SENT')).toBe(3)
})

test.each<[Filter, string[]]>([
  ['ALL', ['6', '5', '4', '3', '2', '1']],
  ['NOT_SENT', ['6', '2', '1']],
  ['REQUESTED', ['3']],
  ['SENT', ['4']],
  ['FAILED', ['5']],
])('%s finds its leads, newest first', async (filter, expected) => {
  const {rows} = await run<Listing>(listingQuery(fields, filter))
  expect(rows.map(({_id}) => _id)).toEqual(expected)
})

test('a row has what is shown, and pages go on where the last ended', async () => {
  const {rows} = await run<Listing>(listingQuery(fields, 'ALL'), 1, 3)
  expect(rows).toEqual([
    {_id: '5', _type: 'dbrLead', status: 'FAILED', lastSyncedAt: null, error: 'why', document: dataset[4]},
    {
      ...{_id: '4', _type: 'dbrLead', status: 'SENT', lastSyncedAt: '2026-11-22T10:00:00Z', error: null},
      document: dataset[3],
    },
  ])
  expect((await run<Listing>(listingQuery(fields, 'ALL'), 5, 6)).rows[0].status).toBe('NOT_SENT')
})

test('includes selected leads and a failed one from other pages', async () => {
  const {selected, oneFailed} = await run<Listing>(listingQuery(fields, 'SENT'), 0, 50, ['1', '3', 'gone'])
  expect(selected).toEqual([
    {_id: '1', status: 'NOT_SENT'},
    {_id: '3', status: 'REQUESTED'},
  ])
  expect(oneFailed).toEqual(dataset[4])
})

test('the failed ones are found', async () => {
  expect(await run(failedQuery(fields))).toEqual(['5'])
})
