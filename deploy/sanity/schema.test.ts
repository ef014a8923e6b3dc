import {readFileSync} from 'node:fs'

import {expect, test} from 'vitest'

import {CRM_STATUSES, crmFields} from './crmFields'
import {dbrLead} from './dbrLead'

const fields = new Map(dbrLead.fields.map((field) => [field.name, field]))

test('the lead has the four fields that bigin-sync reads and writes', () => {
  expect(crmFields.map((field) => field.name)).toEqual(['crmStatus', 'crmError', 'biginContactId', 'lastSyncedAt'])
  for (const {name} of crmFields) expect(fields.has(name)).toBe(true)
})

test('the fields of bigin-sync are read-only', () => {
  for (const name of ['crmError', 'biginContactId', 'lastSyncedAt']) {
    expect(fields.get(name)).toMatchObject({readOnly: true})
  }
  expect(fields.get('crmStatus')?.readOnly).toBeUndefined()
})

test('a lead starts as not sent, and every status can be shown', () => {
  expect(fields.get('crmStatus')?.initialValue).toBe('NOT_SENT')
  expect(CRM_STATUSES.map(({value}) => value)).toEqual(['NOT_SENT', 'REQUESTED', 'SENT', 'FAILED'])
})

test('the example has every field that the default mapping reads', () => {
  const defaults = readFileSync(new URL('../../config/default.toml', import.meta.url), 'utf8')
  const mapping = defaults.split('[mapping]')[1] ?? ''
  const read = [...mapping.matchAll(/\{\{(.*?)\}\}/g)].flatMap(([, template = '']) =>
    template.split(/\bor\b/).map((part) => part.split('|')[0]!.trim()),
  )
  expect(read).toContain('conversationHistory')
  expect(read.filter((name) => !fields.has(name))).toEqual([])
})
