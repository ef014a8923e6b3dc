import {useEffect, useState} from 'react'
import {type SanityDocument, useGrantsStore} from 'sanity'

/** Whether the user may change published documents, by ID; a missing one is not known yet. */
export type Granted = ReadonlyMap<string, boolean>

/**
 * Checks the permission for many documents. Studio's own hook reads and follows the draft and the published document of each;
 * here the published documents are read already, and only they are written to.
 */
export function useGranted(documents: SanityDocument[]): Granted {
  const store = useGrantsStore()
  const [granted, setGranted] = useState<Granted>(new Map())
  useEffect(() => {
    const subscriptions = documents.map((document) => {
      const setOne = (value: boolean) =>
        setGranted((last) => (last.get(document._id) === value ? last : new Map(last).set(document._id, value)))
      return store.checkDocumentPermission('update', document).subscribe({
        next: (result) => setOne(result.granted),
        // Sanity checks the request itself.
        error: () => setOne(true),
      })
    })
    return () => subscriptions.forEach((subscription) => subscription.unsubscribe())
  }, [documents, store])
  return granted
}
