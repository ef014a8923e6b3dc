import type {SanityClient, SanityDocument} from 'sanity'
import {draftId, publishedId} from './ids'
import {type CrmStatus, crmState} from './lead'
import type {FieldNames} from './options'

/** The version of Sanity's API that all calls are written for. */
export const API_VERSION = '2025-02-19'

// Leads in one transaction, far below Sanity's limit.
const BATCH = 50
const ROUNDS = 3

/**
 * The lead is requested, was in progress already, has another status than was seen, is not published, or was changed by others
 * during every try.
 */
export type Outcome = 'done' | 'unchanged' | 'changed' | 'unpublished' | 'conflict'

/** A published lead, and the status that the editor saw. */
export interface Seen {
  id: string
  status: CrmStatus
}

/**
 * Requests leads: sets REQUESTED on the published document, which fires the webhook, and in the same transaction on its draft and
 * versions.
 *
 * Why drafts and versions too: publishing replaces the whole published document. A draft with NOT_SENT would cancel the request
 * when it is published, and one with SENT would look like a result. For the same reason bigin-sync writes its result to all of
 * them.
 *
 * Why it does not publish: a draft may be unfinished, perhaps another editor's. {@link publishAndRequest} is for editors who want
 * to publish.
 *
 * Why a new read and `ifRevisionID`: the form's data may be outdated. If the published lead changes in between, the transaction is
 * rejected and the next try uses the new data, so that two editors at once make one request. A draft changes with every keystroke
 * and needs no such condition, since only one of its fields is set.
 *
 * Why the seen status: an editor who sends a failed lead again does not mean a lead that was sent since, which the list or dialog
 * does not show yet. It would be sent twice.
 *
 * `biginContactId` and `lastSyncedAt` stay: by the last `lastSyncedAt`, bigin-sync tells "send again" from an old draft that was
 * published.
 */
export function request(client: SanityClient, leads: Seen[], fields: FieldNames): Promise<Outcome[]> {
  const seen = new Map(leads.map(({id, status}) => [id, status]))
  return change(client, [...seen.keys()], fields, 'REQUESTED', (now, id) => {
    if (now === 'REQUESTED') return 'unchanged'
    return now === seen.get(id) ? 'done' : 'changed'
  })
}

/**
 * Cancels a request while the lead is still REQUESTED. bigin-sync cancels the sync if it finds another status before it adds the
 * tag. A lead that was sent before becomes NOT_SENT too: only bigin-sync writes SENT, and the contact may be partly updated.
 * `lastSyncedAt` shows when it was last sent.
 */
export const withdraw = (client: SanityClient, ids: string[], fields: FieldNames): Promise<Outcome[]> =>
  change(client, ids, fields, 'NOT_SENT', (now) => (now === 'REQUESTED' ? 'done' : 'unchanged'))

async function change(
  client: SanityClient,
  ids: string[],
  fields: FieldNames,
  status: CrmStatus,
  judge: (now: CrmStatus, id: string) => Outcome,
): Promise<Outcome[]> {
  const own = client.withConfig({apiVersion: API_VERSION})
  for (let round = 0; round < ROUNDS; round++) {
    const copies = await read(own, ids)
    const outcomes = ids.map((id): Outcome => {
      const published = copies.find(({_id}) => _id === id)
      return published ? judge(crmState(published, fields).status, id) : 'unpublished'
    })
    const asked = new Set(ids.filter((_, index) => outcomes[index] === 'done'))
    if (asked.size === 0) return outcomes
    const transaction = own.transaction()
    for (const copy of copies.filter(({_id}) => asked.has(publishedId(_id)))) {
      const isPublished = asked.has(copy._id)
      transaction.patch(copy._id, {set: {[fields.status]: status}, ...(isPublished ? {ifRevisionID: copy._rev} : {})})
    }
    try {
      await transaction.commit({visibility: 'async', returnDocuments: false, tag: 'bigin-sync.request'})
      return outcomes
    } catch (error) {
      // Also the answer if a draft was published meanwhile, since it does not exist any more.
      if (statusOf(error) !== 409) throw error
    }
  }
  return ids.map(() => 'conflict')
}

