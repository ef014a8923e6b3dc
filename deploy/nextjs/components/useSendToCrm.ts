'use client'

import {useCallback, useEffect, useRef, useState} from 'react'

import type {Crm, CrmStatus, Outcome} from '../lib/crm'

/** The part of a lead that the button needs. */
export type LeadInCrm = {_id: string; crmStatus?: CrmStatus; crmError?: string}

/** The button's state. */
export type View = {state: 'idle'} | {state: 'sending'} | Outcome

function viewOf({crmStatus, crmError}: LeadInCrm): View {
  if (crmStatus === 'SENT') return {state: 'sent'}
  if (crmStatus === 'FAILED') return {state: 'failed', reason: crmError ?? 'No reason was recorded.'}
  return crmStatus === 'REQUESTED' ? {state: 'sending'} : {state: 'idle'}
}

/** Sends a lead and follows it: `view` is its state, `seconds` the time since the request from here. */
export function useSendToCrm(lead: LeadInCrm, crm: Crm, onEnd?: (outcome: Outcome) => void) {
  const [view, setView] = useState(() => viewOf(lead))
  const [seconds, setSeconds] = useState(0)
  const running = useRef<AbortController>(null)
  const ended = useRef(onEnd)
  useEffect(() => {
    ended.current = onEnd
  })

  const follow = useCallback(
    async (start: Crm['send']) => {
      if (running.current) return
      const controller = new AbortController()
      running.current = controller
      setView({state: 'sending'})
      setSeconds(0)
      const clock = setInterval(() => setSeconds((past) => past + 1), 1000)
      let outcome: Outcome
      try {
        outcome = await start(lead._id, controller.signal)
      } catch (error) {
        outcome = {state: 'failed', reason: error instanceof Error ? error.message : String(error)}
      } finally {
        clearInterval(clock)
      }
      // The component shows another lead now, or was removed.
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

  // New data of the page, unless the lead is followed already.
  const {_id, crmStatus, crmError} = lead
  const {watch} = crm
  useEffect(() => {
    if (running.current) return
    setView(viewOf({_id, crmStatus, crmError}))
    if (crmStatus === 'REQUESTED' && watch) void follow(watch)
  }, [_id, crmStatus, crmError, watch, follow])

  return {view, seconds, send: () => follow(crm.send)}
}
