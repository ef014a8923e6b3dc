import {describe, expect, test} from 'vitest'
import type {CrmStatus} from './lead'
import {answersToSend, obstacle, type Offer, offerToSend, offerToWithdraw, type Situation} from './offer'
import {WORDS} from './words'

const good: Situation = {
  status: 'NOT_SENT',
  ready: true,
  isPublished: true,
  hasDraft: false,
  inRelease: false,
  granted: true,
  invalid: false,
  allowRetry: true,
}

describe('sending', () => {
  test.each<[string, Partial<Situation>, string, string | undefined]>([
    ['a published lead', {}, 'send', undefined],
    ['a lead with a draft', {hasDraft: true}, 'send', undefined],
    ['a lead that is only a draft', {isPublished: false, hasDraft: true}, 'send', undefined],
    ['what was sent', {status: 'SENT'}, 'sendAgain', undefined],
    ['what failed', {status: 'FAILED'}, 'tryAgain', undefined],
    ['a lead in progress', {status: 'REQUESTED'}, 'requested', 'inFlight'],
    ['a lead in progress, without allowRetry', {status: 'REQUESTED', allowRetry: false}, 'requested', 'inFlight'],
    ['a lead that is not loaded', {ready: false}, 'send', 'loading'],
    ['a release’s version', {inRelease: true}, 'send', 'inRelease'],
    ['without permission', {granted: false}, 'send', 'notAllowed'],
    ['before the permission is known', {granted: undefined}, 'send', 'loading'],
    ['with errors', {invalid: true}, 'send', 'invalid'],
    ['before the form is checked', {invalid: undefined}, 'send', 'validating'],
    ['what does not exist', {isPublished: false}, 'send', 'unpublished'],
    ['again, where that is not allowed', {status: 'SENT', allowRetry: false}, 'sendAgain', 'noRetry'],
    ['what failed, where again is not allowed', {status: 'FAILED', allowRetry: false}, 'tryAgain', 'noRetryFailed'],
    ['what no one may change and has errors', {granted: false, invalid: true}, 'send', 'notAllowed'],
  ])('%s', (_, difference, label, disabled) => {
    expect(offerToSend({...good, ...difference})).toEqual({label, disabled})
  })
})

describe('the primary answer', () => {
  const primary = (isPublished: boolean, hasDraft: boolean, seen: CrmStatus) =>
    answersToSend({isPublished, hasDraft}, seen).at(-1)

  test('publishes the corrected draft of a lead that failed', () => {
    expect(primary(true, true, 'FAILED')).toBe('publishAndSend')
    expect(answersToSend({isPublished: true, hasDraft: true}, 'FAILED')).toContain('sendPublished')
  })

  test.each<[string, boolean, boolean, CrmStatus, string]>([
    ['sends a lead without a draft', true, false, 'NOT_SENT', 'send'],
    ['tries a failed lead without a draft again', true, false, 'FAILED', 'tryAgain'],
    ['does not publish an unfinished draft', true, true, 'NOT_SENT', 'sendPublished'],
    ['nor that of a lead that was sent', true, true, 'SENT', 'sendPublished'],
    ['publishes what never was', false, true, 'NOT_SENT', 'publishAndSend'],
  ])('%s', (_, isPublished, hasDraft, seen, expected) => {
    expect(primary(isPublished, hasDraft, seen)).toBe(expected)
  })
})

test('a failed lead has its own text', () => {
  expect(WORDS.noRetryFailed).not.toBe(WORDS.noRetry)
  expect(WORDS.noRetryFailed).toContain('failed')
})

describe('while the question is open', () => {
  test.each<[string, CrmStatus, CrmStatus, Offer['disabled'], Offer['disabled']]>([
    ['nothing', 'NOT_SENT', 'NOT_SENT', undefined, undefined],
    ['an error in the form', 'NOT_SENT', 'NOT_SENT', 'invalid', 'invalid'],
    ['a permission that is taken away', 'NOT_SENT', 'NOT_SENT', 'notAllowed', 'notAllowed'],
    ['that it has arrived', 'NOT_SENT', 'SENT', undefined, 'changedMeanwhile'],
    ['that it has arrived, where again is not allowed', 'NOT_SENT', 'SENT', 'noRetry', 'noRetry'],
    ['that it has failed, where again is not allowed', 'NOT_SENT', 'FAILED', 'noRetryFailed', 'noRetryFailed'],
    // Then there is nothing to do, and doing it does nothing.
    ['not another editor’s request', 'NOT_SENT', 'REQUESTED', 'inFlight', undefined],
    // It lasts for a moment; a button that is disabled then swallows the click.
    ['not that the form is checked', 'SENT', 'SENT', 'validating', undefined],
  ])('%s stands in the way', (_, seen, status, disabled, expected) => {
    expect(obstacle({label: 'send', disabled}, status, seen)).toBe(expected)
  })
})

describe('withdrawing', () => {
  test.each<[string, Partial<Situation>, ReturnType<typeof offerToWithdraw>]>([
    ['is not offered before', {status: 'NOT_SENT'}, null],
    ['is not offered after', {status: 'SENT'}, null],
    ['is offered on the way', {status: 'REQUESTED'}, {label: 'withdraw'}],
    ['is offered although there are errors', {status: 'REQUESTED', invalid: true}, {label: 'withdraw'}],
    ['needs permission', {status: 'REQUESTED', granted: false}, {label: 'withdraw', disabled: 'notAllowed'}],
    ['waits for the document', {status: 'REQUESTED', ready: false}, {label: 'withdraw', disabled: 'loading'}],
  ])('%s', (_, difference, expected) => {
    expect(offerToWithdraw({...good, ...difference})).toEqual(expected)
  })
})
