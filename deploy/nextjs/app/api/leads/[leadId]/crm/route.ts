import {createClient} from '@sanity/client'

import {maySend} from '../../../../../lib/maySend'
import {requestRoutes} from '../../../../../lib/requestRoutes'

// Not made at once: `next build` evaluates this file, where there need be no settings.
const sanity = () =>
  createClient({
    projectId: process.env.SANITY_PROJECT_ID,
    dataset: process.env.SANITY_DATASET ?? 'production',
    token: process.env.SANITY_API_WRITE_TOKEN,
    apiVersion: '2025-02-19',
    useCdn: false,
  })

export const {GET, POST} = requestRoutes(maySend, sanity)
