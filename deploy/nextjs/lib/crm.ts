/** What a lead's `crmStatus` may say; a lead that has none is `NOT_SENT`. */
export type CrmStatus = 'NOT_SENT' | 'REQUESTED' | 'SENT' | 'FAILED'

/** How sending ended; `withdrawn` where somebody has taken the request back in the meantime. */
export type Outcome = {state: 'sent'} | {state: 'withdrawn'} | {state: 'failed'; reason: string}

/** A way to send leads. Both functions resolve when it has ended, and reject where it could not be asked for. */
export type Crm = {
  send: (leadId: string, signal: AbortSignal) => Promise<Outcome>
  /** Waits for the end of what somebody else has asked for. */
  watch?: (leadId: string, signal: AbortSignal) => Promise<Outcome>
}

/** Asks by `app/api/leads/[leadId]/crm`, and looks at the lead until it says how it ended. The recommended way. */
export const throughSanity: Crm = {
  async send(leadId, signal) {
    await call(addressOf(leadId), {method: 'POST', signal})
    return watchLead(leadId, signal)
  },
  watch: watchLead,
}

/** Asks by `app/api/send-to-bigin`, which passes it on to bigin-sync and waits. */
export const throughService: Crm = {
  async send(leadId, signal) {
    const headers = {'content-type': 'application/json'}
    const init = {method: 'POST', headers, body: JSON.stringify({leadId}), signal}
    try {
      const {success, sync} = await call('/api/send-to-bigin', init)
      return success === true ? {state: 'sent'} : await watchSync(Number(sync), signal)
    } catch (error) {
      if (error instanceof Refused && error.status === 409) return {state: 'withdrawn'}
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
    return crmStatus === 'FAILED' ? {state: 'failed', reason: String(crmError)} : {state: 'withdrawn'}
  })
}

function watchSync(sync: number, signal: AbortSignal): Promise<Outcome> {
  return until(signal, async () => {
    const {state, reason} = await call(`/api/send-to-bigin?sync=${sync}`, {signal})
    if (state === 'sent') return {state: 'sent'}
    if (state === 'failed') return {state: 'failed', reason: String(reason)}
    return state === 'cancelled' || state === 'lead_deleted' ? {state: 'withdrawn'} : undefined
  })
}

/** A route said no, in a sentence for people. */
class Refused extends Error {
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
  if (!response.ok) throw new Refused(response.status, body.error ?? `The server answered ${response.status}.`)
  return body
}

const SECOND = 1000

/** Looks every two seconds, and after a minute every ten, until there is an outcome. */
async function until(signal: AbortSignal, look: () => Promise<Outcome | undefined>): Promise<Outcome> {
  for (let looks = 0; ; looks += 1) {
    await pause(looks < 30 ? 2 * SECOND : 10 * SECOND, signal)
    try {
      const outcome = await look()
      if (outcome) return outcome
    } catch (error) {
      // The lead is on its way all the same, so a network or a server that fails for a while ends nothing.
      const final = error instanceof Refused && error.status < 500 && error.status !== 429
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
