import {forwardRoutes} from '../../../lib/forwardRoutes'
import {maySend} from '../../../lib/maySend'

// bigin-sync waits SEND_WAIT, a minute unless you say otherwise, before it answers that it is still sending.
export const maxDuration = 75

export const {GET, POST} = forwardRoutes(maySend, {
  url: process.env.BIGIN_SYNC_URL ?? 'http://127.0.0.1:8080',
  token: process.env.ADMIN_TOKEN ?? '',
})
