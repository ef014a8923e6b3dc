import type {SanityDocument} from 'sanity'
import type {CrmStatus} from '../lead'
import type {FieldNames} from '../options'

/** Leads on one page. */
export const PAGE_SIZE = 50

/** A row of the list. */
export interface Row {
  _id: string
  _type: string
  status: CrmStatus
  lastSyncedAt: string | null
  error: string | null
  /** The whole document: a permission may depend on any field. */
  document: SanityDocument
}

export type Filter = CrmStatus | 'ALL'

/** A page of published leads, the number of leads by status, and data about leads on other pages. */
export interface Listing {
  counts: Record<CrmStatus, number>
  rows: Row[]
  /** The selected leads that still exist, on any page. */
  selected: {_id: string; status: CrmStatus}[]
  /** One failed lead. */
  oneFailed: SanityDocument | null
}

const condition = (fields: FieldNames, filter: Filter): string => {
  const status = fields.status
  switch (filter) {
    case 'ALL':
      return '_type in $types'
    case 'NOT_SENT':
      // Also leads without a status: leads created through the API have no initial values.
      return `_type in $types && !(${status} in ["REQUESTED", "SENT", "FAILED"])`
    default:
      return `_type in $types && ${status} == "${filter}"`
  }
}

/** The query for `$types`, `$from`, `$to` and the ids `$selected`. Newest first, then by id. */
export function listingQuery(fields: FieldNames, filter: Filter): string {
  const count = (status: CrmStatus) => `"${status}": count(*[${condition(fields, status)}])`
  const shown = `_id, "status": select(${fields.status} in ["REQUESTED", "SENT", "FAILED"] => ${fields.status}, "NOT_SENT")`
  return `{
    "counts": {${count('NOT_SENT')}, ${count('REQUESTED')}, ${count('SENT')}, ${count('FAILED')}},
    "rows": *[${condition(fields, filter)}] | order(_updatedAt desc, _id asc) [$from...$to] {
      ${shown}, _type, "lastSyncedAt": ${fields.lastSyncedAt}, "error": ${fields.error}, "document": @
    },
    "selected": *[_id in $selected] {${shown}},
    "oneFailed": *[${condition(fields, 'FAILED')}][0]
  }`
}

/** The ids of all leads that failed. */
export const failedQuery = (fields: FieldNames): string => `*[${condition(fields, 'FAILED')}]._id`

/** The number of leads that a filter matches. */
export const totalOf = (counts: Listing['counts'], filter: Filter): number =>
  filter === 'ALL' ? Object.values(counts).reduce((sum, count) => sum + count, 0) : counts[filter]
