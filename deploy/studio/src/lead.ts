import type {FieldNames} from './options'

/** What `crmStatus` may say. Editors and this plugin write NOT_SENT and REQUESTED, bigin-sync writes SENT and FAILED. */
export const CRM_STATUSES = ['NOT_SENT', 'REQUESTED', 'SENT', 'FAILED'] as const

export type CrmStatus = (typeof CRM_STATUSES)[number]

/** What a lead says of its way to Bigin. */
export interface CrmState {
  status: CrmStatus
  contactId?: string
  lastSyncedAt?: string
  /** Why it failed; only with FAILED. */
  error?: string
}

type Document = Record<string, unknown>

const text = (document: Document, field: string): string | undefined => {
  const value = document[field]
  return typeof value === 'string' && value !== '' ? value : undefined
}

/**
 * Reads the state of a published lead. A draft is never asked: a request that is saved only in a draft is none, because
 * Sanity's webhook does not see drafts. A status that is missing (a lead that was made through the API) or unknown is NOT_SENT.
 */
export function crmState(published: Document | null | undefined, fields: FieldNames): CrmState {
  if (!published) return {status: 'NOT_SENT'}
  const said = text(published, fields.status)
  const status = CRM_STATUSES.find((known) => known === said) ?? 'NOT_SENT'
  return {
    status,
    contactId: text(published, fields.contactId),
    lastSyncedAt: text(published, fields.lastSyncedAt),
    error: status === 'FAILED' ? text(published, fields.error) : undefined,
  }
}

/** The address of a contact in Bigin, where it is known. */
export const contactAddress = (template: string | undefined, id: string | undefined): string | undefined =>
  template && id ? template.replaceAll('{id}', encodeURIComponent(id)) : undefined
