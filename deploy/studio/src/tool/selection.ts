import type {CrmStatus} from '../lead'
import {offerToSend} from '../offer'
import type {Words} from '../words'

/** The selected leads, each with its status when it was selected. A lead with another status is not selected any more. */
export type Selection = ReadonlyMap<string, CrmStatus>

/** Why a published lead cannot be selected: what prevents sending it, as far as the list shows. */
export const obstacleOf = (
  {status}: {status: CrmStatus},
  granted: boolean | undefined,
  allowRetry: boolean,
): keyof Words | undefined =>
  offerToSend({
    ...{status, granted, allowRetry},
    ...{ready: true, isPublished: true, hasDraft: false, inRelease: false, invalid: false},
  }).disabled

/** The selection without leads whose status has changed. */
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
