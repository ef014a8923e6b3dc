// Signs webhooks with Sanity's own toolkit. Standard input: [{body, timestamp, secret}]; standard output: the values of
// the signature header.
import {text} from 'node:stream/consumers'
import {encodeSignatureHeader} from '@sanity/webhook'

const webhooks = JSON.parse(await text(process.stdin))
const headers = webhooks.map(({body, timestamp, secret}) => encodeSignatureHeader(body, timestamp, secret))
console.log(JSON.stringify(await Promise.all(headers)))
