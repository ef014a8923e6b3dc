import type {CrmStatus} from './lead'
import type {Words} from './words'

/** The words for each status. */
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

/** A time in the reader's own zone and form; what is no time stays as it is. */
export const localTime = (iso: string): string => {
  const date = new Date(iso)
  return Number.isNaN(date.getTime()) ? iso : date.toLocaleString(undefined, {dateStyle: 'medium', timeStyle: 'medium'})
}
