import type {SanityClient, SanityDocument} from 'sanity'
import {draftId, publishedId} from './ids'
import type {CrmStatus} from './lead'
import type {FieldNames} from './options'

/** The version of Sanity's API that all calls are written for. */
export const API_VERSION = '2025-02-19'

// Leads in one transaction of many, well under what Sanity takes.
const BATCH = 50
const ROUNDS = 3

/** A lead is asked for, was on its way already, is not published, or was changed by somebody again and again. */
export type Outcome = 'done' | 'unchanged' | 'unpublished' | 'conflict'

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
 * `biginContactId` and `lastSyncedAt` stay. A request that carries the last `lastSyncedAt` is how bigin-sync tells "send again"
 * from an old draft that somebody published.
 */
export const request = (client: SanityClient, ids: string[], fields: FieldNames): Promise<Outcome[]> =>
  change(client, ids, fields, 'REQUESTED', (now) => now !== 'REQUESTED')

/**
 * Takes a request back while the lead still says REQUESTED. bigin-sync cancels when it finds another status before it adds the
 * tag. NOT_SENT also where the lead had been sent before: only bigin-sync says SENT, and what it had sent may since have been
 * half replaced; when it was last sent stays to be read.
 */
export const withdraw = (client: SanityClient, ids: string[], fields: FieldNames): Promise<Outcome[]> =>
  change(client, ids, fields, 'NOT_SENT', (now) => now === 'REQUESTED')

async function change(
  client: SanityClient,
  ids: string[],
  fields: FieldNames,
  status: CrmStatus,
  wanted: (now: unknown) => boolean,
): Promise<Outcome[]> {
  const own = client.withConfig({apiVersion: API_VERSION})
  for (let round = 0; round < ROUNDS; round++) {
    const copies = await read(own, ids)
    const outcomes = ids.map((id): Outcome => {
      const published = copies.find(({_id}) => _id === id)
      if (!published) return 'unpublished'
      return wanted(published[fields.status]) ? 'done' : 'unchanged'
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
 * done without the other. Publishing is left to Sanity's action, which also checks and strengthens references.
 */
export async function publishAndRequest(client: SanityClient, id: string, fields: FieldNames): Promise<void> {
  const draft = {publishedId: id, draftId: draftId(id)}
  const patch = {set: {[fields.status]: 'REQUESTED' satisfies CrmStatus}}
  await client.withConfig({apiVersion: API_VERSION}).action(
    [
      {actionType: 'sanity.action.document.edit', ...draft, patch},
      {actionType: 'sanity.action.document.publish', ...draft},
    ],
    {tag: 'bigin-sync.publish'},
  )
}

/**
 * Asks for many leads, 50 in a transaction. Where one of them is in the way of the others, each of its batch is asked for by
 * itself. Returns those that could not be asked for; `onProgress` hears how many are done. Throws where none can be: no
 * network, no session.
 */
export async function requestAll(
  client: SanityClient,
  ids: string[],
  fields: FieldNames,
  onProgress: (done: number) => void = () => undefined,
): Promise<string[]> {
  const failed: string[] = []
  for (let start = 0; start < ids.length; start += BATCH) {
    const batch = ids.slice(start, start + BATCH)
    let missed = await missedOf(client, batch, fields)
    if (missed.length > 0 && batch.length > 1) {
      const alone = []
      for (const id of missed) alone.push(...(await missedOf(client, [id], fields)))
      missed = alone
    }
    failed.push(...missed)
    onProgress(start + batch.length)
  }
  return failed
}

// Those of a batch that could not be asked for together.
async function missedOf(client: SanityClient, batch: string[], fields: FieldNames): Promise<string[]> {
  try {
    const outcomes = await request(client, batch, fields)
    return batch.filter((_, index) => outcomes[index] === 'unpublished' || outcomes[index] === 'conflict')
  } catch (error) {
    // Refused for what is in it, for one of them perhaps.
    if ([400, 403, 409].includes(Number(statusOf(error)))) return batch
    throw error
  }
}

const statusOf = (error: unknown): unknown =>
  typeof error === 'object' && error !== null && 'statusCode' in error ? error.statusCode : undefined
