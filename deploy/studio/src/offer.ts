import type {CrmStatus} from './lead'
import type {Words} from './words'

/** What is known of a lead when an editor looks at what can be done with it. */
export interface Situation {
  status: CrmStatus
  /** Whether the document is there to be read, and no click is being carried out. */
  ready: boolean
  isPublished: boolean
  hasDraft: boolean
  /** Whether a release's version is being looked at. */
  inRelease: boolean
  /** Whether the editor may change the published lead; undefined until it is known. */
  granted: boolean | undefined
  /** Whether the form has errors; undefined until it is known. */
  invalid: boolean | undefined
  allowRetry: boolean
}

/** The action by the name of its words, and where it cannot be done, why not. */
export interface Offer {
  label: keyof Words
  disabled?: keyof Words
}

/** What sending is called, by the lead's status. */
export const SEND_LABELS = {NOT_SENT: 'send', REQUESTED: 'requested', SENT: 'sendAgain', FAILED: 'tryAgain'} as const

/** What "Send to CRM" is called now, and whether it can be done. The first reason that stands in the way is told. */
export function offerToSend(lead: Situation): Offer {
  const label = SEND_LABELS[lead.status]
  const disabled = (reason: keyof Words): Offer => ({label, disabled: reason})
  if (!lead.ready) return disabled('loading')
  // REQUESTED once more would not fire the webhook, and need not: what is on its way takes along what changes meanwhile.
  if (lead.status === 'REQUESTED') return disabled('inFlight')
  if (lead.inRelease) return disabled('inRelease')
  if (lead.granted === undefined) return disabled('loading')
  if (!lead.granted) return disabled('notAllowed')
  if (!lead.allowRetry && lead.status === 'SENT') return disabled('noRetry')
  if (!lead.allowRetry && lead.status === 'FAILED') return disabled('noRetryFailed')
  if (!lead.isPublished && !lead.hasDraft) return disabled('unpublished')
  if (lead.invalid === undefined) return disabled('validating')
  if (lead.invalid) return disabled('invalid')
  return {label}
}

/** An answer to the question before a lead is sent, by the name of its words. */
export type SendAnswer = 'publishAndSend' | 'sendPublished' | (typeof SEND_LABELS)[CrmStatus]

/**
 * The answers that send a lead, the primary one last. A lead that failed is sent with its unpublished edits first of all:
 * what is published has just been rejected, and the edits are how it was corrected. Elsewhere a draft may be half of
 * somebody's work.
 */
export function answersToSend(lead: {isPublished: boolean; hasDraft: boolean}, seen: CrmStatus): SendAnswer[] {
  if (!lead.hasDraft) return [SEND_LABELS[seen]]
  if (!lead.isPublished) return ['publishAndSend']
  return seen === 'FAILED' ? ['sendPublished', 'publishAndSend'] : ['publishAndSend', 'sendPublished']
}

const OBSTACLES: readonly (keyof Words | undefined)[] = ['invalid', 'notAllowed', 'noRetry', 'noRetryFailed']

/**
 * What has come up since the question was opened that stands in the way of a yes. It was about the lead as it was `seen`
 * then: one that has arrived or failed since is not meant by the answer. That somebody else was quicker does no harm: then
 * there is nothing to do.
 */
export function obstacle({disabled}: Offer, status: CrmStatus, seen: CrmStatus): keyof Words | undefined {
  if (OBSTACLES.includes(disabled)) return disabled
  return status === seen || status === 'REQUESTED' ? undefined : 'changedMeanwhile'
}

/** "Withdraw" is there only while the lead is on its way. A form with errors does not stand in its way. */
export function offerToWithdraw(lead: Situation): Offer | null {
  if (lead.status !== 'REQUESTED') return null
  if (!lead.ready || lead.granted === undefined) return {label: 'withdraw', disabled: 'loading'}
  return lead.granted ? {label: 'withdraw'} : {label: 'withdraw', disabled: 'notAllowed'}
}
