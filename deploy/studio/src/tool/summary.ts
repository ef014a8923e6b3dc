import type {Missed, Tally} from '../request'
import {fill, type Words} from '../words'

/** A notification about the result of sending many leads. */
export interface Notice {
  status: 'success' | 'warning' | 'error'
  title: string
}

/** The notifications for a tally. Only the first reason is shown, since it is usually the same for all. */
export function summary({asked, changed, missed}: Tally, words: Words): Notice[] {
  const all: Notice[] = []
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
