'use client'

import {useCallback, useEffect, useRef, useState} from 'react'

import type {Crm, CrmStatus, Outcome} from '../lib/crm'

/** What of a lead the button has to know. */
export type LeadInCrm = {_id: string; crmStatus?: CrmStatus; crmError?: string}

/** What the button shows. */
export type View = {state: 'idle'} | {state: 'sending'} | Outcome

function viewOf({crmStatus, crmError}: LeadInCrm): View {
  if (crmStatus === 'SENT') return {state: 'sent'}
  if (crmStatus === 'FAILED') return {state: 'failed', reason: crmError ?? 'No reason is known.'}
  return crmStatus === 'REQUESTED' ? {state: 'sending'} : {state: 'idle'}
}

/** Sends a lead, and follows it: `view` says how it stands, `seconds` for how long it has been on its way from here. */
export function useSendToCrm(lead: LeadInCrm, crm: Crm, onEnd?: (outcome: Outcome) => void) {
  const [view, setView] = useState(() => viewOf(lead))
  const [seconds, setSeconds] = useState(0)
  const running = useRef<AbortController>(null)
  const ended = useRef(onEnd)
  useEffect(() => {
    ended.current = onEnd
  })

  const follow = useCallback(
    async (ask: Crm['send']) => {
      if (running.current) return
      const controller = new AbortController()
      running.current = controller
      setView({state: 'sending'})
      setSeconds(0)
      const clock = setInterval(() => setSeconds((past) => past + 1), 1000)
      let outcome: Outcome
      try {
        outcome = await ask(lead._id, controller.signal)
      } catch (error) {
        outcome = {state: 'failed', reason: error instanceof Error ? error.message : String(error)}
      } finally {
        clearInterval(clock)
      }
      // Another lead is shown by now, or none.
      if (controller.signal.aborted) return
      running.current = null
      setView(outcome)
      ended.current?.(outcome)
    },
    [lead._id],
  )

  useEffect(
    () => () => {
      running.current?.abort()
      running.current = null
    },
    [lead._id],
  )

  // What the page has learnt of the lead since, unless it is followed already.
  const {_id, crmStatus, crmError} = lead
  const {watch} = crm
  useEffect(() => {
    if (running.current) return
    setView(viewOf({_id, crmStatus, crmError}))
    if (crmStatus === 'REQUESTED' && watch) void follow(watch)
  }, [_id, crmStatus, crmError, watch, follow])

  return {view, seconds, send: () => follow(crm.send)}
}
