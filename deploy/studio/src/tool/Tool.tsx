import {Box, Button, Card, Container, Dialog, Flex, Heading, Stack, Text} from '@sanity/ui'
import {useToast} from '@sanity/ui/toast'
import {useId, useMemo, useState} from 'react'
import {useClient} from 'sanity'
import {CRM_STATUSES} from '../lead'
import type {Settings} from '../options'
import {API_VERSION, requestAll, type Seen} from '../request'
import {NAMES} from '../status'
import {fill} from '../words'
import {LeadTable} from './LeadTable'
import {failedQuery, type Filter, PAGE_SIZE, totalOf} from './query'
import {type Selection, stillSelected} from './selection'
import {summary} from './summary'
import {useGranted} from './useGranted'
import {useListing} from './useListing'

const NOTHING: Selection = new Map()

/** The tool: lists leads by status, and sends many. */
export function crmTool(settings: Settings) {
  return function CrmTool() {
    return <Leads settings={settings} />
  }
}

function Leads({settings}: {settings: Settings}) {
  const client = useClient({apiVersion: API_VERSION})
  const [filter, setFilter] = useState<Filter>('ALL')
  const [wanted, setPage] = useState(0)
  const [selected, setSelected] = useState(NOTHING)
  const {listing, error} = useListing(client, settings, filter, wanted, selected)
  const {words} = settings
  const total = listing ? totalOf(listing.counts, filter) : 0
  const pages = Math.max(1, Math.ceil(total / PAGE_SIZE))
  // The last page may not exist any more, after leads got another status.
  const page = Math.min(wanted, pages - 1)
  if (listing && page !== wanted) setPage(page)
  // A lead whose status changed is not selected any more.
  const still = listing ? stillSelected(selected, [...listing.rows, ...listing.selected]) : selected
  if (still !== selected) setSelected(still)

  // One failed lead represents those on other pages.
  const known = useMemo(
    () => [...(listing?.rows.map(({document}) => document) ?? []), ...(listing?.oneFailed ? [listing.oneFailed] : [])],
    [listing],
  )
  const granted = useGranted(known)
  const forbidden = known.length > 0 && known.every(({_id}) => granted.get(_id) === false)

  const choose = (next: Filter) => {
    setFilter(next)
    setPage(0)
    setSelected(NOTHING)
  }

  return (
    <Box data-crm-tool height="fill" overflow="auto" padding={4}>
      <Container width={3}>
        <Stack gap={4}>
          <Heading as="h1">{words.toolTitle}</Heading>
          <Flex gap={2} wrap="wrap">
            {(['ALL', ...CRM_STATUSES] as const).map((one) => (
              <Button
                aria-pressed={one === filter}
                key={one}
                mode={one === filter ? 'default' : 'ghost'}
                onClick={() => choose(one)}
                text={`${one === 'ALL' ? words.all : words[NAMES[one]]} ${listing ? totalOf(listing.counts, one) : ''}`}
              />
            ))}
          </Flex>
          {error && (
            <Card padding={3} radius={2} role="alert" tone="critical">
              <Text>{fill(words.listFailed, {reason: error})}</Text>
            </Card>
          )}
          <Sending
            client={client}
            failed={listing?.counts.FAILED ?? 0}
            forbidden={forbidden}
            onDone={() => setSelected(NOTHING)}
            selected={selected}
            settings={settings}
          />
          {listing && (
            <LeadTable
              granted={granted}
              onSelect={setSelected}
              rows={listing.rows}
              selected={selected}
              settings={settings}
            />
          )}
          {pages > 1 && (
            <Flex align="center" as="nav" gap={3} justify="center">
              <Button disabled={page === 0} mode="ghost" onClick={() => setPage(page - 1)} text={words.previous} />
              <Text size={1}>{fill(words.page, {page: page + 1, pages})}</Text>
              <Button disabled={page + 1 >= pages} mode="ghost" onClick={() => setPage(page + 1)} text={words.next} />
            </Flex>
          )}
        </Stack>
      </Container>
    </Box>
  )
}

interface SendingProps {
  client: ReturnType<typeof useClient>
  settings: Settings
  selected: Selection
  failed: number
  /** Whether the user may change none of the loaded leads, so that none can be selected. */
  forbidden: boolean
  onDone: () => void
}

function Sending({client, settings, selected, failed, forbidden, onDone}: SendingProps) {
  const [asking, setAsking] = useState<Seen[]>()
  const [progress, setProgress] = useState<{done: number; n: number}>()
  const toast = useToast()
  const dialogId = useId()
  const {words, fields, types} = settings
  const busy = progress !== undefined

  const showError = (error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error)
    toast.push({status: 'error', title: fill(words.requestFailed, {reason})})
  }
  const askForFailed = () => {
    const options = {perspective: 'published', tag: 'bigin-sync.failed'} as const
    client
      .fetch<string[]>(failedQuery(fields), {types}, options)
      .then((ids) => setAsking(ids.map((id) => ({id, status: 'FAILED'}))), showError)
  }
  const send = async (leads: Seen[]) => {
    setAsking(undefined)
    const n = leads.length
    setProgress({done: 0, n})
    try {
      const tally = await requestAll(client, leads, fields, (done) => setProgress({done, n}))
      for (const one of summary(tally, words)) toast.push(one)
      onDone()
    } catch (error) {
      showError(error)
    } finally {
      setProgress(undefined)
    }
  }

  const chosen = useMemo(() => [...selected].map(([id, status]): Seen => ({id, status})), [selected])
  const why = forbidden ? `${dialogId}-why` : undefined
  return (
    <Flex align="center" gap={3} wrap="wrap">
      <Button
        aria-describedby={why}
        disabled={busy || chosen.length === 0}
        onClick={() => setAsking(chosen)}
        text={words.sendSelected}
        tone="primary"
      />
      {settings.allowRetry && (
        <Button
          aria-describedby={why}
          disabled={forbidden || busy || failed === 0}
          mode="ghost"
          onClick={askForFailed}
          text={words.retryAll}
          tone="caution"
        />
      )}
      {forbidden && (
        <Text id={why} muted size={1}>
          {words.notAllowedMany}
        </Text>
      )}
      <Text aria-live="polite" muted size={1}>
        {progress ? fill(words.progress, progress) : chosen.length > 0 ? fill(words.selected, {n: chosen.length}) : ''}
      </Text>
      {asking && (
        <Dialog
          footer={
            <Flex gap={2} justify="flex-end" padding={3}>
              <Button mode="bleed" onClick={() => setAsking(undefined)} text={words.cancel} />
              <Button onClick={() => void send(asking)} text={words.send} tone="primary" />
            </Flex>
          }
          header={fill(words.confirmMany, {n: asking.length})}
          id={dialogId}
          onClose={() => setAsking(undefined)}
          width={1}
        >
          <Box padding={4}>
            <Text>{words.confirmManyText}</Text>
          </Box>
        </Dialog>
      )}
    </Flex>
  )
}
