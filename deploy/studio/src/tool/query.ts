import type {CrmStatus} from '../lead'
import type {FieldNames} from '../options'

/** Leads on one page. */
export const PAGE_SIZE = 50

/** A line of the list. */
export interface Row {
  _id: string
  _type: string
  status: CrmStatus
  lastSyncedAt: string | null
  error: string | null
}

export type Filter = CrmStatus | 'ALL'

/** A page of published leads, and how many there are of each status. */
export interface Listing {
  counts: Record<CrmStatus, number>
  rows: Row[]
}

const condition = (fields: FieldNames, filter: Filter): string => {
  const status = fields.status
  switch (filter) {
    case 'ALL':
      return '_type in $types'
    case 'NOT_SENT':
      // Also those that say nothing: leads made through the API have no initial values.
      return `_type in $types && !(${status} in ["REQUESTED", "SENT", "FAILED"])`
    default:
      return `_type in $types && ${status} == "${filter}"`
  }
}

/** The query for `$types`, `$from` and `$to`. Newest first; the id settles what changed in the same second. */
export function listingQuery(fields: FieldNames, filter: Filter): string {
  const count = (status: CrmStatus) => `"${status}": count(*[${condition(fields, status)}])`
  const shown = `_id, _type, "status": select(${fields.status} in ["REQUESTED", "SENT", "FAILED"] => ${fields.status}, "NOT_SENT")`
  return `{
    "counts": {${count('NOT_SENT')}, ${count('REQUESTED')}, ${count('SENT')}, ${count('FAILED')}},
    "rows": *[${condition(fields, filter)}] | order(_updatedAt desc, _id asc) [$from...$to] {
      ${shown}, "lastSyncedAt": ${fields.lastSyncedAt}, "error": ${fields.error}
    }
  }`
}

/** The ids of all leads that failed. */
export const failedQuery = (fields: FieldNames): string => `*[${condition(fields, 'FAILED')}]._id`

/** How many leads a filter finds. */
export const totalOf = (counts: Listing['counts'], filter: Filter): number =>
  filter === 'ALL' ? Object.values(counts).reduce((sum, count) => sum + count, 0) : counts[filter]
