import {expect, test} from 'vitest'
import {settingsOf} from './options'
import {fill, WORDS} from './words'

test('what is not given has its default', () => {
  expect(settingsOf()).toEqual({
    types: ['dbrLead'],
    fields: {status: 'crmStatus', contactId: 'biginContactId', lastSyncedAt: 'lastSyncedAt', error: 'crmError'},
    words: WORDS,
    allowRetry: true,
    confirm: true,
    tagDelaySeconds: 15,
    contactUrl: undefined,
    tool: true,
  })
})

test('what is given counts', () => {
  const settings = settingsOf({types: ['lead'], fields: {status: 'state'}, labels: {send: 'Senden'}, confirm: false})
  expect(settings.types).toEqual(['lead'])
  expect(settings.fields.status).toBe('state')
  expect(settings.fields.error).toBe('crmError')
  expect(settings.words.send).toBe('Senden')
  expect(settings.words.cancel).toBe(WORDS.cancel)
  expect(settings.confirm).toBe(false)
})

test.each([
  ['no types', {types: []}, 'types is empty'],
  ['a negative delay', {tagDelaySeconds: -1}, 'tagDelaySeconds'],
  ['a delay that is no number', {tagDelaySeconds: NaN}, 'tagDelaySeconds'],
  ['an address without a place for the id', {contactUrl: 'https://example.org'}, 'contactUrl'],
  ['an address that runs', {contactUrl: 'javascript:alert({id})'}, 'contactUrl'],
  ['a field that would break a query', {fields: {status: 'a == 1 || b'}}, 'not the name of a field'],
])('%s cannot be meant', (_, options, message) => {
  expect(() => settingsOf(options)).toThrow(message)
})

test('words are filled in, and what is unknown stays', () => {
  expect(fill('{n} of {m}, {n}', {n: 1})).toBe('1 of {m}, 1')
})
