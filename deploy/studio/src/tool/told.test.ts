import {expect, test} from 'vitest'
import {WORDS} from '../words'
import {told} from './told'

test('who has asked for many is told how many go, how many were left alone, and the first reason of those that do not', () => {
  const missed = [
    {id: 'a', why: new Error('Insufficient permissions')},
    {id: 'b', why: 'conflict' as const},
  ]
  expect(told({asked: 3, changed: 2, missed}, WORDS)).toEqual([
    {status: 'success', title: '3 leads are on their way.'},
    {status: 'warning', title: '2 leads have changed since you chose them and were left alone.'},
    {status: 'error', title: '2 leads could not be asked for. The first reason: Insufficient permissions'},
  ])
})

test.each([
  ['conflict' as const, WORDS.changedMeanwhile],
  ['unpublished' as const, WORDS.unpublished],
])('%s has words of its own', (why, words) => {
  expect(told({asked: 0, changed: 0, missed: [{id: 'a', why}]}, WORDS)).toEqual([
    {status: 'error', title: `1 leads could not be asked for. The first reason: ${words}`},
  ])
})
