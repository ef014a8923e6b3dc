import type {Missed, Tally} from '../request'
import {fill, type Words} from '../words'

/** What is told of how it went to ask for many. */
export interface Told {
  status: 'success' | 'warning' | 'error'
  title: string
}

/** The first reason stands for all: most often it is the same, and a list of them would be read by nobody. */
export function told({asked, changed, missed}: Tally, words: Words): Told[] {
  const all: Told[] = []
  if (asked > 0) all.push({status: 'success', title: fill(words.manyDone, {n: asked})})
  if (changed > 0) all.push({status: 'warning', title: fill(words.manyChanged, {n: changed})})
  if (missed.length > 0) {
    const reason = reasonOf(missed[0], words)
    all.push({status: 'error', title: fill(words.manyFailed, {n: missed.length, reason})})
  }
  return all
}

function reasonOf({why}: Missed, words: Words): string {
  switch (why) {
    case 'unpublished':
      return words.unpublished
    case 'conflict':
      return words.changedMeanwhile
    default:
      return why.message
  }
}
