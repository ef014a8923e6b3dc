'use client'

import {throughSanity, type Crm, type Outcome} from '../lib/crm'
import {useSendToCrm, type LeadInCrm, type View} from './useSendToCrm'

type Props = {
  lead: LeadInCrm
  /** `throughSanity` or `throughService`. */
  crm?: Crm
  /** bigin-sync's `TAG_DELAY` in seconds: no lead arrives sooner. */
  delay?: number
  /** Called when sending has ended, for example to load the list anew. */
  onEnd?: (outcome: Outcome) => void
}

/** “Send to CRM” on a lead's card, with what becomes of it. */
export function SendToCrm({lead, crm = throughSanity, delay = 15, onEnd}: Props) {
  const {view, seconds, send} = useSendToCrm(lead, crm, onEnd)
  const sending = view.state === 'sending'
  return (
    <div className="send-to-crm" data-state={view.state}>
      {/* Always there, so that a screen reader hears what changes in it; the seconds are outside, since nobody wants to hear those. */}
      <span role="status" aria-live="polite">
        {sentence(view)}
      </span>
      {sending && (
        <progress
          aria-label="Sending to the CRM"
          max={delay}
          // Without a value it moves for as long as it takes.
          value={seconds < delay ? seconds : undefined}
        />
      )}
      {view.state !== 'sent' && (
        // Not `disabled`, which would take the focus away from whoever pressed it with the keyboard.
        <button type="button" aria-disabled={sending} onClick={sending ? undefined : () => void send()}>
          {label(view, delay - seconds)}
        </button>
      )}
    </div>
  )
}

function sentence(view: View): string {
  switch (view.state) {
    case 'idle':
      return ''
    case 'sending':
      return 'On its way to the CRM'
    case 'sent':
      return '✓ In CRM'
    case 'withdrawn':
      return 'Not sent: the request was withdrawn'
    case 'failed':
      return `Failed: ${view.reason}`
  }
}

function label(view: View, left: number): string {
  if (view.state === 'sending') return left > 0 ? `Sending… (${left} s)` : 'Sending…'
  return view.state === 'idle' ? 'Send to CRM' : 'Try again'
}
