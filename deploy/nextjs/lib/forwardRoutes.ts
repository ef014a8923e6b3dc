import {answer, isLeadId, reject, rejection, type MaySend} from './guard'

/** bigin-sync's URL and its `ADMIN_TOKEN`. Neither may reach a browser. */
export type Service = {url: string; token: string}

/**
 * The other way, for an app that may not write to Sanity: `POST {"leadId": …}` is forwarded to bigin-sync's `/api/send-to-bigin`, which waits for
 * the result. `GET ?sync=…` returns the state of a sync that took longer. The token allows everything that bigin-sync's dashboard does.
 */
export function forwardRoutes(maySend: MaySend, service: Service) {
  async function call(path: string, init: RequestInit): Promise<Response> {
    const headers = {authorization: `Bearer ${service.token}`, 'content-type': 'application/json'}
    let response: Response
    try {
      response = await fetch(new URL(path, service.url), {...init, headers, redirect: 'error', cache: 'no-store'})
    } catch {
      return reject(502, 'bigin-sync cannot be reached.')
    }
    // A configuration error of this app, which the user cannot fix.
    if (response.status === 401 || response.status === 403) return reject(502, 'bigin-sync rejected ADMIN_TOKEN.')
    const body: unknown = await response.json().catch(() => undefined)
    if (typeof body !== 'object' || body === null) return reject(502, 'bigin-sync did not answer.')
    return answer(response.status, body)
  }

  async function POST(request: Request): Promise<Response> {
    const rejected = await rejection(request, maySend)
    if (rejected) return rejected
    const body: unknown = await request.json().catch(() => undefined)
    const leadId = typeof body === 'object' && body !== null && 'leadId' in body ? body.leadId : undefined
    if (!isLeadId(leadId)) return reject(400, 'The lead ID is missing.')
    return call('/api/send-to-bigin', {method: 'POST', body: JSON.stringify({leadId})})
  }

  async function GET(request: Request): Promise<Response> {
    const rejected = await rejection(request, maySend)
    if (rejected) return rejected
    const sync = new URL(request.url).searchParams.get('sync') ?? ''
    if (!/^[0-9]{1,18}$/.test(sync)) return reject(400, 'The sync ID is missing.')
    const found = await call(`/api/syncs/${sync}`, {method: 'GET'})
    if (!found.ok) return found
    const {state, reason, contactId} = await found.json()
    return answer(200, {state, reason, contactId})
  }

  return {GET, POST}
}
