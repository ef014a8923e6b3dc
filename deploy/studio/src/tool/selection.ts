import type {CrmStatus} from '../lead'
import {offerToSend} from '../offer'
import type {Words} from '../words'

/** The leads that are selected, each with the status that it was seen with: only while it has that is it meant. */
export type Selection = ReadonlyMap<string, CrmStatus>

/** Why a published lead cannot be selected, if so: what stands in the way of sending it, as far as the list knows. */
export const obstacleOf = (
  {status}: {status: CrmStatus},
  granted: boolean | undefined,
  allowRetry: boolean,
): keyof Words | undefined =>
  offerToSend({
    ...{status, granted, allowRetry},
    ...{ready: true, isPublished: true, hasDraft: false, inRelease: false, invalid: false},
  }).disabled

/** What of a selection still is what it was when it was selected, going by what was read last. */
export function stillSelected(
  selection: Selection,
  seen: readonly {readonly _id: string; readonly status: CrmStatus}[],
): Selection {
  const gone = seen.filter(({_id, status}) => selection.has(_id) && selection.get(_id) !== status)
  if (gone.length === 0) return selection
  const next = new Map(selection)
  for (const {_id} of gone) next.delete(_id)
  return next
}
