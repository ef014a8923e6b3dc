import {defineField, type FieldDefinition} from 'sanity'

/** The values of `crmStatus`. Editors write the first two, bigin-sync the others. */
export const CRM_STATUSES = [
  {title: 'Not sent', value: 'NOT_SENT'},
  {title: 'Send to CRM', value: 'REQUESTED'},
  {title: 'In CRM', value: 'SENT'},
  {title: 'Sending failed', value: 'FAILED'},
] as const

/** One of the values of {@link CRM_STATUSES}. */
export type CrmStatus = (typeof CRM_STATUSES)[number]['value']

const BY_BIGIN_SYNC = 'Written by bigin-sync.'

/**
 * The four fields that bigin-sync needs, for the fields of your lead type. The last three are read-only in the Studio; bigin-sync
 * writes them through the API, where this does not apply.
 */
export const crmFields: FieldDefinition[] = [
  defineField({
    name: 'crmStatus',
    title: 'CRM status',
    type: 'string',
    description: 'Choose “Send to CRM” and publish. Saving a draft is not enough.',
    options: {list: CRM_STATUSES.map(({title, value}) => ({title, value})), layout: 'radio'},
    initialValue: 'NOT_SENT',
    // Only bigin-sync may set SENT: an editor's SENT would be wrong.
    validation: (rule) =>
      rule.custom((status: string | undefined, {document}) => {
        if (status === 'SENT' && !document?.biginContactId) {
          return 'Set automatically once the lead is in Bigin. Choose “Send to CRM”.'
        }
        return true
      }),
  }),
  defineField({
    name: 'crmError',
    title: 'Why sending failed',
    type: 'text',
    rows: 2,
    description: `${BY_BIGIN_SYNC} Fix it and send again.`,
    readOnly: true,
    hidden: ({document}) => !document?.crmError,
  }),
  defineField({
    name: 'biginContactId',
    title: 'Contact in Bigin',
    type: 'string',
    description: BY_BIGIN_SYNC,
    readOnly: true,
    hidden: ({document}) => !document?.biginContactId,
  }),
  defineField({
    name: 'lastSyncedAt',
    title: 'Last sent',
    type: 'datetime',
    description: BY_BIGIN_SYNC,
    readOnly: true,
    hidden: ({document}) => !document?.lastSyncedAt,
  }),
]
