import {Button, Flex, Stack, Text} from '@sanity/ui'
import type {CrmStatus} from './lead'
import {answersToSend, obstacle} from './offer'
import type {Settings} from './options'
import type {Lead} from './useLead'

interface Props {
  lead: Lead
  settings: Settings
  /** The status when the dialog was opened, to which the confirmation applies. */
  seen: CrmStatus
  onClose: () => void
}

/** Whether sending needs a confirmation. */
export const needsConfirmation = (lead: Lead, settings: Settings): boolean => settings.confirm || lead.hasDraft

/** The effect of sending, and the version it applies to. */
export function SendQuestion({lead, settings: {words}, seen}: Omit<Props, 'onClose'>) {
  const draftNote = !lead.published ? 'confirmUnpublished' : seen === 'FAILED' ? 'confirmDraftFailed' : 'confirmDraft'
  const blocked = obstacle(lead.send, lead.state.status, seen)
  return (
    <Stack gap={4}>
      <Text>{words.confirm}</Text>
      {lead.hasDraft && <Text>{words[draftNote]}</Text>}
      {blocked && <Text weight="semibold">{words[blocked]}</Text>}
    </Stack>
  )
}

/** The dialog's buttons. */
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
