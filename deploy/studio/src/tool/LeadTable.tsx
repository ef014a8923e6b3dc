import {Badge, Card, Checkbox, Text} from '@sanity/ui'
import {useId} from 'react'
import {Preview, useSchema} from 'sanity'
import {IntentLink} from 'sanity/router'
import type {Settings} from '../options'
import {BADGE_TONES, localTime, NAMES} from '../status'
import type {Row} from './query'

interface Props {
  rows: Row[]
  selected: ReadonlySet<string>
  onSelect: (selected: ReadonlySet<string>) => void
  settings: Settings
}

const cell = {padding: '0.5rem', textAlign: 'left', verticalAlign: 'middle'} as const

/** A page of leads. What is on its way cannot be selected, nor what may not be sent again. */
export function LeadTable({rows, selected, onSelect, settings}: Props) {
  const {words, allowRetry} = settings
  const selectable = rows.filter(({status}) => (allowRetry ? status !== 'REQUESTED' : status === 'NOT_SENT'))
  const here = selectable.filter(({_id}) => selected.has(_id))
  const select = (ids: string[], on: boolean) => {
    const next = new Set(selected)
    for (const id of ids) {
      if (on) next.add(id)
      else next.delete(id)
    }
    onSelect(next)
  }
  if (rows.length === 0) {
    return (
      <Card padding={4} radius={2} tone="transparent">
        <Text muted>{words.nothingHere}</Text>
      </Card>
    )
  }
  const all = here.length === selectable.length && selectable.length > 0
  return (
    <Card border overflow="auto" radius={2}>
      <table style={{borderCollapse: 'collapse', width: '100%'}}>
        <thead>
          <tr>
            <th style={{...cell, width: '2rem'}}>
              <Checkbox
                aria-label={words.selectPage}
                checked={all}
                disabled={selectable.length === 0}
                indeterminate={here.length > 0 && !all}
                onChange={() =>
                  select(
                    selectable.map(({_id}) => _id),
                    !all,
                  )
                }
              />
            </th>
            {[words.leads, words.toolTitle, words.lastSent].map((name) => (
              <th key={name} scope="col" style={cell}>
                <Text muted size={1}>
                  {name}
                </Text>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <Line
              key={row._id}
              onSelect={(on) => select([row._id], on)}
              row={row}
              selectable={selectable.includes(row)}
              selected={selected.has(row._id)}
              settings={settings}
            />
          ))}
        </tbody>
      </table>
    </Card>
  )
}

interface LineProps {
  row: Row
  selectable: boolean
  selected: boolean
  onSelect: (on: boolean) => void
  settings: Settings
}

function Line({row, selectable, selected, onSelect, settings: {words}}: LineProps) {
  const schemaType = useSchema().get(row._type)
  const name = useId()
  return (
    <tr style={{borderTop: '1px solid var(--card-border-color)'}}>
      <td style={cell}>
        <Checkbox
          aria-labelledby={name}
          checked={selected}
          disabled={!selectable}
          onChange={(event) => onSelect(event.currentTarget.checked)}
        />
      </td>
      <td id={name} style={cell}>
        <IntentLink
          intent="edit"
          params={{id: row._id, type: row._type}}
          style={{color: 'inherit', textDecoration: 'none'}}
        >
          {schemaType ? (
            <Preview
              layout="default"
              perspectiveStack={['published']}
              schemaType={schemaType}
              value={{_id: row._id, _type: row._type}}
            />
          ) : (
            row._id
          )}
        </IntentLink>
      </td>
      <td style={cell}>
        <Badge tone={BADGE_TONES[row.status]}>{words[NAMES[row.status]]}</Badge>
        {row.status === 'FAILED' && (
          <Text size={1} style={{marginTop: '0.5rem', overflowWrap: 'anywhere'}}>
            {row.error ?? words.failedUnknown}
          </Text>
        )}
      </td>
      <td style={cell}>
        {row.lastSyncedAt && (
          <Text size={1}>
            <time dateTime={row.lastSyncedAt}>{localTime(row.lastSyncedAt)}</time>
          </Text>
        )}
      </td>
    </tr>
  )
}
