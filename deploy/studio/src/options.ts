import {WORDS, type Words} from './words'

/** The names of the four fields of a lead that belong to bigin-sync. */
export interface FieldNames {
  /** One of {@link CRM_STATUSES}. */
  status: string
  /** The contact's ID in Bigin: digits, as text. */
  contactId: string
  /** When it was last sent: an ISO 8601 datetime. */
  lastSyncedAt: string
  /** Why it failed, for editors. */
  error: string
}

/** The plugin's options. */
export interface BiginSyncOptions {
  /** The document types that are leads. Default: `['dbrLead']`. */
  types?: string[]
  /** Other names for the fields. bigin-sync itself uses the default names only. */
  fields?: Partial<FieldNames>
  /** Other texts for editors; any of {@link Words}. */
  labels?: Partial<Words>
  /** Whether a lead that was sent or failed can be sent again. Default: true. */
  allowRetry?: boolean
  /** Whether to confirm before a lead is sent. With unpublished edits the dialog is always shown. Default: true. */
  confirm?: boolean
  /** The service's TAG_DELAY, for the progress bar only. Default: 15. */
  tagDelaySeconds?: number
  /**
   * The URL of a contact in Bigin, with `{id}` for its ID, such as `https://bigin.zoho.eu/bigin/Home#/contacts/{id}`.
   * Without it there is no link: each data center and portal has its own URL.
   */
  contactUrl?: string
  /** Whether to show the CRM tool. Default: true. */
  tool?: boolean
}

/** The options with all defaults. */
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

/** Adds the defaults. Throws on an invalid option. */
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
