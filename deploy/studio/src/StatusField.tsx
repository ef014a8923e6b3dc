import {Box, Button, Card, Dialog, Flex, Stack, Text} from '@sanity/ui'
import {Tooltip} from '@sanity/ui/tooltip'
import {useEffect, useId, useState} from 'react'
import {useFormValue} from 'sanity'
import {releaseId} from './ids'
import {contactAddress, type CrmStatus} from './lead'
import type {Settings} from './options'
import {estimate, requestedAt, usualSeconds} from './progress'
import {needsConfirmation, SendAnswers, SendQuestion} from './SendDialog'
import {BADGE_TONES, localTime, NAMES} from './status'
import {type Lead, useLead} from './useLead'
import {fill} from './words'

/** The field `crmStatus` in a form: the lead's state, and its action. */
export function statusField(settings: Settings) {
  function StatusField() {
    const document = useFormValue([]) as {_id?: string; _type?: string} | undefined
    // A form without a document has no lead, such as that of an array's item.
    if (!document?._id || !document._type) return null
    return <Panel id={document._id} settings={settings} type={document._type} />
  }
  return StatusField
}

function Panel({id, type, settings}: {id: string; type: string; settings: Settings}) {
  const lead = useLead(id, type, releaseId(id), settings)
  const {words} = settings
  const {status} = lead.state
  const title = useId()
  return (
    <Stack gap={3}>
      <Text as="h3" id={title} size={1} weight="medium">
        {words.toolTitle}
      </Text>
      <Card
        aria-labelledby={title}
        border
        data-crm-status={status}
        padding={4}
        radius={2}
        role="group"
        tone={BADGE_TONES[status]}
      >
        <Flex align="flex-start" gap={3} wrap="wrap">
          <Box flex={1}>
            <Stack aria-live="polite" gap={3}>
              <Text weight="semibold">{words[NAMES[status]]}</Text>
              <Details lead={lead} settings={settings} />
            </Stack>
          </Box>
          <ActionButton lead={lead} settings={settings} />
        </Flex>
      </Card>
    </Stack>
  )
}

function Details({lead, settings}: {lead: Lead; settings: Settings}) {
  const {words} = settings
  const {status, error, contactId, lastSyncedAt} = lead.state
  const address = contactAddress(settings.contactUrl, contactId)
  return (
    <>
      {status === 'NOT_SENT' && !lastSyncedAt && <Text size={1}>{words.notSentText}</Text>}
      {status === 'REQUESTED' && <Waiting settings={settings} updatedAt={lead.published?._updatedAt} />}
      {status === 'FAILED' && (
        <Stack gap={3}>
          <Text size={1}>{words.failedText}</Text>
          <Text style={{overflowWrap: 'anywhere', whiteSpace: 'pre-wrap'}}>{error ?? words.failedUnknown}</Text>
        </Stack>
      )}
      {lastSyncedAt && (
        <Text size={1}>
          <time dateTime={lastSyncedAt}>
            {fill(status === 'SENT' ? words.sentText : words.sentBefore, {when: localTime(lastSyncedAt)})}
          </time>
        </Text>
      )}
      {contactId && (
        <Text size={1}>
          {address ? (
            <a href={address} rel="noreferrer" target="_blank">
              {words.contactLink}
            </a>
          ) : (
            fill(words.contactId, {id: contactId})
          )}
        </Text>
      )}
      {lead.hasDraft && lead.published && status !== 'REQUESTED' && (
        <Text muted size={1}>
          {words.draftNote}
        </Text>
      )}
    </>
  )
}

function Waiting({settings, updatedAt}: {settings: Settings; updatedAt: string | undefined}) {
  const [firstSeen] = useState(() => Date.now())
  const [now, setNow] = useState(firstSeen)
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000)
    return () => clearInterval(timer)
  }, [])
  const {percent, late} = estimate((now - requestedAt(updatedAt, firstSeen)) / 1000, settings.tagDelaySeconds)
  const seconds = usualSeconds(settings.tagDelaySeconds)
  const {words} = settings
  return (
    <Stack gap={3}>
      <Text size={1}>{late ? words.sendingLong : fill(words.sending, {seconds})}</Text>
      <div
        aria-label={words.requested}
        aria-valuemax={100}
        aria-valuemin={0}
        aria-valuenow={percent}
        role="progressbar"
        style={{background: 'var(--card-border-color)', borderRadius: 3, height: 6, overflow: 'hidden'}}
      >
        <div
          style={{
            background: 'var(--card-focus-ring-color)',
            height: '100%',
            transition: 'width 1s linear',
            width: `${percent}%`,
          }}
        />
      </div>
    </Stack>
  )
}

function ActionButton({lead, settings}: {lead: Lead; settings: Settings}) {
  const [asking, setAsking] = useState<CrmStatus>()
  const id = useId()
  const {words} = settings
  const {withdraw, send} = lead
  const {status} = lead.state
  const offer = withdraw ?? send
  const act = () => {
    if (withdraw) void lead.onWithdraw()
    else if (needsConfirmation(lead, settings)) setAsking(status)
    else void lead.onSend(status)
  }
  const reason = offer.disabled && words[offer.disabled]
  return (
    <>
      <Tooltip content={<Text size={1}>{reason}</Text>} disabled={!reason} padding={3} portal>
        <div>
          <Button
            aria-describedby={reason ? `${id}-why` : undefined}
            disabled={reason !== undefined}
            mode={withdraw ? 'ghost' : 'default'}
            onClick={act}
            text={words[offer.label]}
            tone={withdraw ? 'default' : 'primary'}
          />
          <span hidden id={`${id}-why`}>
            {reason}
          </span>
        </div>
      </Tooltip>
      {asking && (
        <Dialog
          footer={
            <Box padding={3}>
              <SendAnswers lead={lead} onClose={() => setAsking(undefined)} seen={asking} settings={settings} />
            </Box>
          }
          header={words.confirmTitle}
          id={`${id}-question`}
          onClose={() => setAsking(undefined)}
          width={1}
        >
          <Box padding={4}>
            <SendQuestion lead={lead} seen={asking} settings={settings} />
          </Box>
        </Dialog>
      )}
    </>
  )
}
