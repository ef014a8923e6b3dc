import {useEffect, useRef, useState} from 'react'
import {type SanityClient} from 'sanity'
import type {Settings} from '../options'
import {type Filter, type Listing, listingQuery, PAGE_SIZE} from './query'
import type {Selection} from './selection'

// At most one read of the list in this time, in milliseconds.
const READ_INTERVAL = 700

/** The last listing, and the last error. */
export interface Read {
  listing: Listing | undefined
  error: string | undefined
}

/** A page of the list with the `selected` leads, read again whenever a lead changes. `page` counts from 0. */
export function useListing(
  client: SanityClient,
  {types, fields}: Settings,
  filter: Filter,
  page: number,
  selected: Selection,
): Read {
  const [read, setRead] = useState<Read>({listing: undefined, error: undefined})

  // For the next read; a new selection was just read and needs none.
  const latest = useRef(selected)
  useEffect(() => {
    latest.current = selected
  }, [selected])

  useEffect(() => {
    let ended = false
    let timer: ReturnType<typeof setTimeout> | undefined
    let reads = 0
    const load = async () => {
      timer = undefined
      const own = ++reads
      const params = {types, from: page * PAGE_SIZE, to: (page + 1) * PAGE_SIZE, selected: [...latest.current.keys()]}
      const options = {perspective: 'published', tag: 'bigin-sync.list'} as const
      const next = await client.fetch<Listing>(listingQuery(fields, filter), params, options).then(
        (listing) => ({listing, error: undefined}),
        (error: unknown) => ({listing: undefined, error: error instanceof Error ? error.message : String(error)}),
      )
      // An answer of an earlier read is outdated.
      if (!ended && own === reads) setRead((last) => (next.listing ? next : {...last, error: next.error}))
    }
    const soon = () => {
      timer ??= setTimeout(() => void load(), READ_INTERVAL)
    }

    void load()
    const events = client.listen(
      '*[_type in $types]',
      {types},
      {
        events: ['welcome', 'mutation', 'reconnect'],
        includeResult: false,
        // Only after queries can see the change, or a read would show nothing new.
        visibility: 'query',
        tag: 'bigin-sync.list',
      },
    )
    const subscription = events.subscribe({next: soon, error: soon})
    return () => {
      ended = true
      clearTimeout(timer)
      subscription.unsubscribe()
    }
  }, [client, fields, filter, page, types])

  return read
}
