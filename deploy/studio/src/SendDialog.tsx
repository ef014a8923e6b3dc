import {Button, Flex, Stack, Text} from '@sanity/ui'
import type {CrmStatus} from './lead'
import {obstacle, SEND_LABELS} from './offer'
import type {Settings} from './options'
import type {Lead} from './useLead'

interface Props {
  lead: Lead
  settings: Settings
  /** What the lead said when the question was opened: that is what is asked about. */
  seen: CrmStatus
  onClose: () => void
}

/** Whether an editor is to be asked before the lead is sent. */
export const mustAsk = (lead: Lead, settings: Settings): boolean => settings.confirm || lead.hasDraft

/** What sending will do, and to which version of the lead. */
export function SendQuestion({lead, settings: {words}, seen}: Omit<Props, 'onClose'>) {
  const unpublished = lead.published === null
  const inTheWay = obstacle(lead.send, lead.state.status, seen)
  return (
    <Stack gap={4}>
      <Text>{words.confirm}</Text>
      {lead.hasDraft && <Text>{unpublished ? words.confirmUnpublished : words.confirmDraft}</Text>}
      {inTheWay && <Text weight="semibold">{words[inTheWay]}</Text>}
    </Stack>
  )
}

/** The answers to it. */
export function SendAnswers({lead, settings: {words}, seen, onClose}: Props) {
  const answer = (work: Lead['onSend']) => () => {
    onClose()
    void work(seen)
  }
  const disabled = obstacle(lead.send, lead.state.status, seen) !== undefined
  return (
    <Flex gap={2} justify="flex-end" wrap="wrap">
      <Button mode="bleed" onClick={onClose} text={words.cancel} />
      {lead.hasDraft && (
        <Button
          disabled={disabled || lead.validating}
          mode={lead.published ? 'ghost' : 'default'}
          onClick={answer(lead.onPublishAndSend)}
          text={words.publishAndSend}
          tone="primary"
        />
      )}
      {lead.published && (
        <Button
          disabled={disabled}
          onClick={answer(lead.onSend)}
          text={lead.hasDraft ? words.sendPublished : words[SEND_LABELS[seen]]}
          tone="primary"
        />
      )}
    </Flex>
  )
}
