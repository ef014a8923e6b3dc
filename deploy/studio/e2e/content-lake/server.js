// The Content Lake's HTTP API, as much of it as Studio, @sanity/client and bigin-sync use. Studio wants HTTP/2 (it holds more
// event streams open than a browser allows on HTTP/1.1), which browsers speak over TLS only; the service has plain HTTP.
// A request without an answer here is 404, and recorded in `failures` like whatever goes wrong here: the tests fail on it.
import http from 'node:http'
import http2 from 'node:http2'
import {generate} from 'selfsigned'
import {mutationsOf} from './actions.js'
import {ContentLake, Refusal, isVersion, publishedId} from './lake.js'
import {listen} from './listen.js'
import {hasVersions, run, seen} from './query.js'
import {Webhook} from './webhook.js'

export const PROJECT = 'inv3nted'
export const DATASET = 'production'

const boom = (status, error, message, more = {}) => new Refusal(status, {statusCode: status, error, message, ...more})
const unauthorized = () => boom(401, 'Unauthorized', 'Unauthorized - Session not found', {errorCode: 'SIO-401-ANF'})

const EVERYTHING = ['read', 'update', 'create', 'history', 'editHistory']

// Starts one. `users` are {id, name, token, role}, where a role of 'viewer' may only read. Returns `studioUrl` for a Studio's
// `apiHost`, `url` for everybody else, `lake`, `webhook`, `failures` and `close()`.
export const start = async ({users, webhookSecret}) => {
  const lake = new ContentLake()
  const headers = {'sanity-project-id': PROJECT, 'sanity-dataset': DATASET, 'sanity-webhook-id': 'Hk3vXq1Zt9LmYb2C'}
  const webhook = new Webhook(lake, {secret: webhookSecret, headers})
  const failures = []
  const handle = handler({lake, users, failures})

  const pems = await generate([{name: 'commonName', value: 'localhost'}], {keySize: 2048, algorithm: 'sha256'})
  const secure = http2.createSecureServer({key: pems.private, cert: pems.cert, allowHTTP1: true}, handle)
  const plain = http.createServer(handle)
  // Presence goes over a web socket, which is not there.
  secure.on('upgrade', (_, socket) => socket.end('HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n'))
  const sessions = new Set()
  secure.on('session', (session) => {
    sessions.add(session)
    session.on('close', () => sessions.delete(session))
  })
  const ports = await Promise.all(
    [secure, plain].map(
      (server) =>
        new Promise((resolve) => {
          server.listen(0, '127.0.0.1', () => resolve(server.address().port))
        }),
    ),
  )

  const close = () => {
    webhook.stop()
    for (const session of sessions) session.destroy()
    secure.close()
    plain.closeAllConnections()
    plain.close()
  }
  return {
    lake,
    webhook,
    failures,
    close,
    studioUrl: `https://localhost:${ports[0]}`,
    url: `http://127.0.0.1:${ports[1]}`,
  }
}

const handler =
  ({lake, users, failures}) =>
  async (request, response) => {
    const origin = request.headers.origin
    if (origin) {
      response.setHeader('access-control-allow-origin', origin)
      response.setHeader('access-control-allow-credentials', 'true')
      response.setHeader('vary', 'origin')
    }
    const answer = (status, body) => {
      response.writeHead(status, {'content-type': 'application/json'})
      response.end(JSON.stringify(body))
    }
    if (request.method === 'OPTIONS') {
      response.setHeader('access-control-allow-headers', request.headers['access-control-request-headers'] ?? '')
      response.setHeader('access-control-allow-methods', 'GET, HEAD, POST, PUT, PATCH, DELETE')
      response.setHeader('access-control-max-age', '600')
      return answer(200, {})
    }
    const url = new URL(request.url, 'http://stand-in')
    const call = {lake, users, request, response, params: url.searchParams, body: await bodyOf(request)}
    const [, version, ...path] = url.pathname.split('/')
    try {
      if (!/^v(1|X|\d{4}-\d{2}-\d{2})$/.test(version)) throw boom(400, 'Bad Request', 'Invalid API version')
      const {route, found} = routeOf(request.method, path.join('/'))
      if (!route) {
        failures.push(`unknown: ${request.method} ${request.url}`)
        throw boom(404, 'Not Found', 'Not Found')
      }
      const token = request.headers.authorization?.replace(/^Bearer /, '')
      const user = users.find((user) => user.token === token)
      if (!user && !route.open) throw unauthorized()
      if (found.dataset && found.dataset !== DATASET) throw boom(404, 'Not Found', 'Dataset not found')
      const result = await route.answer({...call, ...found, user, version: version.slice(1)})
      if (result !== STREAM) answer(200, result)
    } catch (error) {
      if (!(error instanceof Refusal)) failures.push(`${request.method} ${request.url}: ${error.stack}`)
      const refusal = error instanceof Refusal ? error : boom(500, 'Internal Server Error', 'the stand-in failed')
      answer(refusal.status, refusal.body)
    }
  }

