import {defineField, defineType, type FieldDefinition, type SchemaTypeDefinition} from 'sanity'
import {CRM_STATUSES} from './lead'
import {type FieldNames, fieldNames, type Settings} from './options'
import {statusField} from './StatusField'

/** The type of the status field, which the plugin defines. */
export const STATUS_TYPE = 'biginSyncStatus'

/**
 * The four fields of a lead's document type. Editors do not write them: the plugin's actions change the status, bigin-sync the
 * rest. The other three are hidden because the status field shows their values.
 *
 * @example
 * ```ts
 * fields: [...crmFields(), defineField({name: 'firstName', type: 'string'})]
 * ```
 */
export function crmFields(names?: Partial<FieldNames>): FieldDefinition[] {
  const {status, contactId, lastSyncedAt, error} = fieldNames(names)
  const own = {readOnly: true, hidden: true}
  return [
    defineField({name: status, title: 'CRM', type: STATUS_TYPE, initialValue: 'NOT_SENT'}),
    defineField({name: contactId, title: 'Contact in Bigin', type: 'string', ...own}),
    defineField({name: lastSyncedAt, title: 'Last sent to the CRM', type: 'datetime', ...own}),
    defineField({name: error, title: 'Why sending failed', type: 'text', ...own}),
  ]
}

/** The type of the status field: text, read-only, shown as progress. */
export const statusType = (settings: Settings): SchemaTypeDefinition =>
  defineType({
    name: STATUS_TYPE,
    title: 'CRM status',
    type: 'string',
    readOnly: true,
    options: {list: [...CRM_STATUSES]},
    components: {field: statusField(settings)},
  })
