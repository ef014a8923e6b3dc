import type {FieldNames} from './options'

/** The values of `crmStatus`. Editors and this plugin write NOT_SENT and REQUESTED, bigin-sync writes SENT and FAILED. */
export const CRM_STATUSES = ['NOT_SENT', 'REQUESTED', 'SENT', 'FAILED'] as const

export type CrmStatus = (typeof CRM_STATUSES)[number]

/** The state of a lead's sync. */
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
 * Reads the state of a published lead. Drafts do not count, because Sanity's webhook does not fire on them. A missing status (of
 * a lead created through the API) or an unknown one is NOT_SENT.
 */
export function crmState(published: Document | null | undefined, fields: FieldNames): CrmState {
  if (!published) return {status: 'NOT_SENT'}
  const value = text(published, fields.status)
  const status = CRM_STATUSES.find((known) => known === value) ?? 'NOT_SENT'
  return {
    status,
    contactId: text(published, fields.contactId),
    lastSyncedAt: text(published, fields.lastSyncedAt),
    error: status === 'FAILED' ? text(published, fields.error) : undefined,
  }
}

/** The URL of a contact in Bigin, if it is known. */
export const contactAddress = (template: string | undefined, id: string | undefined): string | undefined =>
  template && id ? template.replaceAll('{id}', encodeURIComponent(id)) : undefined