const bodyOf = async (request) => {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  const text = Buffer.concat(chunks).toString()
  try {
    return text ? JSON.parse(text) : undefined
  } catch {
    return undefined
  }
}

// The answer is written bit by bit.
const STREAM = Symbol('stream')

const truth = (params, name) => params.get(name) === 'true'

// The query's parameters in an address: `$name`, each of them JSON.
const given = (params) => {
  const named = [...params].filter(([name]) => name.startsWith('$'))
  return Object.fromEntries(named.map(([name, value]) => [name.slice(1), JSON.parse(value)]))
}

const mayWrite = (user) => {
  if (user.role !== 'viewer') return
  const description = 'Insufficient permissions; permission "update" required'
  throw new Refusal(403, {
    error: {type: 'mutationError', description, items: [{error: {type: 'insufficientPermissionsError', description}}]},
  })
}

const doc = ({lake, ids, params, version}) => {
  const asked = decodeURIComponent(ids).split(',')
  const all = truth(params, 'includeAllVersions')
  const wanted = ({_id}) => asked.includes(_id) || (all && asked.includes(publishedId(_id)))
  const visible = ({_id}) => hasVersions(version) || !isVersion(_id)
  const documents = [...lake.documents.values()].filter((document) => wanted(document) && visible(document))
  const found = new Set(documents.map(({_id}) => _id))
  const omitted = asked.filter((id) => !found.has(id)).map((id) => ({id, reason: 'existence'}))
  return {documents: documents.sort((a, b) => (a._id < b._id ? -1 : 1)), omitted}
}

const mutate = ({lake, user, params, body}) => {
  mayWrite(user)
  const options = {
    transactionId: body?.transactionId ?? params.get('transactionId') ?? undefined,
    by: user.id,
    dryRun: truth(params, 'dryRun'),
  }
  const {transactionId, results} = lake.commit(body?.mutations, options)
  const documents = truth(params, 'returnDocuments')
  const shown = results.map(({document, ...result}) => (documents ? {...result, document} : result))
  return {transactionId, results: documents || truth(params, 'returnIds') ? shown : []}
}

const actions = ({lake, user, body}) => {
  mayWrite(user)
  const {transactionId} = lake.commit(body.actions.map(mutationsOf), {
    transactionId: body.transactionId,
    by: user.id,
    dryRun: body.dryRun,
  })
  return {transactionId}
}

const query = async ({lake, user, version, params, body}) => {
  const text = body?.query ?? params.get('query')
  const values = body?.params ?? given(params)
  const documents = seen(lake.documents.values(), version, params.get('perspective') ?? undefined)
  const result = await run(text, values, documents, user.id)
  const shown = {ms: 1, result, syncTags: []}
  return params.get('returnQuery') === 'false' ? shown : {...shown, query: text}
}

const stream = (response, start) => {
  response.writeHead(200, {'content-type': 'text/event-stream', 'cache-control': 'no-cache'})
  const write = (event, data) => response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)
  const end = start(write)
  const alive = setInterval(() => response.write(':\n\n'), 10_000)
  response.on('close', () => {
    clearInterval(alive)
    end()
  })
  return STREAM
}

const listenTo = ({lake, response, params, version}) => {
  const flags = ['includeAllVersions', 'includeDrafts', 'includeResult', 'includePreviousRevision']
  const options = {
    ...Object.fromEntries(flags.map((name) => [name, truth(params, name)])),
    includeMutations: params.get('includeMutations') !== 'false',
    effectFormat: params.get('effectFormat'),
    perspective: params.get('perspective'),
    visibility: params.get('visibility') ?? undefined,
  }
  const asked = {query: params.get('query'), params: given(params), options, version}
  return stream(response, (write) => listen(lake, asked, write))
}

