// What Studio's actions mean in mutations (official docs, actions API; the shapes are those of @sanity/client's types).
import {Refusal} from './lake.js'

const raise = (description) => {
  throw new Refusal(409, {error: {type: 'actionError', description}})
}

// A copy under another id, which gets a revision and a time of its own.
const renamed = ({_rev, _updatedAt, ...document}, id) => ({...document, _id: id})

// The mutations that carry out `action`, as a function for ContentLake.commit.
export const mutationsOf = (action) => (get) => {
  const existing = (id) => get(id) ?? raise(`There is no document "${id}"`)
  const {actionType: type, draftId, publishedId: id} = action
  switch (type.replace('sanity.action.document.', '')) {
    case 'create': {
      const document = action.attributes
      return [{[action.ifExists === 'ignore' ? 'createIfNotExists' : 'create']: document}]
    }
    case 'edit': {
      // The first edit of a published document makes the draft: a full copy.
      const copy = get(draftId) ? [] : [{createIfNotExists: renamed(existing(id), draftId)}]
      return [...copy, {patch: {...action.patch, id: draftId}}]
    }
    case 'publish': {
      const draft = existing(draftId)
      const now = get(id)?._rev
      if (action.ifPublishedRevisionId && action.ifPublishedRevisionId !== now)
        raise('The published document has changed')
      if (action.ifDraftRevisionId && action.ifDraftRevisionId !== draft._rev) raise('The draft has changed')
      return [{createOrReplace: renamed(draft, id)}, {delete: {id: draftId}}]
    }
    case 'unpublish':
      return [{createIfNotExists: renamed(existing(id), draftId)}, {delete: {id}}]
    case 'discard':
      return [{delete: {id: existing(draftId)._id}}]
    case 'delete':
      return [id, ...(action.includeDrafts ?? [])].map((id) => ({delete: {id}}))
    case 'version.discard':
      return [{delete: {id: action.versionId}}]
    default:
      return raise(`The stand-in does not know the action ${type}`)
  }
}
