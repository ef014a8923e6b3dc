import {Badge, Card, Checkbox, Text} from '@sanity/ui'
import {useId} from 'react'
import {Preview, useSchema} from 'sanity'
import {IntentLink} from 'sanity/router'
import type {Settings} from '../options'
import {BADGE_TONES, localTime, NAMES} from '../status'
import type {Words} from '../words'
import type {Row} from './query'
import {obstacleOf, type Selection} from './selection'
import type {Granted} from './useGranted'

interface Props {
  rows: Row[]
  granted: Granted
  selected: Selection
  onSelect: (selected: Selection) => void
  settings: Settings
}

const cell = {padding: '0.5rem', textAlign: 'left', verticalAlign: 'middle'} as const

/** A page of leads. Only leads that can be sent now can be selected. */
export function LeadTable({rows, granted, selected, onSelect, settings}: Props) {
  const {words, allowRetry} = settings
  const blocked = (row: Row) => obstacleOf(row, granted.get(row._id), allowRetry)
  const selectable = rows.filter((row) => blocked(row) === undefined)
  const here = selectable.filter(({_id}) => selected.has(_id))
  const select = (chosen: Row[], on: boolean) => {
    const next = new Map(selected)
    for (const {_id, status} of chosen) {
      if (on) next.set(_id, status)
      else next.delete(_id)
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
                onChange={() => select(selectable, !all)}
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
              obstacle={blocked(row)}
              onSelect={(on) => select([row], on)}
              row={row}
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
  obstacle: keyof Words | undefined
  selected: boolean
  onSelect: (on: boolean) => void
  settings: Settings
}

function Line({row, obstacle, selected, onSelect, settings: {words}}: LineProps) {
  const schemaType = useSchema().get(row._type)
  const name = useId()
  return (
    <tr style={{borderTop: '1px solid var(--card-border-color)'}}>
      <td style={cell} title={obstacle && words[obstacle]}>
        <Checkbox
          aria-labelledby={name}
          checked={selected}
          disabled={obstacle !== undefined}
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
