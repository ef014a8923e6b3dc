import {expect, test, vi} from 'vitest'

// All of Studio is not needed to see what it is told.
const same = (value: unknown) => value
vi.mock('sanity', () => ({
  defineField: same,
  defineType: same,
  definePlugin: same,
}))
vi.mock('sanity/router', () => ({}))

const {badge} = await import('./badge')
const {settingsOf} = await import('./options')
const {biginSync} = await import('./plugin')
const {crmFields} = await import('./schema')

type Reducer = (before: unknown[], context: {schemaType: string}) => unknown[]
interface Told {
  document: {actions: Reducer; badges: Reducer}
  tools: {name: string}[]
}
const told = (options?: object) => biginSync(options) as unknown as Told

test('leads get two actions and a badge behind those they have, other documents none', () => {
  const {actions, badges} = told({types: ['dbrLead', 'lead']}).document
  for (const schemaType of ['dbrLead', 'lead']) {
    expect(actions(['publish'], {schemaType})).toEqual(['publish', expect.any(Function), expect.any(Function)])
    expect(badges(['live'], {schemaType})).toEqual(['live', expect.any(Function)])
  }
  expect(actions(['publish'], {schemaType: 'page'})).toEqual(['publish'])
  expect(badges(['live'], {schemaType: 'page'})).toEqual(['live'])
})

test('the tool is there unless it is not wanted', () => {
  expect(told().tools.map(({name}) => name)).toEqual(['crm'])
  expect(told({tool: false}).tools).toEqual([])
})

test('the fields have their names, and editors cannot write them', () => {
  const shown = crmFields({status: 'state'}).map(({name, type, readOnly}) => ({name, type, readOnly}))
  expect(shown).toEqual([
    // Its type is read-only.
    {name: 'state', type: 'biginSyncStatus', readOnly: undefined},
    {name: 'biginContactId', type: 'string', readOnly: true},
    {name: 'lastSyncedAt', type: 'datetime', readOnly: true},
    {name: 'crmError', type: 'text', readOnly: true},
  ])
})

test.each([
  ['nothing was asked for', {}, null],
  ['it is on its way', {crmStatus: 'REQUESTED'}, {label: 'Sending…', color: 'primary'}],
  ['it has arrived', {crmStatus: 'SENT', biginContactId: '7'}, {label: 'In CRM', color: 'success', title: 'Contact 7'}],
  ['it failed', {crmStatus: 'FAILED', crmError: 'why'}, {label: 'Failed', color: 'danger', title: 'why'}],
  ['it failed and nobody knows why', {crmStatus: 'FAILED'}, {label: 'Failed', color: 'danger'}],
])('the badge, where %s', (_, published, expected) => {
  const props = {published, draft: {crmStatus: 'SENT'}} as unknown as Parameters<ReturnType<typeof badge>>[0]
  const shown = badge(settingsOf())(props)
  if (expected === null) expect(shown).toBeNull()
  else expect(shown).toMatchObject(expected)
})
