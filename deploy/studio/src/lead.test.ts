import {describe, expect, test} from 'vitest'
import {contactAddress, crmState} from './lead'
import {fieldNames} from './options'

const fields = fieldNames()

describe('the state of a lead', () => {
  test.each([
    ['was never published', null, {status: 'NOT_SENT'}],
    ['says nothing', {}, {status: 'NOT_SENT'}],
    ['has an unknown status', {crmStatus: 'NEW'}, {status: 'NOT_SENT'}],
    ['says what is no text', {crmStatus: 1, crmError: {}}, {status: 'NOT_SENT'}],
    ['was sent', {crmStatus: 'SENT', biginContactId: '7'}, {status: 'SENT', contactId: '7'}],
    ['failed', {crmStatus: 'FAILED', crmError: 'why'}, {status: 'FAILED', error: 'why'}],
    // The reason stays in the document until the service has an answer to the new request.
    ['is sent again', {crmStatus: 'REQUESTED', crmError: 'why'}, {status: 'REQUESTED'}],
  ])('that %s', (_, document, expected) => {
    expect(crmState(document, fields)).toEqual(expected)
  })

  test('is read from the given fields', () => {
    const own = fieldNames({status: 'state', error: 'reason'})
    expect(crmState({state: 'FAILED', reason: 'why', crmStatus: 'SENT'}, own)).toEqual({status: 'FAILED', error: 'why'})
  })
})

test('a contact has an address where the template and the id are known', () => {
  const template = 'https://bigin.example.org/contacts/{id}?from={id}'
  expect(contactAddress(template, '42')).toBe('https://bigin.example.org/contacts/42?from=42')
  expect(contactAddress(template, 'a/b')).toBe('https://bigin.example.org/contacts/a%2Fb?from=a%2Fb')
  expect(contactAddress(template, undefined)).toBeUndefined()
  expect(contactAddress(undefined, '42')).toBeUndefined()
})
