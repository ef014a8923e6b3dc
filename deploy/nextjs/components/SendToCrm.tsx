'use client'

import {throughSanity, type Crm, type Outcome} from '../lib/crm'
import {useSendToCrm, type LeadInCrm, type View} from './useSendToCrm'

type Props = {
  lead: LeadInCrm
  /** `throughSanity` or `throughService`. */
  crm?: Crm
  /** bigin-sync's `TAG_DELAY` in seconds: the least time a lead takes. */
  delay?: number
  /** Called with the result, for example to reload the list. */
  onEnd?: (outcome: Outcome) => void
}

/** “Send to CRM” on a lead's card, with the result. */
export function SendToCrm({lead, crm = throughSanity, delay = 15, onEnd}: Props) {
  const {view, seconds, send} = useSendToCrm(lead, crm, onEnd)
  const sending = view.state === 'sending'
  return (
    <div className="send-to-crm" data-state={view.state}>
      {/* Always rendered, so that screen readers announce its changes; the seconds are outside, so that they are not announced. */}
      <span role="status" aria-live="polite">
        {sentence(view)}
      </span>
      {sending && (
        <progress
          aria-label="Sending to the CRM"
          max={delay}
          // Without a value it is indeterminate.
          value={seconds < delay ? seconds : undefined}
        />
      )}
      {view.state !== 'sent' && (
        // Not `disabled`, which would remove the keyboard focus.
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
      return 'Sending to the CRM'
    case 'sent':
      return '✓ In CRM'
    case 'cancelled':
      return 'Not sent: the request was cancelled'
    case 'failed':
      return `Failed: ${view.reason}`
  }
}

function label(view: View, left: number): string {
  if (view.state === 'sending') return left > 0 ? `Sending… (${left} s)` : 'Sending…'
  return view.state === 'idle' ? 'Send to CRM' : 'Try again'
}
