// Does with Sanity's own client what the service and an editor do. Standard input: {url, projectId, dataset, token, query};
// standard output: what the client made of each answer, by the name of the step.
import {text} from 'node:stream/consumers'
import {ClientError, createClient} from '@sanity/client'

const {url, projectId, dataset, token, query} = JSON.parse(await text(process.stdin))
const config = {projectId, dataset, token, apiHost: url, useProjectHostname: false, useCdn: false, apiVersion: '2025-02-19', maxRetries: 0}
const client = createClient(config)

// What the client tells its caller of a refusal.
const refusal = (error) => ({
  isClientError: error instanceof ClientError,
  status: error.statusCode,
  type: error.details?.type ?? error.response?.body?.error?.type,
  items: error.details?.items?.map((item) => item.error),
})
const refused = (promise) => promise.then((done) => ({done}), refusal)
const ids = (documents) => documents.map((document) => document && document._id)

const lead = (id, fields) => ({_id: id, _type: 'dbrLead', firstName: 'Ada', crmStatus: 'REQUESTED', ...fields})
const results = {}

const created = await client.create(lead('lead-1'))
results.created = {id: created._id, type: created._type, hasRev: typeof created._rev === 'string'}
results.createdTwice = await refused(client.create(lead('lead-1')))

const result = {crmStatus: 'SENT', biginContactId: '7618134000000646043'}
const patched = await client.patch('lead-1').ifRevisionId(created._rev).set(result).unset(['crmError']).commit()
results.patched = {status: patched.crmStatus, contact: patched.biginContactId, isNewRev: patched._rev !== created._rev}
const late = await refused(client.patch('lead-1').ifRevisionId(created._rev).set(result).commit())
results.patchedLate = {...late, items: late.items.map(({type}) => ({type}))}
results.knowsRevs = late.items[0].currentRevisionID === patched._rev && late.items[0].expectedRevisionID === created._rev

const twice = () =>
  client.transaction().transactionId('write-back-1').patch('lead-1', (patch) => patch.set({lastSyncedAt: '2026-11-22T10:00:00Z'}))
results.transaction = (await twice().commit({returnDocuments: false})).transactionId
results.transactionTwice = await refused(twice().commit({returnDocuments: false}))

// All or nothing: the second half cannot be done.
const half = client.transaction().createOrReplace(lead('lead-2')).create(lead('lead-1'))
results.half = (await refused(half.commit())).status
results.afterHalf = (await client.getDocument('lead-2')) ?? null

await client.createOrReplace(lead('lead-3'))
await client.createOrReplace(lead('drafts.lead-3', {firstName: 'Grace'}))
await client.createIfNotExists(lead('lead-3', {firstName: 'Nobody'}))
results.document = (await client.getDocument('lead-3')).firstName
results.documents = ids(await client.getDocuments(['drafts.lead-3', 'missing', 'lead-1']))

const params = {type: 'dbrLead', status: 'REQUESTED', after: '', age: 0}
results.requested = ids(await client.fetch(query, params))
results.requestedDrafts = ids(await client.fetch(query, params, {perspective: 'raw'}))
results.requestedLongAgo = ids(await client.fetch(query, {...params, age: 3600}))
results.badQuery = await refused(client.fetch('*[_type =='))

await client.delete('lead-3')
results.deleted = (await client.getDocument('lead-3')) ?? null
results.stranger = await refused(createClient({...config, token: 'skAnother'}).getDocument('lead-1'))

console.log(JSON.stringify(results))