/** Reads leads with their drafts and versions. Unlike queries, this is consistent. */
async function read(client: SanityClient, ids: string[]): Promise<SanityDocument[]> {
  const {documents} = await client.request<{documents: SanityDocument[]}>({
    url: client.getDataUrl('doc', ids.join(',')),
    query: {includeAllVersions: 'true'},
    tag: 'bigin-sync.read',
  })
  return documents
}

/**
 * Publishes the draft and requests the lead, in one transaction of Sanity's own actions, so that both succeed or neither does.
 * Sanity's publish action also checks and strengthens references. A lead with another status than was seen is skipped, as in
 * {@link request}, unless it is in progress: that sync sends the edits.
 */
export async function publishAndRequest(client: SanityClient, lead: Seen, fields: FieldNames): Promise<Outcome[]> {
  const own = client.withConfig({apiVersion: API_VERSION})
  const draft = {publishedId: lead.id, draftId: draftId(lead.id)}
  const patch = {set: {[fields.status]: 'REQUESTED' satisfies CrmStatus}}
  for (let round = 0; round < ROUNDS; round++) {
    const published = (await read(own, [lead.id])).find(({_id}) => _id === lead.id)
    const {status} = crmState(published, fields)
    if (status !== lead.status && status !== 'REQUESTED') return ['changed']
    try {
      await own.action(
        [
          {actionType: 'sanity.action.document.edit', ...draft, patch},
          {
            actionType: 'sanity.action.document.publish',
            ...draft,
            ...(published ? {ifPublishedRevisionId: published._rev} : {}),
          },
        ],
        {tag: 'bigin-sync.publish'},
      )
      return ['done']
    } catch (error) {
      if (statusOf(error) !== 409) throw error
    }
  }
  return ['conflict']
}

/** A lead that could not be requested, and why. */
export interface Missed {
  id: string
  why: 'unpublished' | 'conflict' | Error
}

/** The result for many leads: how many were requested, how many were skipped because they had changed, and the rest. */
export interface Tally {
  asked: number
  changed: number
  missed: Missed[]
}

/**
 * Requests many leads, 50 in a transaction. If one prevents the transaction, each lead of the batch is requested by itself.
 * `onProgress` gets the number of finished leads. Throws if no lead can be requested: no network, no session.
 */
export async function requestAll(
  client: SanityClient,
  leads: Seen[],
  fields: FieldNames,
  onProgress: (done: number) => void = () => undefined,
): Promise<Tally> {
  const tally: Tally = {asked: 0, changed: 0, missed: []}
  for (let start = 0; start < leads.length; start += BATCH) {
    const batch = leads.slice(start, start + BATCH)
    const answers = await answersOf(client, batch, fields)
    for (const [index, lead] of batch.entries()) {
      let answer = answers[index]
      if (isMissed(answer) && batch.length > 1) [answer] = await answersOf(client, [lead], fields)
      if (isMissed(answer)) tally.missed.push({id: lead.id, why: answer})
      else if (answer === 'changed') tally.changed++
      else tally.asked++
    }
    onProgress(start + batch.length)
  }
  return tally
}

type Answer = Outcome | Error

const isMissed = (answer: Answer): answer is Missed['why'] =>
  answer instanceof Error || answer === 'unpublished' || answer === 'conflict'

// The result of each lead of a batch.
async function answersOf(client: SanityClient, batch: Seen[], fields: FieldNames): Promise<Answer[]> {
  try {
    return await request(client, batch, fields)
  } catch (error) {
    // The content was rejected, perhaps of one lead only.
    if (error instanceof Error && [400, 403, 409].includes(Number(statusOf(error)))) return batch.map(() => error)
    throw error
  }
}

const statusOf = (error: unknown): unknown =>
  typeof error === 'object' && error !== null && 'statusCode' in error ? error.statusCode : undefined
