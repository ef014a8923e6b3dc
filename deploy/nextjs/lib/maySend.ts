import type {MaySend} from './guard'

/**
 * Whether a request may send leads to the CRM and see their status. Write it with your own authentication, for example
 *
 *     const session = await auth()
 *     return session?.user.role === 'sales'
 *
 * Until you write it, every request fails.
 */
export const maySend: MaySend = async () => {
  throw new Error('lib/maySend.ts is not written yet: it must decide who may send leads')
}
