// Seconds besides the tag delay: the webhook, two reads, the calls to Bigin, the write-back.
const OVERHEAD = 5
// Times the usual duration, after which it counts as late.
const LATE_FACTOR = 4

/** The estimated progress of a lead. */
export interface Progress {
  /** 0 to 95: only the result shows the end. */
  percent: number
  /** It takes longer than usual. */
  late: boolean
}

/** How long a lead usually takes, in seconds. */
export const usualSeconds = (tagDelaySeconds: number): number => Math.round(tagDelaySeconds + OVERHEAD)

/** An estimate from `elapsed` seconds since the request: Studio cannot see bigin-sync's progress. */
export function estimate(elapsed: number, tagDelaySeconds: number): Progress {
  const usual = usualSeconds(tagDelaySeconds)
  const share = Math.max(0, elapsed) / usual
  return {percent: Math.min(95, Math.round(share * 100)), late: share > LATE_FACTOR}
}

/**
 * The time of the request in milliseconds: that of the published document's last change by Sanity's clock, but not after this
 * browser first saw it, in case its clock is wrong.
 */
export function requestedAt(updatedAt: string | undefined, firstSeen: number): number {
  const changedAt = updatedAt ? Date.parse(updatedAt) : NaN
  return Number.isNaN(changedAt) ? firstSeen : Math.min(changedAt, firstSeen)
}
