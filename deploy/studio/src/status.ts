import type {CrmStatus} from './lead'
import type {Words} from './words'

/** The text for each status. */
export const NAMES = {
  NOT_SENT: 'notSent',
  REQUESTED: 'requested',
  SENT: 'sent',
  FAILED: 'failed',
} as const satisfies Record<CrmStatus, keyof Words>

/** The colours for each status. */
export const BADGE_TONES = {
  NOT_SENT: 'default',
  REQUESTED: 'primary',
  SENT: 'positive',
  FAILED: 'critical',
} as const satisfies Record<CrmStatus, string>

/** A time in the reader's zone and format; an invalid time is unchanged. */
export const localTime = (iso: string): string => {
  const date = new Date(iso)
  return Number.isNaN(date.getTime()) ? iso : date.toLocaleString(undefined, {dateStyle: 'medium', timeStyle: 'medium'})
}
