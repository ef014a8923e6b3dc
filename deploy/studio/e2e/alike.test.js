// The Rust stand-in of the Content Lake (src/fake/sanity, which tests/it/studio.rs has started: FAKE_URL and so on) and the
// one of this folder, on Sanity's own parts, are asked the same by Sanity's own client. What both have a route for, they
// must answer alike: two of our own readings of Sanity's documents judge each other, and groq-js and @sanity/mutator judge
// the Rust one's queries and patches.
import assert from 'node:assert/strict'
import {createClient} from '@sanity/client'
import {after, before, test} from 'node:test'
import {startLake, USERS} from './stage.js'

const {FAKE_URL, FAKE_PROJECT, FAKE_DATASET, FAKE_TOKEN, REQUESTED_LEADS} = process.env

let lake, clients
before(async () => {
  lake = await startLake()
  const config = {useProjectHostname: false, useCdn: false, maxRetries: 0, projectId: FAKE_PROJECT}
  const rust = {...config, apiHost: FAKE_URL, dataset: FAKE_DATASET, token: FAKE_TOKEN}
  clients = [rust, {...rust, apiHost: lake.url, token: USERS.robot.token}].map(
    (config) => (version, more) => createClient({...config, apiVersion: version, ...more}),
  )
})
after(() => lake?.close())

const lead = (id, more) => ({_id: id, _type: 'dbrLead', firstName: 'Ada', ...more})
const NEW = '2025-02-19'
const OLD = '2024-01-01'
const doc = (client, ids, query) => client.request({url: `/data/doc/${FAKE_DATASET}/${ids}`, query})
const mutate = (client, body, query) =>
  client.request({method: 'POST', url: `/data/mutate/${FAKE_DATASET}`, body, query})
const patch = (id, more) => ({mutations: [{patch: {id, ...more}}]})
const RETURNS = {returnIds: true, returnDocuments: true}