// What the history keeps of a document, newest first or last, a line each.
const history = ({lake, response, ids, params}) => {
  const asked = decodeURIComponent(ids).split(',')
  const of = ({id, timestamp, by, changes}) => {
    const mine = changes.filter((change) => asked.includes(change.id))
    const effects = Object.fromEntries(
      mine.map((c) => [c.id, {apply: [0, c.after ?? null], revert: [0, c.before ?? null]}]),
    )
    return {id, timestamp, author: by, documentIDs: mine.map((change) => change.id), mutations: [], effects}
  }
  const lines = lake.transactions.filter(({changes}) => changes.some(({id}) => asked.includes(id))).map(of)
  if (truth(params, 'reverse')) lines.reverse()
  response.writeHead(200, {'content-type': 'application/x-ndjson'})
  response.end(lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
  return STREAM
}

// A document as a transaction left it, or as it is.
const revision = ({lake, ids, params}) => {
  const id = decodeURIComponent(ids)
  const transaction = lake.transactions.find((transaction) => transaction.id === params.get('revision'))
  const document = transaction ? transaction.changes.find((change) => change.id === id)?.after : lake.get(id)
  return {documents: document ? [document] : []}
}

const profile = ({id, name, role}) => ({
  id,
  name,
  displayName: name,
  email: `${id}@example.org`,
  role,
  roles: [{name: role, title: role, description: role}],
  provider: 'sanity',
  profileImage: null,
})

// `*` in an address stands for one part of it, by the name that follows. 'open' is what needs no token.
const ROUTES = [
  ['GET', 'data/doc/*dataset/*ids', doc],
  ['POST', 'data/mutate/*dataset', mutate],
  ['POST', 'data/actions/*dataset', actions],
  ['GET', 'data/query/*dataset', query],
  ['POST', 'data/query/*dataset', query],
  ['GET', 'data/listen/*dataset', listenTo],
  ['GET', 'data/history/*dataset/transactions/*ids', history],
  ['GET', 'data/history/*dataset/documents/*ids', revision],
  ['GET', 'users/me', ({user}) => profile(user)],
  ['GET', 'auth/id', ({user}) => ({id: user.id})],
  [
    'GET',
    'users/*ids',
    ({users, ids}) => {
      const found = users.filter(({id}) => decodeURIComponent(ids).split(',').includes(id)).map(profile)
      return ids.includes(',') ? found : found[0]
    },
  ],
  [
    'GET',
    'projects/*project/datasets/*dataset/acl',
    ({user}) => {
      return [{filter: '_id in path("**")', permissions: user.role === 'viewer' ? ['read', 'history'] : EVERYTHING}]
    },
  ],
  [
    'GET',
    'projects/*project',
    ({users}) => {
      const members = users.map(({id, role}) => ({id, role, isRobot: false, isCurrentUser: false}))
      return {id: PROJECT, displayName: 'Leads', organizationId: 'oInvented', members}
    },
  ],

  // What Studio asks beside, and works without: the plan's features, offers to upgrade, news, other Studios of the project,
  // an addon dataset for comments, scheduled publishing, what it remembers of a user, and its schema, which it uploads.
  ['GET', 'features', () => []],
  ['GET', 'journey/announcements', () => []],
  ['GET', 'journey/*offer', () => null],
  ['GET', 'projects/*project/user-applications', () => []],
  ['GET', 'projects/*project/datasets', () => []],
  ['GET', 'projects/*project/datasets/*dataset/settings/indexing', () => ({})],
  ['GET', 'schedules/*project/*dataset', () => ({schedules: []})],
  ['GET', 'users/me/keyvalue/*keys', () => []],
  ['PUT', 'users/me/keyvalue', ({body}) => body],
  ['POST', 'descriptors/claim', () => ({synchronization: {type: 'complete'}})],
  ['GET', 'data/history/*dataset/events/documents/*ids', ({ids}) => ({events: {[ids]: []}, nextCursor: null})],
  ['GET', 'access/requests/me', () => []],
  ['POST', 'intake/batch', () => ({}), 'open'],
  ['GET', 'help', () => ({})],
  ['GET', 'ping', () => ({}), 'open'],
  ['GET', 'intake/telemetry-status', () => ({status: 'denied'})],
  ['GET', 'projects/*project/grants', () => ({})],
  ['GET', 'agent/*organisation/bundles/mine/listen', ({response}) => stream(response, () => () => undefined)],
  ['GET', 'data/ping/*dataset', () => ({})],
]

const routeOf = (method, path) => {
  for (const [of, pattern, answer, open] of ROUTES) {
    const parts = pattern.split('/')
    const given = path.split('/')
    if (of !== method || parts.length !== given.length) continue
    if (!parts.every((part, index) => part.startsWith('*') || part === given[index])) continue
    const found = parts.flatMap((part, index) => (part.startsWith('*') ? [[part.slice(1), given[index]]] : []))
    return {route: {answer, open}, found: Object.fromEntries(found)}
  }
  return {found: {}}
}
