import {WORDS, type Words} from './words'

/** The names of the four fields of a lead that belong to bigin-sync. */
export interface FieldNames {
  /** One of {@link CRM_STATUSES}. */
  status: string
  /** The contact's id in Bigin: digits, as text. */
  contactId: string
  /** When it was last sent: an ISO 8601 datetime. */
  lastSyncedAt: string
  /** Why it could not be sent, for an editor to read. */
  error: string
}

/** What the plugin may be told. */
export interface BiginSyncOptions {
  /** The document types that are leads. Default: `['dbrLead']`. */
  types?: string[]
  /** Other names for the fields. bigin-sync as it is knows the default ones alone. */
  fields?: Partial<FieldNames>
  /** Other words for what editors read; any of {@link Words}. */
  labels?: Partial<Words>
  /** Whether what was sent, or failed, can be sent again from here. Default: true. */
  allowRetry?: boolean
  /** Whether to ask before a lead is sent. Where there are unpublished edits it is always asked which to send. Default: true. */
  confirm?: boolean
  /** The service's TAG_DELAY, which is most of the time that a lead takes. It is only used to draw the bar. Default: 15. */
  tagDelaySeconds?: number
  /**
   * The address of a contact in Bigin, with `{id}` for its id, such as `https://bigin.zoho.eu/bigin/Home#/contacts/{id}`.
   * Without it there is no link: every data centre and portal has an address of its own.
   */
  contactUrl?: string
  /** Whether there is the tool that lists the leads. Default: true. */
  tool?: boolean
}

/** The options with nothing left open. */
export interface Settings {
  types: string[]
  fields: FieldNames
  words: Words
  allowRetry: boolean
  confirm: boolean
  tagDelaySeconds: number
  contactUrl: string | undefined
  tool: boolean
}

const FIELDS: FieldNames = {
  status: 'crmStatus',
  contactId: 'biginContactId',
  lastSyncedAt: 'lastSyncedAt',
  error: 'crmError',
}

export const fieldNames = (given: Partial<FieldNames> = {}): FieldNames => ({...FIELDS, ...given})

/** Fills in the defaults. Throws where an option cannot be meant. */
export function settingsOf(options: BiginSyncOptions = {}): Settings {
  const {types = ['dbrLead'], tagDelaySeconds = 15, contactUrl} = options
  if (types.length === 0) throw new Error('biginSync: types is empty')
  if (!(tagDelaySeconds >= 0)) throw new Error('biginSync: tagDelaySeconds is a number of seconds')
  if (contactUrl !== undefined && !(/^https?:\/\//.test(contactUrl) && contactUrl.includes('{id}'))) {
    throw new Error('biginSync: contactUrl is an address with {id} in it')
  }
  const fields = fieldNames(options.fields)
  // They become part of queries.
  const odd = [fields.status, fields.contactId, fields.lastSyncedAt, fields.error].find(
    (name) => !/^[A-Za-z_]\w*$/.test(name),
  )
  if (odd !== undefined) throw new Error(`biginSync: ${JSON.stringify(odd)} is not the name of a field`)
  return {
    types,
    fields,
    words: {...WORDS, ...options.labels},
    allowRetry: options.allowRetry ?? true,
    confirm: options.confirm ?? true,
    tagDelaySeconds,
    contactUrl,
    tool: options.tool ?? true,
  }
}
