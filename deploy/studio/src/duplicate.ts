import type {DuplicateDocumentActionComponent} from 'sanity'
import type {CrmStatus} from './lead'
import type {FieldNames} from './options'

type Copying = NonNullable<Parameters<DuplicateDocumentActionComponent>[0]['mapDocument']>

/**
 * Studio's "Duplicate" for leads. The copy is another lead, which is not in Bigin. Unchanged, it would have the other's contact
 * and status; and the copy of a lead in progress would be sent when it is published, although it was not requested.
 */
export function duplicateAction(
  studios: DuplicateDocumentActionComponent,
  fields: FieldNames,
): DuplicateDocumentActionComponent {
  const useDuplicateAction: DuplicateDocumentActionComponent = (props) => {
    const {mapDocument: before = same} = props
    return studios({...props, mapDocument: (document) => cleared(before(document), fields)})
  }
  useDuplicateAction.action = studios.action
  useDuplicateAction.displayName = 'DuplicateLead'
  return useDuplicateAction
}

const same: Copying = (document) => document

const cleared = (document: ReturnType<Copying>, fields: FieldNames): ReturnType<Copying> => {
  const copy = {...document, [fields.status]: 'NOT_SENT' satisfies CrmStatus}
  for (const result of [fields.contactId, fields.lastSyncedAt, fields.error]) delete copy[result]
  return copy
}
