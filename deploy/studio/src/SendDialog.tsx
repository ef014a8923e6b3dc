import {Button, Flex, Stack, Text} from '@sanity/ui'
import type {CrmStatus} from './lead'
import {answersToSend, obstacle} from './offer'
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
  const draftNote = !lead.published ? 'confirmUnpublished' : seen === 'FAILED' ? 'confirmDraftFailed' : 'confirmDraft'
  const inTheWay = obstacle(lead.send, lead.state.status, seen)
  return (
    <Stack gap={4}>
      <Text>{words.confirm}</Text>
      {lead.hasDraft && <Text>{words[draftNote]}</Text>}
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
  const answers = answersToSend({isPublished: lead.published !== null, hasDraft: lead.hasDraft}, seen)
  const disabled = obstacle(lead.send, lead.state.status, seen) !== undefined
  return (
    <Flex gap={2} justify="flex-end" wrap="wrap">
      <Button mode="bleed" onClick={onClose} text={words.cancel} />
      {answers.map((name, index) => {
        const publishes = name === 'publishAndSend'
        return (
          <Button
            disabled={disabled || (publishes && lead.validating)}
            key={name}
            mode={index === answers.length - 1 ? 'default' : 'ghost'}
            onClick={answer(publishes ? lead.onPublishAndSend : lead.onSend)}
            text={words[name]}
            tone="primary"
          />
        )
      })}
    </Flex>
  )
}
