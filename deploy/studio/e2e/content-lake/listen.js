// Listeners: what happens to documents, as server-sent events.
import {isDraft, isVersion} from './lake.js'
import {hasVersions, matcher} from './query.js'

// The simplest patch that mendoza knows: opcode 0 puts a value in the place of all.
const effects = ({before = null, after = null}) => ({apply: [0, after], revert: [0, before]})

// Lets `write(event, data)` know of what a listener asks for; returns what ends it.
export const listen = (lake, {query, params, options, version}, write) => {
  const matches = matcher(query, params)
  const visible = (id) => {
    if (options.includeAllVersions || options.perspective === 'raw') return true
    if (isVersion(id)) return false
    return !hasVersions(version) || options.includeDrafts || !isDraft(id)
  }

  const tell = async (transaction) => {
    const events = []
    for (const change of transaction.changes.filter(({id}) => visible(id))) {
      const [was, is] = [await matches(change.before), await matches(change.after)]
      if (was || is) events.push(event(transaction, change, was, is))
    }
    // A document's own listener waits until it has as many of a transaction as that says, so it counts what is sent.
    events.forEach((data, index) => {
      write('mutation', {...data, transactionTotalEvents: events.length, transactionCurrentEvent: index + 1})
    })
  }

  const event = ({id, timestamp, by}, change, was, is) => ({
    eventId: `${id}#${change.id}`,
    documentId: change.id,
    transactionId: id,
    transition: was && is ? 'update' : is ? 'appear' : 'disappear',
    identity: by,
    previousRev: change.before?._rev,
    // Also of a deletion this is the transaction, although no document has it.
    resultRev: id,
    timestamp,
    visibility: options.visibility ?? 'transaction',
    mutations: options.includeMutations ? change.mutations : [],
    ...(options.effectFormat === 'mendoza' ? {effects: effects(change)} : {}),
    ...(options.includeResult ? {result: change.after} : {}),
    ...(options.includePreviousRevision ? {previous: change.before} : {}),
  })

  write('welcome', {listenerName: 'stand-in'})
  let turn = Promise.resolve()
  return lake.subscribe((transaction) => {
    turn = turn.then(() => tell(transaction))
  })
}
