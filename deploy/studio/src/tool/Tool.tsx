import {Box, Button, Card, Container, Dialog, Flex, Heading, Stack, Text} from '@sanity/ui'
import {useToast} from '@sanity/ui/toast'
import {useId, useMemo, useState} from 'react'
import {useClient} from 'sanity'
import {CRM_STATUSES} from '../lead'
import type {Settings} from '../options'
import {API_VERSION, requestAll} from '../request'
import {NAMES} from '../status'
import {fill} from '../words'
import {LeadTable} from './LeadTable'
import {failedQuery, type Filter, PAGE_SIZE, totalOf} from './query'
import {useListing} from './useListing'

/** The tool: leads by status, and the way to send many. */
export function crmTool(settings: Settings) {
  return function CrmTool() {
    return <Leads settings={settings} />
  }
}

function Leads({settings}: {settings: Settings}) {
  const client = useClient({apiVersion: API_VERSION})
  const [filter, setFilter] = useState<Filter>('ALL')
  const [wanted, setPage] = useState(0)
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set())
  const {listing, error} = useListing(client, settings, filter, wanted)
  const {words} = settings
  const total = listing ? totalOf(listing.counts, filter) : 0
  const pages = Math.max(1, Math.ceil(total / PAGE_SIZE))
  // Where leads went to another status the last page may be gone.
  const page = Math.min(wanted, pages - 1)
  if (listing && page !== wanted) setPage(page)

  const choose = (next: Filter) => {
    setFilter(next)
    setPage(0)
    setSelected(new Set())
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
            onDone={() => setSelected(new Set())}
            selected={selected}
            settings={settings}
          />
          {listing && <LeadTable onSelect={setSelected} rows={listing.rows} selected={selected} settings={settings} />}
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
  selected: ReadonlySet<string>
  failed: number
  onDone: () => void
}

function Sending({client, settings, selected, failed, onDone}: SendingProps) {
  const [asking, setAsking] = useState<string[]>()
  const [progress, setProgress] = useState<{done: number; n: number}>()
  const toast = useToast()
  const dialogId = useId()
  const {words, fields, types} = settings
  const busy = progress !== undefined

  const complain = (error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error)
    toast.push({status: 'error', title: fill(words.requestFailed, {reason})})
  }
  const askForFailed = () => {
    const options = {perspective: 'published', tag: 'bigin-sync.failed'} as const
    client.fetch<string[]>(failedQuery(fields), {types}, options).then(setAsking, complain)
  }
  const send = async (ids: string[]) => {
    setAsking(undefined)
    setProgress({done: 0, n: ids.length})
    try {
      const missed = await requestAll(client, ids, fields, (done) => setProgress({done, n: ids.length}))
      const done = ids.length - missed.length
      if (done > 0) toast.push({status: 'success', title: fill(words.manyDone, {n: done})})
      if (missed.length > 0) toast.push({status: 'error', title: fill(words.manyFailed, {n: missed.length})})
      onDone()
    } catch (error) {
      complain(error)
    } finally {
      setProgress(undefined)
    }
  }

  const chosen = useMemo(() => [...selected], [selected])
  return (
    <Flex align="center" gap={3} wrap="wrap">
      <Button
        disabled={busy || chosen.length === 0}
        onClick={() => setAsking(chosen)}
        text={words.sendSelected}
        tone="primary"
      />
      {settings.allowRetry && (
        <Button
          disabled={busy || failed === 0}
          mode="ghost"
          onClick={askForFailed}
          text={words.retryAll}
          tone="caution"
        />
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
