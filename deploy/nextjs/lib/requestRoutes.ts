import type {SanityClient} from '@sanity/client'

import {answer, isLeadId, refusal, refuse, type MaySend} from './guard'

type Context = {params: Promise<{leadId: string}>}

/**
 * The recommended way: `POST` asks for a lead to be sent by setting its `crmStatus` to `REQUESTED`, as an editor would, and `GET` says
 * how it stands. bigin-sync hears of it by its webhook, so that this app needs no secret of bigin-sync.
 *
 * `sanity` makes a client with a token that may write leads.
 */
export function requestRoutes(maySend: MaySend, sanity: () => SanityClient, leadType = 'dbrLead') {
  /** The published lead and its draft, as they are now: a query might still answer with what they were. */
  async function read(leadId: string) {
    const [lead, draft] = await sanity().getDocuments([leadId, `drafts.${leadId}`])
    return lead?._type === leadType ? {lead, draft} : undefined
  }

  async function GET(request: Request, {params}: Context): Promise<Response> {
    const refused = await refusal(request, maySend)
    if (refused) return refused
    const {leadId} = await params
    const found = isLeadId(leadId) ? await read(leadId) : undefined
    if (!found) return refuse(404, 'There is no published lead with this id.')
    const {crmStatus = 'NOT_SENT', crmError = null, biginContactId = null} = found.lead
    return answer(200, {crmStatus, crmError, biginContactId})
  }

  async function POST(request: Request, {params}: Context): Promise<Response> {
    const refused = await refusal(request, maySend)
    if (refused) return refused
    const {leadId} = await params
    const found = isLeadId(leadId) ? await read(leadId) : undefined
    if (!found) return refuse(404, 'There is no published lead with this id.')
    const {lead, draft} = found
    // It is on its way already, and setting the same again would be no change that Sanity tells anybody of.
    if (lead.crmStatus === 'REQUESTED') return answer(202, {crmStatus: 'REQUESTED'})

    const asks = {set: {crmStatus: 'REQUESTED'}, unset: ['crmError']}
    const transaction = sanity().transaction().patch(leadId, {...asks, ifRevisionID: lead._rev})
    // Publishing a draft that says otherwise would withdraw the request.
    if (draft) transaction.patch(draft._id, asks)
    try {
      await transaction.commit({visibility: 'async'})
    } catch (error) {
      if (statusOf(error) === 409) return refuse(409, 'Somebody has just changed the lead. Try again.')
      throw error
    }
    return answer(202, {crmStatus: 'REQUESTED'})
  }

  return {GET, POST}
}

function statusOf(error: unknown): unknown {
  return error instanceof Error && 'statusCode' in error ? error.statusCode : undefined
}
