// Checks signatures with Sanity's own toolkit. Standard input: [{body, header, secret}]; standard output: whether each is
// valid.
import {text} from 'node:stream/consumers'
import {isValidSignature} from '@sanity/webhook'

const webhooks = JSON.parse(await text(process.stdin))
const valid = webhooks.map(({body, header, secret}) => isValidSignature(body, header, secret))
console.log(JSON.stringify(await Promise.all(valid)))
