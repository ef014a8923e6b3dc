import {useEffect, useState} from 'react'
import {type SanityDocument, useGrantsStore} from 'sanity'

/** Whether the user may change published documents, by their ids; without those of which it is not known yet. */
export type Granted = ReadonlyMap<string, boolean>

/**
 * What a form asks of its document, asked for many. That asks for the pair of draft and published document, with a listener
 * for each; here the published documents are read already, and they are what a request is written to.
 */
export function useGranted(documents: SanityDocument[]): Granted {
  const store = useGrantsStore()
  const [granted, setGranted] = useState<Granted>(new Map())
  useEffect(() => {
    const subscriptions = documents.map((document) => {
      const know = (value: boolean) =>
        setGranted((last) => (last.get(document._id) === value ? last : new Map(last).set(document._id, value)))
      return store.checkDocumentPermission('update', document).subscribe({
        next: (result) => know(result.granted),
        // Then Sanity says it when it is asked.
        error: () => know(true),
      })
    })
    return () => subscriptions.forEach((subscription) => subscription.unsubscribe())
  }, [documents, store])
  return granted
}
