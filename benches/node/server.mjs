// What a careful Node programmer would write in place of the service's intake: a signed webhook is verified over its raw
// bytes, stored once with synchronous=FULL, and answered 202 after the commit. Arguments: the database's file and, for the
// variant that commits together whatever one turn of the event loop has brought, `group`. Prints its address.
import Database from 'better-sqlite3'
import Fastify from 'fastify'
import {isValidSignature, SIGNATURE_HEADER_NAME} from '@sanity/webhook'

const [file, mode] = process.argv.slice(2)
const secret = process.env.SANITY_WEBHOOK_SECRET

const db = new Database(file)
db.pragma('journal_mode = WAL')
db.pragma('synchronous = FULL')
db.exec(`CREATE TABLE IF NOT EXISTS delivery (
  id INTEGER PRIMARY KEY, idempotency_key TEXT, lead_id TEXT NOT NULL, rev TEXT, received_at INTEGER NOT NULL) STRICT;
  CREATE UNIQUE INDEX IF NOT EXISTS delivery_revision ON delivery (lead_id, rev)`)
const insert = db.prepare(
  'INSERT INTO delivery (idempotency_key, lead_id, rev, received_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING',
)

const storeOne = (row) => insert.run(...row).changes === 1

// Whatever one turn of the event loop has brought, in one transaction.
let waiting = []
const insertAll = db.transaction((group) => group.map(({row}) => storeOne(row)))
const flush = () => {
  const group = waiting
  waiting = []
  try {
    const stored = insertAll(group)
    group.forEach(({resolve}, place) => resolve(stored[place]))
  } catch (error) {
    group.forEach(({reject}) => reject(error))
  }
}
const storeTogether = (row) =>
  new Promise((resolve, reject) => {
    if (waiting.push({row, resolve, reject}) === 1) setImmediate(flush)
  })

const store = mode === 'group' ? storeTogether : storeOne

const app = Fastify({logger: false})
app.removeAllContentTypeParsers()
app.addContentTypeParser('application/json', {parseAs: 'string', bodyLimit: 8 * 1024 * 1024}, (_request, body, done) =>
  done(null, body),
)
app.post('/webhooks/sanity', async (request, reply) => {
  const signature = request.headers[SIGNATURE_HEADER_NAME]
  if (!signature || !(await isValidSignature(request.body, signature, secret))) {
    return reply.code(401).send({error: 'invalid signature'})
  }
  const {_id, _type, _rev, crmStatus} = JSON.parse(request.body)
  if (_type !== 'dbrLead' || crmStatus !== 'REQUESTED' || _id.includes('.')) {
    return reply.code(200).send({result: 'ignored'})
  }
  const stored = await store([request.headers['idempotency-key'], _id, _rev, Date.now()])
  return reply.code(stored ? 202 : 200).send({result: stored ? 'opened' : 'repeat'})
})
console.log(await app.listen({host: '127.0.0.1', port: 0}))
