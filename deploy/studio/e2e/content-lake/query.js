// GROQ, by Sanity's own groq-js: queries, what a listener hears of, and a webhook's filter and projection.
import {evaluate, parse} from 'groq-js'
import {Refusal, isDraft, isVersion, publishedId} from './lake.js'

// Since this version of the API there are versions for releases, and queries and listeners see published documents only
// unless they ask for more (official docs, changelog). `version` is without its v.
export const hasVersions = (version) => version === 'X' || version >= '2025-02-19'

// groq-js has no search engine: what Studio 6 searches for is matched word by word, as Studio 5 does it.
const searchable = (text) => text.replace(/\btext::query\(([^()]*)\)/g, '$1')

const parsed = (text, options) => {
  try {
    return parse(searchable(text), options)
  } catch (error) {
    throw new Refusal(400, {error: {type: 'queryParseError', description: error.message, query: text}})
  }
}

// The form in which a `drafts` perspective shows all documents: drafts in the place of what they are drafts of.
const asDrafts = (documents) => {
  const shown = new Map()
  for (const document of documents) {
    const id = publishedId(document._id)
    if (!shown.has(id) || isDraft(document._id)) shown.set(id, {...document, _id: id, _originalId: document._id})
  }
  return [...shown.values()]
}

// What a query sees of all documents. `perspective` may be missing.
export const seen = (documents, version, perspective) => {
  const all = [...documents]
  const before = !hasVersions(version)
  switch (perspective ?? (before ? 'raw' : 'published')) {
    case 'raw':
      return all.filter(({_id}) => !before || !isVersion(_id))
    case 'drafts':
    case 'previewDrafts':
      return asDrafts(all.filter(({_id}) => !isVersion(_id)))
    case 'published':
      return all.filter(({_id}) => !isVersion(_id) && !isDraft(_id))
    default:
      throw new Refusal(400, {error: {type: 'queryParseError', description: `unknown perspective ${perspective}`}})
  }
}

export const run = async (text, params, documents, identity) => {
  const dataset = documents.toSorted((a, b) => (a._id < b._id ? -1 : 1))
  const value = await evaluate(parsed(text, {params}), {dataset, params, identity, timestamp: new Date()})
  return value.get()
}

// Says of a document whether a listener's query would find it.
export const matcher = (text, params) => {
  const tree = parsed(text, {params})
  return async (document) => {
    if (!document) return false
    const found = await (await evaluate(tree, {dataset: [document], params})).get()
    return Array.isArray(found) ? found.length > 0 : Boolean(found)
  }
}

// What a webhook makes of a change: undefined where its filter does not want it, else its projection.
export const webhookRule = ({filter, projection}) => {
  const wants = parsed(filter, {mode: 'delta'})
  const shows = parsed(projection, {mode: 'delta'})
  return async ({before = null, after = null}) => {
    const context = {before, after, root: after, timestamp: new Date()}
    if ((await (await evaluate(wants, context)).get()) !== true) return undefined
    return (await evaluate(shows, context)).get()
  }
}
