import type {SanityClient} from '@sanity/client'

import {answer, isLeadId, reject, rejection, type MaySend} from './guard'

type Context = {params: Promise<{leadId: string}>}

/**
 * The recommended way: `POST` requests a lead by setting its `crmStatus` to `REQUESTED`, as an editor would, and `GET` returns its
 * status. bigin-sync is notified by its webhook, so this app needs no secret of bigin-sync.
 *
 * `sanity` creates a client with a token that may write leads.
 */
export function requestRoutes(maySend: MaySend, sanity: () => SanityClient, leadType = 'dbrLead') {
  /** The published lead and its draft. Unlike a query, this never returns outdated data. */
  async function read(leadId: string) {
    const [lead, draft] = await sanity().getDocuments([leadId, `drafts.${leadId}`])
    return lead?._type === leadType ? {lead, draft} : undefined
  }

  async function GET(request: Request, {params}: Context): Promise<Response> {
    const rejected = await rejection(request, maySend)
    if (rejected) return rejected
    const {leadId} = await params
    const found = isLeadId(leadId) ? await read(leadId) : undefined
    if (!found) return reject(404, 'There is no published lead with this ID.')
    const {crmStatus = 'NOT_SENT', crmError = null, biginContactId = null} = found.lead
    return answer(200, {crmStatus, crmError, biginContactId})
  }

  async function POST(request: Request, {params}: Context): Promise<Response> {
    const rejected = await rejection(request, maySend)
    if (rejected) return rejected
    const {leadId} = await params
    const found = isLeadId(leadId) ? await read(leadId) : undefined
    if (!found) return reject(404, 'There is no published lead with this ID.')
    const {lead, draft} = found
    // In progress already; setting the same value again would not fire the webhook.
    if (lead.crmStatus === 'REQUESTED') return answer(202, {crmStatus: 'REQUESTED'})

    const change = {set: {crmStatus: 'REQUESTED'}, unset: ['crmError']}
    const transaction = sanity().transaction().patch(leadId, {...change, ifRevisionID: lead._rev})
    // Publishing a draft with another status would cancel the request.
    if (draft) transaction.patch(draft._id, change)
    try {
      await transaction.commit({visibility: 'async'})
    } catch (error) {
      if (statusOf(error) === 409) return reject(409, 'The lead was just changed. Try again.')
      throw error
    }
    return answer(202, {crmStatus: 'REQUESTED'})
  }

  return {GET, POST}
}

function statusOf(error: unknown): unknown {
  return error instanceof Error && 'statusCode' in error ? error.statusCode : undefined
}
