import type {CrmStatus} from './lead'
import type {Words} from './words'

/** The state of a lead on which its actions depend. */
export interface Situation {
  status: CrmStatus
  /** Whether the document is loaded, and no action is running. */
  ready: boolean
  isPublished: boolean
  hasDraft: boolean
  /** Whether the form shows a version in a release. */
  inRelease: boolean
  /** Whether the editor may change the published lead; undefined until it is known. */
  granted: boolean | undefined
  /** Whether the form has errors; undefined until it is known. */
  invalid: boolean | undefined
  allowRetry: boolean
}

/** The action's label, and the reason if it is disabled, by the names of their texts. */
export interface Offer {
  label: keyof Words
  disabled?: keyof Words
}

/** The label of sending, by the lead's status. */
export const SEND_LABELS = {NOT_SENT: 'send', REQUESTED: 'requested', SENT: 'sendAgain', FAILED: 'tryAgain'} as const

/** The action "Send to CRM": its label, and the first reason that disables it. */
export function offerToSend(lead: Situation): Offer {
  const label = SEND_LABELS[lead.status]
  const disabled = (reason: keyof Words): Offer => ({label, disabled: reason})
  if (!lead.ready) return disabled('loading')
  // Setting REQUESTED again would not fire the webhook, and need not: the sync in progress sends later edits too.
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

/** A button of the dialog before a lead is sent, by the name of its text. */
export type SendAnswer = 'publishAndSend' | 'sendPublished' | (typeof SEND_LABELS)[CrmStatus]

/**
 * The buttons that send a lead, the primary one last. For a lead that failed, it is the one that publishes the edits: the
 * published version was rejected, and the edits are probably the fix. Otherwise a draft may be unfinished.
 */
export function answersToSend(lead: {isPublished: boolean; hasDraft: boolean}, seen: CrmStatus): SendAnswer[] {
  if (!lead.hasDraft) return [SEND_LABELS[seen]]
  if (!lead.isPublished) return ['publishAndSend']
  return seen === 'FAILED' ? ['sendPublished', 'publishAndSend'] : ['publishAndSend', 'sendPublished']
}

const OBSTACLES: readonly (keyof Words | undefined)[] = ['invalid', 'notAllowed', 'noRetry', 'noRetryFailed']

/**
 * What now prevents sending although the dialog is open. The confirmation is for the status that was `seen` when the dialog
 * opened, not for a lead that was sent or failed since. A lead that another editor requested needs nothing.
 */
export function obstacle({disabled}: Offer, status: CrmStatus, seen: CrmStatus): keyof Words | undefined {
  if (OBSTACLES.includes(disabled)) return disabled
  return status === seen || status === 'REQUESTED' ? undefined : 'changedMeanwhile'
}

/** "Cancel sending" exists only while the lead is in progress, also if the form has errors. */
export function offerToWithdraw(lead: Situation): Offer | null {
  if (lead.status !== 'REQUESTED') return null
  if (!lead.ready || lead.granted === undefined) return {label: 'withdraw', disabled: 'loading'}
  return lead.granted ? {label: 'withdraw'} : {label: 'withdraw', disabled: 'notAllowed'}
}
