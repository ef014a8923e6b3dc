import {createServer, type IncomingMessage} from 'node:http'
import type {AddressInfo} from 'node:net'

import {onTestFinished} from 'vitest'

type Answer = {status: number; body: unknown}

/** A server on a port of its own until the test ends; `reply` gets the request and its JSON body. */
export async function serve(reply: (request: IncomingMessage, body: any) => Answer): Promise<string> {
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const text = Buffer.concat(chunks).toString()
    const {status, body} = reply(request, text === '' ? undefined : JSON.parse(text))
    response.writeHead(status, {'content-type': 'application/json'}).end(JSON.stringify(body))
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  onTestFinished(() => void server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
