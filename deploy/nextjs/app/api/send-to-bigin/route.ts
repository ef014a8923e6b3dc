import {forwardRoutes} from '../../../lib/forwardRoutes'
import {maySend} from '../../../lib/maySend'

// bigin-sync waits for SEND_WAIT, by default a minute, before it answers that the sync is still in progress.
export const maxDuration = 75

export const {GET, POST} = forwardRoutes(maySend, {
  url: process.env.BIGIN_SYNC_URL ?? 'http://127.0.0.1:8080',
  token: process.env.ADMIN_TOKEN ?? '',
})