// In order: every call finds what those before it have left.
const CALLS = {
  'create returns the document': (of) => of(NEW).create(lead('a', {crmStatus: 'REQUESTED', n: 1})),
  'create makes an id': (of) => of(NEW).create({_id: 'made.', _type: 'dbrLead', firstName: 'Nobody'}),
  'create twice': (of) => of(NEW).create(lead('a')),
  'create without a type': (of) =>
    mutate(of(NEW), {mutations: [{create: {_id: 'b'}}]}).catch(({statusCode}) => ({statusCode})),
  'createIfNotExists where it exists': (of) =>
    mutate(of(NEW), {mutations: [{createIfNotExists: lead('a', {n: 9})}]}, RETURNS),
  'createIfNotExists where it does not': (of) =>
    mutate(of(NEW), {mutations: [{createIfNotExists: lead('b')}]}, RETURNS),
  'createOrReplace replaces all': (of) => of(NEW).createOrReplace(lead('a', {crmStatus: 'REQUESTED'})),
  'a draft': (of) => of(NEW).createOrReplace(lead('drafts.a', {firstName: 'Draft', crmStatus: 'REQUESTED'})),
  'a version': (of) => of(NEW).createOrReplace(lead('versions.r1.a', {firstName: 'Version'})),
  'only the ids': (of) => mutate(of(NEW), patch('a', {set: {n: 2}}), {returnIds: true}),
  'nothing returned': (of) => mutate(of(NEW), patch('a', {set: {n: 3}})),
  set: (of) => mutate(of(NEW), patch('a', {set: {n: 4, city: 'Fareham', list: [1, {deep: null}]}}), RETURNS),
  setIfMissing: (of) => mutate(of(NEW), patch('a', {setIfMissing: {city: 'No', postcode: 'PO16 7GZ'}}), RETURNS),
  unset: (of) => mutate(of(NEW), patch('a', {unset: ['city', 'unheardOf']}), RETURNS),
  'inc and dec': (of) => mutate(of(NEW), patch('a', {inc: {n: 5}, dec: {}}), RETURNS),
  dec: (of) => mutate(of(NEW), patch('a', {dec: {n: 2}}), RETURNS),
  'set and unset at once': (of) => mutate(of(NEW), patch('a', {set: {x: 1}, unset: ['x', 'postcode']}), RETURNS),
  'patch of what is not there': (of) => mutate(of(NEW), patch('missing', {set: {n: 1}})),
  'patch of an own field': (of) =>
    mutate(of(NEW), patch('a', {set: {_id: 'b'}})).catch(({statusCode}) => ({statusCode})),
  'patch on another revision': (of) => mutate(of(NEW), patch('a', {ifRevisionID: 'other', set: {n: 1}})),
  'patch on its revision': async (of) => {
    const {_rev} = await of(NEW).getDocument('a')
    return of(NEW).patch('a').ifRevisionId(_rev).set({n: 10}).commit()
  },
  'all or nothing': (of) => mutate(of(NEW), {mutations: [{patch: {id: 'a', set: {n: 11}}}, {create: lead('b')}]}),
  'nothing it was': (of) => of(NEW).getDocument('a'),
  'several in one': (of) =>
    mutate(of(NEW), {mutations: [{create: lead('c')}, {patch: {id: 'c', set: {n: 1}}}, {delete: {id: 'b'}}]}, RETURNS),
  'a transaction id': (of) => mutate(of(NEW), {...patch('c', {set: {n: 2}}), transactionId: 'mine-1'}),
  'a transaction id twice': (of) => mutate(of(NEW), {...patch('c', {set: {n: 3}}), transactionId: 'mine-1'}),
  'a dry run': (of) => mutate(of(NEW), patch('c', {set: {n: 99}}), {...RETURNS, dryRun: true}),
  'no mutations': (of) => mutate(of(NEW), {mutations: []}).catch(({statusCode}) => ({statusCode})),
  'an unknown mutation': (of) => mutate(of(NEW), {mutations: [{explode: {}}]}).catch(({statusCode}) => ({statusCode})),
  delete: (of) => mutate(of(NEW), {mutations: [{delete: {id: 'c'}}]}, RETURNS),
  'delete of what is not there': (of) => mutate(of(NEW), {mutations: [{delete: {id: 'c'}}]}, RETURNS),

  'doc, one': (of) => doc(of(NEW), 'a'),
  'doc, several, and some that are not there': (of) => doc(of(NEW), 'zz,drafts.a,a,missing'),
  'doc, with all versions': (of) => doc(of(NEW), 'a', {includeAllVersions: true}),
  'doc, with all versions, by an old API': (of) => doc(of(OLD), 'a', {includeAllVersions: true}),
  'doc, a version by an old API': (of) => doc(of(OLD), 'versions.r1.a'),
  'doc, a draft of what is not there': (of) => doc(of(NEW), 'gone', {includeAllVersions: true}),

  query: (of) => of(NEW).fetch('*[_type == "dbrLead"] | order(_id) {_id, firstName}'),
  'query, whole answer': (of) =>
    of(NEW)
      .fetch('*[_id == "a"]{_id}', {}, {filterResponse: false})
      .then(({ms, ...rest}) => rest),
  'query, raw': (of) => of(NEW).fetch('*[_type == "dbrLead"] | order(_id) {_id}', {}, {perspective: 'raw'}),
  'query, published': (of) => of(OLD).fetch('*[_type == "dbrLead"] | order(_id) {_id}', {}, {perspective: 'published'}),
  'query, by an old API': (of) => of(OLD).fetch('*[_type == "dbrLead"] | order(_id) {_id}'),
  'query, with parameters': (of) => of(NEW).fetch('*[_type == $type && n > $n]{_id}', {type: 'dbrLead', n: 5}),
  'query, a slice': (of) => of(NEW).fetch('*[_type == "dbrLead"] | order(_id) [0...1]{_id}'),
  'query, by time': (of) =>
    of(NEW).fetch('*[_type == "dbrLead" && dateTime(_updatedAt) < dateTime(now()) - 3600]{_id}'),
  'query, as the service reconciles': (of) =>
    of(NEW).fetch(`${REQUESTED_LEADS}[0...100]{_id}`, {type: 'dbrLead', status: 'REQUESTED', after: '', age: 0}),
  'query, missing fields': (of) => of(NEW).fetch('*[_id == "a"]{_id, unheardOf}'),
  'query, wrong': (of) =>
    of(NEW)
      .fetch('*[_type ==')
      .catch(({statusCode, details}) => ({statusCode, type: details?.type})),
  'a stranger': (of) =>
    of(NEW, {token: 'skStranger'})
      .getDocument('a')
      .catch(({statusCode, response}) => ({statusCode, ...response.body})),
  'another dataset': (of) =>
    of(NEW, {dataset: 'other'})
      .getDocument('a')
      .catch(({statusCode}) => ({statusCode})),
}

// What is different in every run, by its first sight: ids, revisions, times.
const masked = (value) => {
  const names = new Map()
  const name = (kind, text) => {
    if (!names.has(text)) names.set(text, `${kind} ${names.size + 1}`)
    return names.get(text)
  }
  const sorted = (_, part) =>
    part && typeof part === 'object' && !Array.isArray(part) ? Object.fromEntries(Object.entries(part).sort()) : part
  const text = JSON.stringify(value ?? null, sorted)
    .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/g, () => 'a time')
    .replace(/\b[A-Za-z0-9]{22}\b/g, (id) => name('id', id))
  return JSON.parse(text)
}
const told = (error) => ({statusCode: error.statusCode, body: error.response?.body})

for (const [name, call] of Object.entries(CALLS)) {
  test(name, async () => {
    const [rust, node] = await Promise.all(clients.map((of) => Promise.resolve(call(of)).catch(told)))
    assert.notEqual(rust?.statusCode ?? 200, 500)
    assert.deepEqual(masked(rust), masked(node))
  })
}
