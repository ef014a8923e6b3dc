import {answer, isLeadId, refusal, refuse, type MaySend} from './guard'

/** Where bigin-sync is, and its `ADMIN_TOKEN`. Neither may reach a browser. */
export type Service = {url: string; token: string}

/**
 * The other way, for an app that may not write to Sanity: `POST {"leadId": …}` is passed on to bigin-sync's `/api/send-to-bigin`, which waits for
 * the end, and `GET ?sync=…` says how a sync stands for which that wait was too short. Whoever has the token can do anything that bigin-sync's
 * dashboard can.
 */
export function forwardRoutes(maySend: MaySend, service: Service) {
  async function call(path: string, init: RequestInit): Promise<Response> {
    const headers = {authorization: `Bearer ${service.token}`, 'content-type': 'application/json'}
    let response: Response
    try {
      response = await fetch(new URL(path, service.url), {...init, headers, redirect: 'error', cache: 'no-store'})
    } catch {
      return refuse(502, 'bigin-sync cannot be reached.')
    }
    // That is between this app and bigin-sync, and nothing that the person at the button could mend.
    if (response.status === 401 || response.status === 403) return refuse(502, 'bigin-sync refuses ADMIN_TOKEN.')
    const body: unknown = await response.json().catch(() => undefined)
    if (typeof body !== 'object' || body === null) return refuse(502, 'bigin-sync gave no answer.')
    return answer(response.status, body)
  }

  async function POST(request: Request): Promise<Response> {
    const refused = await refusal(request, maySend)
    if (refused) return refused
    const body: unknown = await request.json().catch(() => undefined)
    const leadId = typeof body === 'object' && body !== null && 'leadId' in body ? body.leadId : undefined
    if (!isLeadId(leadId)) return refuse(400, 'There is no id of a lead in it.')
    return call('/api/send-to-bigin', {method: 'POST', body: JSON.stringify({leadId})})
  }

  async function GET(request: Request): Promise<Response> {
    const refused = await refusal(request, maySend)
    if (refused) return refused
    const sync = new URL(request.url).searchParams.get('sync') ?? ''
    if (!/^[0-9]{1,18}$/.test(sync)) return refuse(400, 'There is no id of a sync in it.')
    const found = await call(`/api/syncs/${sync}`, {method: 'GET'})
    if (!found.ok) return found
    const {state, reason, contactId} = await found.json()
    return answer(200, {state, reason, contactId})
  }

  return {GET, POST}
}
