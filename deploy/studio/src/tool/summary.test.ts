import {expect, test} from 'vitest'
import {WORDS} from '../words'
import {summary} from './summary'

test('shows how many leads were queued and skipped, and the first error', () => {
  const missed = [
    {id: 'a', why: new Error('Insufficient permissions')},
    {id: 'b', why: 'conflict' as const},
  ]
  expect(summary({asked: 3, changed: 2, missed}, WORDS)).toEqual([
    {status: 'success', title: 'Leads queued: 3'},
    {status: 'warning', title: 'Leads skipped because they changed meanwhile: 2'},
    {status: 'error', title: 'Leads that could not be sent: 2. First reason: Insufficient permissions'},
  ])
})

test.each([
  ['conflict' as const, WORDS.changedMeanwhile],
  ['unpublished' as const, WORDS.unpublished],
])('%s has its own text', (why, words) => {
  expect(summary({asked: 0, changed: 0, missed: [{id: 'a', why}]}, WORDS)).toEqual([
    {status: 'error', title: `Leads that could not be sent: 1. First reason: ${words}`},
  ])
})
