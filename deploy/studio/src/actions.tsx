import {LaunchIcon} from '@sanity/icons/Launch'
import {UndoIcon} from '@sanity/icons/Undo'
import {useState} from 'react'
import type {DocumentActionComponent} from 'sanity'
import type {CrmStatus} from './lead'
import {needsConfirmation, SendAnswers, SendQuestion} from './SendDialog'
import type {Settings} from './options'
import {useLead} from './useLead'

const releaseOf = (props: {version: {_id: string} | null; release?: string}) =>
  props.version ? props.release : undefined

/** "Send to CRM"; by status also "Sending…", "Send again" or "Try again". */
export function sendAction(settings: Settings): DocumentActionComponent {
  const useSendAction: DocumentActionComponent = (props) => {
    const lead = useLead(props.id, props.type, releaseOf(props), settings)
    const [asking, setAsking] = useState<CrmStatus>()
    const {words} = settings
    const {label, disabled} = lead.send
    const {status} = lead.state
    const onClose = () => setAsking(undefined)
    return {
      label: words[label],
      icon: LaunchIcon,
      tone: label === 'tryAgain' ? 'caution' : 'primary',
      disabled: disabled !== undefined,
      title: disabled && words[disabled],
      onHandle: () => (needsConfirmation(lead, settings) ? setAsking(status) : void lead.onSend(status)),
      dialog: asking && {
        type: 'dialog',
        header: words.confirmTitle,
        content: <SendQuestion lead={lead} seen={asking} settings={settings} />,
        footer: <SendAnswers lead={lead} onClose={onClose} seen={asking} settings={settings} />,
        onClose,
      },
    }
  }
  useSendAction.displayName = 'SendToCrm'
  return useSendAction
}

/** "Cancel sending", while the lead is in progress. */
export function withdrawAction(settings: Settings): DocumentActionComponent {
  const useWithdrawAction: DocumentActionComponent = (props) => {
    const {withdraw, onWithdraw} = useLead(props.id, props.type, releaseOf(props), settings)
    if (!withdraw) return null
    const {words} = settings
    return {
      label: words[withdraw.label],
      icon: UndoIcon,
      tone: 'caution',
      disabled: withdraw.disabled !== undefined,
      title: withdraw.disabled && words[withdraw.disabled],
      onHandle: () => void onWithdraw(),
    }
  }
  useWithdrawAction.displayName = 'WithdrawFromCrm'
  return useWithdrawAction
}
