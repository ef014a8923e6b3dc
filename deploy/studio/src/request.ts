import type {SanityClient, SanityDocument} from 'sanity'
import {draftId, publishedId} from './ids'
import {type CrmStatus, crmState} from './lead'
import type {FieldNames} from './options'

/** The version of Sanity's API that all calls are written for. */
export const API_VERSION = '2025-02-19'

// Leads in one transaction of many, well under what Sanity takes.
const BATCH = 50
const ROUNDS = 3

/**
 * A lead is asked for, was on its way already, does not say any more what was seen, is not published, or was changed by
 * somebody again and again.
 */
export type Outcome = 'done' | 'unchanged' | 'changed' | 'unpublished' | 'conflict'

/** A published lead by its id, and the status with which it was seen by whoever asks for it. */
export interface Seen {
  id: string
  status: CrmStatus
}

/**
 * Asks for leads to be sent: sets REQUESTED on the published document, which is what fires the webhook, and in the same
 * transaction on its draft and versions where there are any.
 *
 * Why the copies as well: publishing replaces the published document wholesale by the copy. One that still said NOT_SENT would
 * withdraw the request the moment it is published, and one that said SENT would look like a result that nobody wrote. For the
 * same reason bigin-sync writes its result to all of them.
 *
 * Why not publish: a draft may be half of somebody's work, perhaps somebody else's. It stays as it is; {@link publishAndRequest}
 * is there for those who mean it.
 *
 * Why a fresh read and `ifRevisionID`: what the form shows may be a moment old. If the published lead changes in between, the
 * transaction is refused, and the next round decides on what it says now, so that two editors at once make one request. A
 * draft changes with every keystroke and has no such condition: setting another field of it hurts nobody.
 *
 * Why the status that was seen: whoever asks for a lead that failed does not mean one that has arrived since, of which the list
 * or the question does not know yet; it would be sent a second time.
 *
 * `biginContactId` and `lastSyncedAt` stay. A request that carries the last `lastSyncedAt` is how bigin-sync tells "send again"
 * from an old draft that somebody published.
 */
export function request(client: SanityClient, leads: Seen[], fields: FieldNames): Promise<Outcome[]> {
  const seen = new Map(leads.map(({id, status}) => [id, status]))
  return change(client, [...seen.keys()], fields, 'REQUESTED', (now, id) => {
    if (now === 'REQUESTED') return 'unchanged'
    return now === seen.get(id) ? 'done' : 'changed'
  })
}

/**
 * Takes a request back while the lead still says REQUESTED. bigin-sync cancels when it finds another status before it adds the
 * tag. NOT_SENT also where the lead had been sent before: only bigin-sync says SENT, and what it had sent may since have been
 * half replaced; when it was last sent stays to be read.
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
      // Also the answer where a draft was published meanwhile: there is no such document any more.
      if (statusOf(error) !== 409) throw error
    }
  }
  return ids.map(() => 'conflict')
}

/** Reads leads with their drafts and versions from where it is consistent, which queries are not. */
async function read(client: SanityClient, ids: string[]): Promise<SanityDocument[]> {
  const {documents} = await client.request<{documents: SanityDocument[]}>({
    url: client.getDataUrl('doc', ids.join(',')),
    query: {includeAllVersions: 'true'},
    tag: 'bigin-sync.read',
  })
  return documents
}

/**
 * Publishes the draft and asks for the lead, as one transaction of Studio's own actions: were they two, the first could be
 * done without the other. Publishing is left to Sanity's action, which also checks and strengthens references. What says
 * something else than was seen is left alone, as {@link request} does, but for what is on its way: that takes the edits along.
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

/** A lead that could not be asked for, and why not: what stood in the way, or how it was refused. */
export interface Missed {
  id: string
  why: 'unpublished' | 'conflict' | Error
}

/** What has become of many: how many are on their way, how many were left alone because they had changed, and the rest. */
export interface Tally {
  asked: number
  changed: number
  missed: Missed[]
}

/**
 * Asks for many leads, 50 in a transaction. Where one of them is in the way of the others, each of its batch is asked for by
 * itself. `onProgress` hears how many are done. Throws where none can be asked for: no network, no session.
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

// What becomes of each of a batch that is asked for together.
async function answersOf(client: SanityClient, batch: Seen[], fields: FieldNames): Promise<Answer[]> {
  try {
    return await request(client, batch, fields)
  } catch (error) {
    // Refused for what is in it, for one of them perhaps.
    if (error instanceof Error && [400, 403, 409].includes(Number(statusOf(error)))) return batch.map(() => error)
    throw error
  }
}

const statusOf = (error: unknown): unknown =>
  typeof error === 'object' && error !== null && 'statusCode' in error ? error.statusCode : undefined
