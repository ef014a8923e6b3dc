// The webhook: which changes it reports, and their delivery as Sanity does it (official docs, webhooks): signed, one at a
// time, and again twice after 30 seconds where the receiver says 429 or 5xx.
import {createHmac, randomUUID} from 'node:crypto'
import {isDraft, isVersion} from './lake.js'
import {webhookRule} from './query.js'

// As the README of the service has it.
export const RULE = {
  filter: '_type == "dbrLead" && crmStatus == "REQUESTED" && delta::changedAny(crmStatus)',
  projection: '{_id, _type, _rev, _updatedAt, crmStatus}',
}

const RETRIES = 2
const RETRY_DELAY = 30_000

const signature = (body, secret) => {
  const at = Date.now()
  return `t=${at},v1=${createHmac('sha256', secret).update(`${at}.${body}`).digest('base64url')}`
}

export class Webhook {
  attempts = []
  url = undefined
  #rule = webhookRule(RULE)
  #queue = Promise.resolve()
  #secret
  #stopped = new AbortController()

  // `headers` are those that name the project and the dataset.
  constructor(lake, {secret, headers}) {
    this.#secret = secret
    lake.subscribe((transaction) => {
      for (const change of transaction.changes) {
        if (isDraft(change.id) || isVersion(change.id)) continue
        this.#queue = this.#queue.then(() => this.#report(transaction, change, headers))
      }
    })
  }

  // Ends once all that was due is delivered.
  settled() {
    return this.#queue
  }

  stop() {
    this.url = undefined
    this.#stopped.abort()
  }

  async #report(transaction, change, headers) {
    if (!this.url || !change.after) return
    const shown = await this.#rule(change)
    if (shown === undefined) return
    const escaped = {'&': '\\u0026', '<': '\\u003c', '>': '\\u003e'}
    const body = JSON.stringify(shown).replace(/[&<>]/g, (letter) => escaped[letter])
    const message = {
      ...headers,
      'content-type': 'application/json',
      'idempotency-key': randomUUID(),
      'user-agent': 'Sanity.io webhook delivery',
      'sanity-transaction-id': transaction.id,
      'sanity-transaction-time': transaction.timestamp,
      'sanity-document-id': change.id,
      'sanity-operation': change.before ? 'update' : 'create',
    }
    await this.#deliver(message, body, RETRIES)
  }

  async #deliver(headers, body, retries) {
    const status = await this.#send(headers, body)
    this.attempts.push({document: headers['sanity-document-id'], status})
    const again = status === undefined || status === 429 || status >= 500
    if (!again || retries === 0) return
    // Not in the queue: others need not wait for it.
    const timer = setTimeout(() => this.url && this.#deliver(headers, body, retries - 1), RETRY_DELAY)
    timer.unref()
  }

  // The receiver's status, or undefined where there is no answer.
  async #send(headers, body) {
    const signed = {...headers, 'sanity-webhook-signature': signature(body, this.#secret)}
    const signal = AbortSignal.any([AbortSignal.timeout(30_000), this.#stopped.signal])
    try {
      return (await fetch(this.url, {method: 'POST', headers: signed, body, signal})).status
    } catch {
      return undefined
    }
  }
}
