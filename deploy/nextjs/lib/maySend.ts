import type {MaySend} from './guard'

/**
 * Who may send leads to the CRM, and see whether they are there. Write it with your own authentication, for example
 *
 *     const session = await auth()
 *     return session?.user.role === 'sales'
 *
 * Until then nobody may.
 */
export const maySend: MaySend = async () => {
  throw new Error('lib/maySend.ts is not written yet: say there who may send leads')
}
