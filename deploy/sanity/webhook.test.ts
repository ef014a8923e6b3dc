import {evaluate, parse} from 'groq-js'
import {describe, expect, test} from 'vitest'

import webhook from './webhook.json'

const {filter, projection} = webhook.rule

type Lead = {_id: string; _type: string; _rev: string; _updatedAt: string; [field: string]: unknown}

function lead(crmStatus?: string, more: Partial<Lead> = {}): Lead {
  const fixed = {_id: 'lead-1', _type: 'dbrLead', _rev: 'r1', _updatedAt: '2026-11-22T10:00:00Z', firstName: 'Ada'}
  return {...fixed, ...(crmStatus === undefined ? {} : {crmStatus}), ...more}
}

/** Whether Sanity would send the webhook when `before` becomes `after`; `null` is a document that is not there. */
async function fires(before: Lead | null, after: Lead | null): Promise<boolean> {
  const operation = before === null ? 'create' : after === null ? 'delete' : 'update'
  if (!webhook.rule.on.includes(operation)) return false
  const tree = parse(`*[${filter}]`, {mode: 'delta'})
  const matching = await evaluate(tree, {before, after, dataset: [after ?? before]})
  return (await matching.get()).length === 1
}

describe('the filter', () => {
  test.each([
    ['an editor asks', lead('NOT_SENT'), lead('REQUESTED')],
    ['an editor asks for a lead that has no status yet', lead(), lead('REQUESTED')],
    ['the first publish of a lead asks', null, lead('REQUESTED')],
    ['an editor asks again after a failure', lead('FAILED'), lead('REQUESTED')],
    ['an editor asks again for a lead that is in the CRM', lead('SENT'), lead('REQUESTED')],
  ])('fires when %s', async (_story, before, after) => {
    expect(await fires(before, after)).toBe(true)
  })

  test.each([
    ['an editor changes a lead that asks already', lead('REQUESTED'), lead('REQUESTED', {firstName: 'Grace'})],
    ['bigin-sync writes that the lead is sent', lead('REQUESTED'), lead('SENT', {biginContactId: '1'})],
    ['bigin-sync writes that it failed', lead('REQUESTED'), lead('FAILED', {crmError: 'Bigin refused Email'})],
    ['an editor withdraws', lead('REQUESTED'), lead('NOT_SENT')],
    ['an editor changes a lead that asks for nothing', lead('NOT_SENT'), lead('NOT_SENT', {firstName: 'Grace'})],
    ['a lead is made that asks for nothing', null, lead('NOT_SENT')],
    ['a lead that asks is deleted', lead('REQUESTED'), null],
    ['a document of another type asks', lead('NOT_SENT', {_type: 'post'}), lead('REQUESTED', {_type: 'post'})],
  ])('keeps quiet when %s', async (_story, before, after) => {
    expect(await fires(before, after)).toBe(false)
  })
})

test('the projection says which lead, which revision and when, and nothing of the person', async () => {
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

test('drafts and versions are left alone: an unpublished request is none', () => {
  expect(webhook.includeDrafts).toBe(false)
  expect(webhook.includeAllVersions).toBe(false)
})
