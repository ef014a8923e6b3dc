import {Button, Flex, Stack, Text} from '@sanity/ui'
import type {Settings} from './options'
import type {Lead} from './useLead'

interface Props {
  lead: Lead
  settings: Settings
  onClose: () => void
}

/** Whether an editor is to be asked before the lead is sent. */
export const mustAsk = (lead: Lead, settings: Settings): boolean => settings.confirm || lead.hasDraft

// What may come up while the question is open. That somebody else was quicker does no harm: then there is nothing to do.
const obstacle = ({send: {disabled}}: Lead) =>
  disabled === 'invalid' || disabled === 'notAllowed' ? disabled : undefined

/** What sending will do, and to which version of the lead. */
export function SendQuestion({lead, settings: {words}}: Omit<Props, 'onClose'>) {
  const unpublished = lead.published === null
  const inTheWay = obstacle(lead)
  return (
    <Stack gap={4}>
      <Text>{words.confirm}</Text>
      {lead.hasDraft && <Text>{unpublished ? words.confirmUnpublished : words.confirmDraft}</Text>}
      {inTheWay && <Text weight="semibold">{words[inTheWay]}</Text>}
    </Stack>
  )
}

/** The answers to it. */
export function SendAnswers({lead, settings: {words}, onClose}: Props) {
  const answer = (work: () => Promise<void>) => () => {
    onClose()
    void work()
  }
  const disabled = obstacle(lead) !== undefined
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
          text={lead.hasDraft ? words.sendPublished : words[lead.send.label]}
          tone="primary"
        />
      )}
    </Flex>
  )
}
