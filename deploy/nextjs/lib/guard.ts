/** Your own answer to who may send leads: true lets the request through. */
export type MaySend = (request: Request) => Promise<boolean>

/** Ids of published documents, as bigin-sync takes them: neither drafts nor versions of a release. */
const LEAD_ID = /^(?!drafts\.|versions\.)[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/

/** Whether `id` can be the id of a published lead. */
export function isLeadId(id: unknown): id is string {
  return typeof id === 'string' && LEAD_ID.test(id)
}

/** The one shape of everything that these routes refuse. */
export function refuse(status: number, error: string): Response {
  return answer(status, {error})
}

/** JSON that no cache keeps. */
export function answer(status: number, body: object): Response {
  return Response.json(body, {status, headers: {'cache-control': 'no-store'}})
}

/** What to answer a request that may not go on; nothing where it may. */
export async function refusal(request: Request, maySend: MaySend): Promise<Response | undefined> {
  // Another site must not use the session of somebody who is logged in here.
  if (request.headers.get('sec-fetch-site') === 'cross-site') return refuse(403, 'Not from another site.')
  if (!(await maySend(request))) return refuse(403, 'You may not send leads.')
  return undefined
}
