import {createClient} from '@sanity/client'

import {maySend} from '../../../../../lib/maySend'
import {requestRoutes} from '../../../../../lib/requestRoutes'

// Created on demand: `next build` evaluates this file, possibly without settings.
const sanity = () =>
  createClient({
    projectId: process.env.SANITY_PROJECT_ID,
    dataset: process.env.SANITY_DATASET ?? 'production',
    token: process.env.SANITY_API_WRITE_TOKEN,
    apiVersion: '2025-02-19',
    useCdn: false,
  })

export const {GET, POST} = requestRoutes(maySend, sanity)
