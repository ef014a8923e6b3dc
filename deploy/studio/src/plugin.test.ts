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
const of = (name: string) => Object.assign(() => null, {action: name})
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

test('duplicating a lead is ours in the place of Studio’s, and Studio’s own elsewhere', () => {
  const {actions} = told().document
  const before = [of('publish'), of('duplicate'), of('delete')]
  const after = actions(before, {schemaType: 'dbrLead'})
  expect(after.map((action) => (action as {action?: string}).action).slice(0, 3)).toEqual([
    'publish',
    'duplicate',
    'delete',
  ])
  expect([after[0] === before[0], after[1] === before[1], after[2] === before[2]]).toEqual([true, false, true])
  expect(actions(before, {schemaType: 'page'})).toEqual(before)
  // Studio calls the reducer at every change and the action is a hook: another one each time would forget what it knows.
  expect(actions(before, {schemaType: 'dbrLead'})[1]).toBe(after[1])
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
  ['not requested', {}, null],
  ['in progress', {crmStatus: 'REQUESTED'}, {label: 'Sending…', color: 'primary'}],
  ['it has arrived', {crmStatus: 'SENT', biginContactId: '7'}, {label: 'In CRM', color: 'success', title: 'Contact 7'}],
  ['it failed', {crmStatus: 'FAILED', crmError: 'why'}, {label: 'Failed', color: 'danger', title: 'why'}],
  ['failed without a reason', {crmStatus: 'FAILED'}, {label: 'Failed', color: 'danger'}],
])('the badge, where %s', (_, published, expected) => {
  const props = {published, draft: {crmStatus: 'SENT'}} as unknown as Parameters<ReturnType<typeof badge>>[0]
  const shown = badge(settingsOf())(props)
  if (expected === null) expect(shown).toBeNull()
  else expect(shown).toMatchObject(expected)
})
