import {defineField, type FieldDefinition} from 'sanity'

/** What `crmStatus` may say. People write the first two, bigin-sync the others. */
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
 * The four fields that bigin-sync needs, to spread into the fields of your lead type. The last three are read-only in the Studio;
 * bigin-sync writes them by the API, to which that does not apply.
 */
export const crmFields: FieldDefinition[] = [
  defineField({
    name: 'crmStatus',
    title: 'CRM status',
    type: 'string',
    description: 'Choose “Send to CRM” and publish. A request that is saved in a draft alone is not seen.',
    options: {list: CRM_STATUSES.map(({title, value}) => ({title, value})), layout: 'radio'},
    initialValue: 'NOT_SENT',
    // What only bigin-sync may say: a person who chose SENT would claim what nobody has done.
    validation: (rule) =>
      rule.custom((status: string | undefined, {document}) => {
        if (status === 'SENT' && !document?.biginContactId) {
          return 'Only bigin-sync says this, once the lead is in Bigin. Choose “Send to CRM”.'
        }
        return true
      }),
  }),
  defineField({
    name: 'crmError',
    title: 'Why sending failed',
    type: 'text',
    rows: 2,
    description: `${BY_BIGIN_SYNC} Mend what it names, and send again.`,
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
