import {evaluate, parse} from 'groq-js'
import {describe, expect, test} from 'vitest'

import webhook from './webhook.json'

const {filter, projection} = webhook.rule

type Lead = {_id: string; _type: string; _rev: string; _updatedAt: string; [field: string]: unknown}

function lead(crmStatus?: string, more: Partial<Lead> = {}): Lead {
  const fixed = {_id: 'lead-1', _type: 'dbrLead', _rev: 'r1', _updatedAt: '2026-11-22T10:00:00Z', firstName: 'Ada'}
  return {...fixed, ...(crmStatus === undefined ? {} : {crmStatus}), ...more}
}

/** Whether the webhook fires when `before` becomes `after`; `null` means no document. */
async function fires(before: Lead | null, after: Lead | null): Promise<boolean> {
  const operation = before === null ? 'create' : after === null ? 'delete' : 'update'
  if (!webhook.rule.on.includes(operation)) return false
  const tree = parse(`*[${filter}]`, {mode: 'delta'})
  const matching = await evaluate(tree, {before, after, dataset: [after ?? before]})
  return (await matching.get()).length === 1
}

describe('the filter', () => {
  test.each([
    ['an editor requests a lead', lead('NOT_SENT'), lead('REQUESTED')],
    ['an editor requests a lead without a status', lead(), lead('REQUESTED')],
    ['a new lead is published as requested', null, lead('REQUESTED')],
    ['an editor requests a failed lead again', lead('FAILED'), lead('REQUESTED')],
    ['an editor requests a sent lead again', lead('SENT'), lead('REQUESTED')],
  ])('fires when %s', async (_case, before, after) => {
    expect(await fires(before, after)).toBe(true)
  })

  test.each([
    ['an editor changes a requested lead', lead('REQUESTED'), lead('REQUESTED', {firstName: 'Grace'})],
    ['bigin-sync writes SENT', lead('REQUESTED'), lead('SENT', {biginContactId: '1'})],
    ['bigin-sync writes FAILED', lead('REQUESTED'), lead('FAILED', {crmError: 'Bigin rejected Email'})],
    ['an editor cancels', lead('REQUESTED'), lead('NOT_SENT')],
    ['an editor changes a lead that is not requested', lead('NOT_SENT'), lead('NOT_SENT', {firstName: 'Grace'})],
    ['a lead is created without a request', null, lead('NOT_SENT')],
    ['a requested lead is deleted', lead('REQUESTED'), null],
    ['a document of another type is requested', lead('NOT_SENT', {_type: 'post'}), lead('REQUESTED', {_type: 'post'})],
  ])('does not fire when %s', async (_case, before, after) => {
    expect(await fires(before, after)).toBe(false)
  })
})

test('the projection has the lead, the revision and the time, but no personal data', async () => {
  const after = lead('REQUESTED', {emailAddress: 'ada@example.org'})
  const tree = parse(projection, {mode: 'delta'})
  const payload = await evaluate(tree, {before: null, after, root: after})
  expect(await payload.get()).toEqual({
    _id: 'lead-1',
    _type: 'dbrLead',
    _rev: 'r1',
    _updatedAt: '2026-11-22T10:00:00Z',
    crmStatus: 'REQUESTED',
  })
})

test('drafts and versions do not fire', () => {
  expect(webhook.includeDrafts).toBe(false)
  expect(webhook.includeAllVersions).toBe(false)
})
