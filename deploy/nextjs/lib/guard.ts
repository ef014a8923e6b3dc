/** Your decision who may send leads: true accepts the request. */
export type MaySend = (request: Request) => Promise<boolean>

/** IDs of published documents, as bigin-sync accepts them: no drafts or versions. */
const LEAD_ID = /^(?!drafts\.|versions\.)[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/

/** Whether `id` can be the ID of a published lead. */
export function isLeadId(id: unknown): id is string {
  return typeof id === 'string' && LEAD_ID.test(id)
}

/** The response for a rejected request. */
export function reject(status: number, error: string): Response {
  return answer(status, {error})
}

/** JSON that is never cached. */
export function answer(status: number, body: object): Response {
  return Response.json(body, {status, headers: {'cache-control': 'no-store'}})
}

/** The response for a request that is not allowed; undefined if it is. */
export async function rejection(request: Request, maySend: MaySend): Promise<Response | undefined> {
  // Another site must not use a logged-in user's session.
  if (request.headers.get('sec-fetch-site') === 'cross-site') return reject(403, 'Requests from other sites are not allowed.')
  if (!(await maySend(request))) return reject(403, 'You do not have permission to send leads.')
  return undefined
}
