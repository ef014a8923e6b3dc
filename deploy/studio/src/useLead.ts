import {useToast} from '@sanity/ui/toast'
import {useCallback, useState} from 'react'
import {
  type SanityDocument,
  useClient,
  useDocumentPairPermissions,
  useEditState,
  useSchema,
  useValidationStatus,
} from 'sanity'
import {draftId, publishedId} from './ids'
import {type CrmState, type CrmStatus, crmState} from './lead'
import {type Offer, offerToSend, offerToWithdraw} from './offer'
import type {Settings} from './options'
import {API_VERSION, type Outcome, publishAndRequest, request, withdraw} from './request'
import {fill} from './words'

/** An open lead, and its actions. */
export interface Lead {
  ready: boolean
  state: CrmState
  published: SanityDocument | null
  hasDraft: boolean
  /** Whether the form is being validated. */
  validating: boolean
  /** The action "Send to CRM", disabled while an action is running. */
  send: Offer
  withdraw: Offer | null
  /** Sends the published version, if the lead still has the status that was seen. */
  onSend: (seen: CrmStatus) => Promise<void>
  onPublishAndSend: (seen: CrmStatus) => Promise<void>
  onWithdraw: () => Promise<void>
}

/**
 * The last known value. Studio validates the form and the permissions again after every change, and a button that is disabled
 * for that moment ignores a click.
 */
function useLastKnown(value: boolean | undefined): boolean | undefined {
  const [last, setLast] = useState(value)
  if (value !== undefined && value !== last) setLast(value)
  return value ?? last
}

/** Follows a lead with Studio's own listener, so that it is as live as the form. */
export function useLead(documentId: string, type: string, version: string | undefined, settings: Settings): Lead {
  const id = publishedId(documentId)
  const {draft, published, ready, liveEdit} = useEditState(id, type, 'default', version)
  const client = useClient({apiVersion: API_VERSION})
  const isRequired = !useSchema().get(type)?.liveEdit
  const {validation, isValidating} = useValidationStatus(draft ? draftId(id) : id, type, isRequired)
  // "publish" is the permission to write the published document; a type without drafts has only "update".
  const permission = liveEdit ? 'update' : 'publish'
  const [permissions, isLoading] = useDocumentPairPermissions({id, type, permission})
  const granted = useLastKnown(isLoading ? undefined : permissions?.granted === true)
  const invalid = useLastKnown(isValidating ? undefined : validation.some(({level}) => level === 'error'))
  const [busy, setBusy] = useState(false)
  const {push} = useToast()
  const {words, fields} = settings

  const state = crmState(published, fields)
  const situation = {
    status: state.status,
    ready: ready && !busy,
    isPublished: published !== null,
    hasDraft: draft !== null,
    inRelease: version !== undefined,
    granted,
    invalid,
    allowRetry: settings.allowRetry,
  }

  const run = useCallback(
    async (work: () => Promise<Outcome[]>, warnings: {[outcome in Outcome]?: string}) => {
      setBusy(true)
      try {
        const [outcome] = await work()
        const title = warnings[outcome]
        if (title) push({status: 'warning', title})
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error)
        push({status: 'error', title: fill(words.requestFailed, {reason})})
      } finally {
        setBusy(false)
      }
    },
    [push, words],
  )

  const warnings = {
    changed: words.changedMeanwhile,
    conflict: words.changedMeanwhile,
    unpublished: words.unpublished,
  }
  return {
    ready: situation.ready,
    state,
    published,
    hasDraft: situation.hasDraft,
    validating: isValidating,
    send: offerToSend(situation),
    withdraw: offerToWithdraw(situation),
    onSend: (status) => run(() => request(client, [{id, status}], fields), warnings),
    onPublishAndSend: (status) => run(() => publishAndRequest(client, {id, status}, fields), warnings),
    onWithdraw: () =>
      run(() => withdraw(client, [id], fields), {conflict: words.changedMeanwhile, unchanged: words.tooLate}),
  }
}
