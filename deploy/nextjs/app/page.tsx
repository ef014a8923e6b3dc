import {SendToCrm} from '../components/SendToCrm'

/** An example of your own card, which has the lead from Sanity. */
export default function LeadCard() {
  const lead = {_id: 'lead-1', firstName: 'Ada', crmStatus: 'NOT_SENT'} as const
  return (
    <article>
      <h2>{lead.firstName}</h2>
      <SendToCrm lead={lead} />
    </article>
  )
}
