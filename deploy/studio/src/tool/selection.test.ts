import {expect, test} from 'vitest'
import type {Row} from './query'
import {obstacleOf, type Selection, stillSelected} from './selection'

const row = (status: Row['status']) => ({status})

test.each<[string, Row['status'], boolean | undefined, boolean, string | undefined]>([
  ['what was not sent', 'NOT_SENT', true, true, undefined],
  ['what was sent', 'SENT', true, true, undefined],
  ['what failed', 'FAILED', true, true, undefined],
  ['a lead in progress', 'REQUESTED', true, true, 'inFlight'],
  ['what was sent, where again is not allowed', 'SENT', true, false, 'noRetry'],
  ['what failed, where again is not allowed', 'FAILED', true, false, 'noRetryFailed'],
  ['what one may not change', 'NOT_SENT', false, true, 'notAllowed'],
  ['before the permission is known', 'NOT_SENT', undefined, true, 'loading'],
])('selecting %s', (_, status, granted, allowRetry, expected) => {
  expect(obstacleOf(row(status), granted, allowRetry)).toBe(expected)
})

test('a lead is selected as what it was seen to be, and no longer once it is something else', () => {
  const selected: Selection = new Map([
    ['a', 'NOT_SENT'],
    ['b', 'NOT_SENT'],
    ['c', 'FAILED'],
  ])
  const seen = [
    {_id: 'a', status: 'REQUESTED'},
    {_id: 'c', status: 'FAILED'},
    {_id: 'd', status: 'SENT'},
  ] as const
  expect([...stillSelected(selected, seen)]).toEqual([
    ['b', 'NOT_SENT'],
    ['c', 'FAILED'],
  ])
  // Where nothing changed it is the same one: Studio would render the list again for another.
  expect(stillSelected(selected, seen.slice(1))).toBe(selected)
})
