import {expect, test} from 'vitest'
import {estimate, requestedAt, usualSeconds} from './progress'

test('the bar goes by the clock, never reaches the end, and says when it takes long', () => {
  const at = (elapsed: number) => estimate(elapsed, 15)
  expect(usualSeconds(15)).toBe(20)
  expect(at(-5)).toEqual({percent: 0, late: false})
  expect(at(0)).toEqual({percent: 0, late: false})
  expect(at(10)).toEqual({percent: 50, late: false})
  expect(at(20)).toEqual({percent: 95, late: false})
  expect(at(80)).toEqual({percent: 95, late: false})
  expect(at(81)).toEqual({percent: 95, late: true})
})

test('a request was made when Sanity says, but not after it was seen', () => {
  const seen = Date.parse('2026-11-22T10:00:30Z')
  expect(requestedAt('2026-11-22T10:00:00Z', seen)).toBe(seen - 30_000)
  expect(requestedAt('2026-11-22T10:01:00Z', seen)).toBe(seen)
  expect(requestedAt(undefined, seen)).toBe(seen)
  expect(requestedAt('soon', seen)).toBe(seen)
})
