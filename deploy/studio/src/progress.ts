// The rest of the way, beside the tag's delay: the webhook, two reads, the calls to Bigin, the write-back. In seconds.
const OVERHEAD = 5
// Then it is not "usual" any more.
const PATIENCE = 4

/** How far a lead may be. */
export interface Progress {
  /** 0 to 95: the end is seen by the result, and never claimed by the bar. */
  percent: number
  /** It takes longer than usual. */
  late: boolean
}

/** How long a lead usually takes, in seconds. */
export const usualSeconds = (tagDelaySeconds: number): number => Math.round(tagDelaySeconds + OVERHEAD)

/** An estimate by the clock alone, `elapsed` seconds after the request: nothing tells Studio how far bigin-sync is. */
export function estimate(elapsed: number, tagDelaySeconds: number): Progress {
  const usual = usualSeconds(tagDelaySeconds)
  const share = Math.max(0, elapsed) / usual
  return {percent: Math.min(95, Math.round(share * 100)), late: share > PATIENCE}
}

/**
 * When the request was made, in milliseconds: the time of the published document's last change, by Sanity's clock, but not
 * before it was first seen less what a clock that goes wrong may make of it.
 */
export function requestedAt(updatedAt: string | undefined, firstSeen: number): number {
  const told = updatedAt ? Date.parse(updatedAt) : NaN
  return Number.isNaN(told) ? firstSeen : Math.min(told, firstSeen)
}
