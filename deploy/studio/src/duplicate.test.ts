import type {DuplicateDocumentActionComponent} from 'sanity'
import {expect, test} from 'vitest'
import {duplicateAction} from './duplicate'
import {fieldNames} from './options'

type Props = Parameters<DuplicateDocumentActionComponent>[0]
type Copying = NonNullable<Props['mapDocument']>

// What Studio's own action would make of a document, wrapped for leads with these fields.
const copied = (document: object, names = {}, before?: Copying) => {
  let made: object = {}
  const studios: DuplicateDocumentActionComponent = ({mapDocument}) => {
    made = mapDocument?.({_id: 'drafts.copy', _type: 'dbrLead', ...document}) ?? {}
    return {label: 'Duplicate'}
  }
  studios.action = 'duplicate'
  const action = duplicateAction(studios, fieldNames(names))
  // Studio finds its own actions by this name, and keeps only "duplicate" for the versions of releases.
  expect(action.action).toBe('duplicate')
  expect(action({mapDocument: before} as Props)).toEqual({label: 'Duplicate'})
  return made
}

test.each([
  ['was sent', {crmStatus: 'SENT', biginContactId: '7', lastSyncedAt: '2026-11-22T10:00:00Z'}],
  // Published, this would be an unintended request; with the other's lastSyncedAt it would even look intended.
  ['is in progress', {crmStatus: 'REQUESTED', biginContactId: '7', lastSyncedAt: '2026-11-22T10:00:00Z'}],
  ['failed', {crmStatus: 'FAILED', crmError: 'why'}],
  ['says nothing', {}],
])('the copy of a lead that %s is a lead that was not sent', (_, said) => {
  const copy = {_id: 'drafts.copy', _type: 'dbrLead', firstName: 'Ada', crmStatus: 'NOT_SENT'}
  expect(copied({firstName: 'Ada', ...said})).toEqual(copy)
})

test('the copy loses only the result fields', () => {
  const names = {status: 'state', contactId: 'contact', lastSyncedAt: 'at', error: 'reason'}
  const copy = copied({state: 'SENT', contact: '7', at: 'then', reason: 'why', crmError: 'mine'}, names)
  expect(copy).toEqual({_id: 'drafts.copy', _type: 'dbrLead', state: 'NOT_SENT', crmError: 'mine'})
})

test('other changes of copies stay, but cannot restore the result', () => {
  const copy = copied({firstName: 'Ada'}, {}, (document) => ({...document, firstName: 'Copy', crmStatus: 'SENT'}))
  expect(copy).toMatchObject({firstName: 'Copy', crmStatus: 'NOT_SENT'})
})
