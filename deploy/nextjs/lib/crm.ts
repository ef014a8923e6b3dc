/** The values of `crmStatus`; a lead without one is `NOT_SENT`. */
export type CrmStatus = 'NOT_SENT' | 'REQUESTED' | 'SENT' | 'FAILED'

/** The result of sending; `cancelled` if the request was cancelled meanwhile. */
export type Outcome = {state: 'sent'} | {state: 'cancelled'} | {state: 'failed'; reason: string}

/** A way to send leads. Both functions resolve with the result, and reject if the request fails. */
export type Crm = {
  send: (leadId: string, signal: AbortSignal) => Promise<Outcome>
  /** Waits for the result of a request from elsewhere. */
  watch?: (leadId: string, signal: AbortSignal) => Promise<Outcome>
}

/** Requests with `app/api/leads/[leadId]/crm`, and polls the lead until it has a result. The recommended way. */
export const throughSanity: Crm = {
  async send(leadId, signal) {
    await call(addressOf(leadId), {method: 'POST', signal})
    return watchLead(leadId, signal)
  },
  watch: watchLead,
}

/** Requests with `app/api/send-to-bigin`, which calls bigin-sync and waits. */
export const throughService: Crm = {
  async send(leadId, signal) {
    const headers = {'content-type': 'application/json'}
    const init = {method: 'POST', headers, body: JSON.stringify({leadId}), signal}
    try {
      const {success, sync} = await call('/api/send-to-bigin', init)
      return success === true ? {state: 'sent'} : await watchSync(Number(sync), signal)
    } catch (error) {
      if (error instanceof Rejected && error.status === 409) return {state: 'cancelled'}
      throw error
    }
  },
}

function addressOf(leadId: string): string {
  return `/api/leads/${encodeURIComponent(leadId)}/crm`
}

function watchLead(leadId: string, signal: AbortSignal): Promise<Outcome> {
  return until(signal, async () => {
    const {crmStatus, crmError} = await call(addressOf(leadId), {signal})
    if (crmStatus === 'REQUESTED') return undefined
    if (crmStatus === 'SENT') return {state: 'sent'}
    return crmStatus === 'FAILED' ? {state: 'failed', reason: String(crmError)} : {state: 'cancelled'}
  })
}

function watchSync(sync: number, signal: AbortSignal): Promise<Outcome> {
  return until(signal, async () => {
    const {state, reason} = await call(`/api/send-to-bigin?sync=${sync}`, {signal})
    if (state === 'sent') return {state: 'sent'}
    if (state === 'failed') return {state: 'failed', reason: String(reason)}
    return state === 'cancelled' || state === 'lead_deleted' ? {state: 'cancelled'} : undefined
  })
}

/** A route rejected the request; the message is for users. */
class Rejected extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message)
  }
}

async function call(url: string, init: RequestInit): Promise<Record<string, unknown>> {
  const response = await fetch(url, init)
  const body = await response.json().catch(() => ({}))
  if (!response.ok) throw new Rejected(response.status, body.error ?? `The server answered ${response.status}.`)
  return body
}

const SECOND = 1000

/** Polls every two seconds, after a minute every ten, until there is a result. */
async function until(signal: AbortSignal, poll: () => Promise<Outcome | undefined>): Promise<Outcome> {
  for (let polls = 0; ; polls += 1) {
    await pause(polls < 30 ? 2 * SECOND : 10 * SECOND, signal)
    try {
      const outcome = await poll()
      if (outcome) return outcome
    } catch (error) {
      // The sync continues while the network or a server fails for a while.
      const final = error instanceof Rejected && error.status < 500 && error.status !== 429
      if (signal.aborted || final) throw error
    }
  }
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer)
      reject(signal.reason)
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop)
      resolve()
    }, milliseconds)
    signal.addEventListener('abort', stop, {once: true})
  })
}
