import type {DocumentBadgeComponent} from 'sanity'
import {crmState} from './lead'
import type {Settings} from './options'
import {fill} from './words'

/** In CRM, Sending…, or Failed with the reason as its tooltip; none for a lead that was not requested. */
export function badge({fields, words}: Settings): DocumentBadgeComponent {
  const useBadge: DocumentBadgeComponent = ({published}) => {
    const {status, error, contactId} = crmState(published, fields)
    switch (status) {
      case 'NOT_SENT':
        return null
      case 'REQUESTED':
        return {label: words.requested, color: 'primary', title: words.inFlight}
      case 'SENT':
        return {label: words.sent, color: 'success', title: contactId && fill(words.contactId, {id: contactId})}
      case 'FAILED':
        return {label: words.failed, color: 'danger', title: error ?? words.failedUnknown}
    }
  }
  useBadge.displayName = 'CrmBadge'
  return useBadge
}
