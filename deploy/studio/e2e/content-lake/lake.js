// What the Content Lake holds: one dataset, its documents and every transaction. Nothing changes but by a transaction, and
// each is applied as a whole or not at all. How a patch changes a document is left to Sanity's own @sanity/mutator.
import {randomBytes} from 'node:crypto'
import {Mutation} from '@sanity/mutator'

// A refusal, as the HTTP API words it: `status` and `body`.
export class Refusal extends Error {
  constructor(status, body) {
    super(body.message ?? body.error?.description)
    this.status = status
    this.body = body
  }
}

const malformed = (description) => new Refusal(400, {error: {type: 'mutationParseError', description}})

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'
export const newId = () => Array.from(randomBytes(22), (byte) => LETTERS[byte % LETTERS.length]).join('')

export const publishedId = (id) => id.replace(/^(drafts\.|versions\.[^.]+\.)/, '')
export const isDraft = (id) => id.startsWith('drafts.')
export const isVersion = (id) => id.startsWith('versions.')

// Fields that the Content Lake keeps itself.
const OWN = ['_id', '_type', '_rev', '_createdAt']

export class ContentLake {
  documents = new Map()
  transactions = []
  #known = new Set()
  #listeners = new Set()

  // `listener(transaction)` is told of every transaction, in order. Returns what ends it.
  subscribe(listener) {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  // A document by its full id, or undefined. Only a transaction may change it.
  get(id) {
    return this.documents.get(id)
  }

  // Applies all mutations or none. In the place of a mutation there may be a function of `get`, which finds a document as
  // those before have left it, to several. `by` is the user's id. Returns {transactionId, results: [{id, operation, document}]}.
  commit(mutations, {transactionId = newId(), by, dryRun = false} = {}) {
    if (!Array.isArray(mutations) || mutations.length === 0) throw malformed('there are no mutations')
    if (this.#known.has(transactionId)) {
      const description = `Transaction with ID "${transactionId}" already exists`
      throw new Refusal(409, {error: {type: 'transactionAlreadyExistsError', description}})
    }
    const timestamp = new Date().toISOString()
    const work = new Work(this.documents, transactionId, timestamp)
    const several = (item) => (typeof item === 'function' ? item((id) => work.get(id)) : [item])
    const results = mutations.flatMap((item, index) => several(item).map((mutation) => work.apply(mutation, index)))
    if (!dryRun) this.#record({id: transactionId, timestamp, by, changes: work.changes()})
    return {transactionId, results}
  }

  #record(transaction) {
    this.#known.add(transaction.id)
    for (const {id, after} of transaction.changes) {
      if (after) this.documents.set(id, after)
      else this.documents.delete(id)
    }
    this.transactions.push(transaction)
    for (const listener of this.#listeners) listener(transaction)
  }
}

// The documents as a transaction in the making sees them.
class Work {
  #base
  #rev
  #stamp
  #touched = new Map()

  constructor(base, rev, timestamp) {
    this.#base = base
    this.#rev = rev
    // In whole seconds, as the real one has `_updatedAt`.
    this.#stamp = `${timestamp.slice(0, 19)}Z`
  }

  changes() {
    const changes = [...this.#touched].map(([id, {after, mutations}]) => ({
      id,
      before: this.#base.get(id),
      after,
      mutations,
    }))
    return changes.filter(({before, after}) => before || after)
  }

  get(id) {
    return this.#touched.has(id) ? this.#touched.get(id).after : this.#base.get(id)
  }

  apply(mutation, index) {
    const entries = Object.entries(mutation ?? {})
    if (entries.length !== 1) throw malformed('a mutation is an object with one key')
    const [kind, body] = entries[0]
    const fail = (type, description, details = {}) => {
      const items = [{index, error: {...details, type, description}}]
      throw new Refusal(409, {
        error: {type: 'mutationError', description: `The mutation(s) failed: ${description}`, items},
      })
    }
    switch (kind) {
      case 'create':
        return this.#create(body, fail)
      case 'createOrReplace':
        return this.#write(named(body), fail)
      case 'createIfNotExists': {
        const found = this.get(named(body)._id)
        return found ? {id: body._id, operation: 'none', document: found} : this.#write(body, fail)
      }
      case 'delete':
        if (typeof body?.id !== 'string') throw malformed('delete wants an id and nothing else')
        return this.#delete(body.id)
      case 'patch':
        return this.#patch(body, fail)
      default:
        throw malformed(`unknown mutation "${kind}"`)
    }
  }

  #create(body, fail) {
    const id = body._id ?? ''
    if (id === '' || id.endsWith('.')) return this.#write({...body, _id: id + newId()}, fail)
    if (this.get(id)) fail('documentAlreadyExistsError', `Document by ID "${id}" already exists`, {id})
    return this.#write(body, fail)
  }

  #write(document, fail) {
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(document._id))
      fail('mutationError', "the document's _id is not legal")
    if (!document._type) fail('mutationError', 'the document has no _type')
    const before = this.get(document._id)
    const whole = {...document, _createdAt: document._createdAt ?? before?._createdAt ?? this.#stamp}
    return this.#put(whole, before ? 'update' : 'create', {createOrReplace: whole})
  }

  // Deleting what is not there succeeds.
  #delete(id) {
    if (!this.get(id)) return {id, operation: 'none', document: null}
    this.#touch(id, undefined, {delete: {id}})
    return {id, operation: 'delete', document: null}
  }

  #patch(patch, fail) {
    const {id, ifRevisionID, ...changes} = patch ?? {}
    if (typeof id !== 'string') throw malformed('patch: there is no id')
    const fields = ['set', 'setIfMissing', 'inc', 'dec', 'diffMatchPatch'].flatMap((kind) =>
      Object.keys(changes[kind] ?? {}),
    )
    const own = [...fields, ...(changes.unset ?? [])].find((field) => OWN.includes(field))
    if (own) throw malformed(`patch: "${own}" is not a field that can be changed`)
    const document = this.get(id)
    if (!document) fail('documentNotFoundError', `The document with the ID "${id}" was not found`, {id})
    if (ifRevisionID && ifRevisionID !== document._rev) {
      const description = `Document "${id}" has unexpected revision ID ("${document._rev}"), expected "${ifRevisionID}"`
      const revisions = {currentRevisionID: document._rev, expectedRevisionID: ifRevisionID}
      fail('documentRevisionIDDoesNotMatchError', description, revisions)
    }
    const applied = new Mutation({mutations: [{patch: {id, ...changes}}]}).apply(structuredClone(document))
    return this.#put(applied, 'update', {patch: {id, ...changes}})
  }

  #put(document, operation, mutation) {
    const after = {...document, _rev: this.#rev, _updatedAt: this.#stamp}
    this.#touch(document._id, after, mutation)
    return {id: document._id, operation, document: after}
  }

  #touch(id, after, mutation) {
    const mutations = [...(this.#touched.get(id)?.mutations ?? []), mutation]
    this.#touched.set(id, {after, mutations})
  }
}

const named = (document) => {
  if (typeof document?._id !== 'string') throw malformed('the document has no _id')
  return document
}
