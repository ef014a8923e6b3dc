/** All texts for editors, by name. `{…}` is replaced by a value. */
export const WORDS = {
  // States
  notSent: 'Not sent',
  requested: 'Sending…',
  sent: 'In CRM',
  failed: 'Failed',
  // Actions
  send: 'Send to CRM',
  sendAgain: 'Send again',
  tryAgain: 'Try again',
  withdraw: 'Cancel sending',
  publishAndSend: 'Publish and send',
  sendPublished: 'Send published version',
  cancel: 'Cancel',
  // Why an action is disabled
  loading: 'Loading…',
  inFlight: 'Sending is in progress. You can cancel it until the lead has been sent.',
  noRetry: 'This lead was already sent.',
  noRetryFailed: 'Sending failed, and this Studio does not send a lead twice.',
  unpublished: 'Publish the lead first: only published leads can be sent.',
  invalid: 'Correct the errors in the form first.',
  validating: 'Checking the form…',
  notAllowed: 'You have no permission to change the published lead.',
  notAllowedMany: 'You have no permission to change these leads.',
  inRelease: 'This is a version in a release. Open the published lead or its draft to send it.',
  // Questions
  confirmTitle: 'Send to CRM?',
  confirm: 'This creates or updates the contact in Bigin and starts the automation there.',
  confirmDraft:
    'There are unpublished edits. Send the published version, or publish the edits first? The draft stays open if you send the published version.',
  confirmDraftFailed:
    'There are unpublished edits. The published version is the one that failed: publish the edits and send, or send the published version again.',
  confirmUnpublished: 'This lead isn’t published yet. It will be published, then sent.',
  // Answers
  requestFailed: 'Could not send: {reason}',
  changedMeanwhile: 'The lead was just changed. Please review it.',
  tooLate: 'Too late to cancel: it has already been sent.',
  // Progress
  sending: 'Sending to Bigin. This usually takes about {seconds} seconds.',
  sendingLong:
    'Sending to Bigin. It is taking longer than usual. The request is stored, and you don’t need to do anything.',
  notSentText: 'This lead has not been sent to Bigin.',
  sentText: 'Sent {when}.',
  sentBefore: 'Last sent {when}.',
  failedText: 'Sending to Bigin failed:',
  failedUnknown: 'No reason was recorded. Ask the operator of bigin-sync.',
  contactLink: 'Open the contact in Bigin',
  contactId: 'Contact {id}',
  draftNote: 'There are unpublished edits. Only the published version is sent.',
  // The tool
  toolTitle: 'CRM',
  all: 'All',
  leads: 'Leads',
  lastSent: 'Last sent',
  selected: '{n} selected',
  selectPage: 'Select all on this page',
  sendSelected: 'Send selected',
  retryAll: 'Retry all failed',
  confirmMany: 'Send {n} leads to CRM?',
  confirmManyText:
    'The published version of each lead is sent, without unpublished edits. Leads already in progress or changed meanwhile are skipped.',
  progress: '{done} of {n} queued',
  manyDone: 'Leads queued: {n}',
  manyChanged: 'Leads skipped because they changed meanwhile: {n}',
  manyFailed: 'Leads that could not be sent: {n}. First reason: {reason}',
  nothingHere: 'No leads.',
  page: 'Page {page} of {pages}',
  previous: 'Previous page',
  next: 'Next page',
  listFailed: 'Could not load the leads: {reason}',
} as const satisfies Record<string, string>

/** The texts by name; see `labels`. */
export type Words = {[name in keyof typeof WORDS]: string}

/** Replaces the placeholders of `text` by values. */
export const fill = (text: string, values: Record<string, string | number>): string =>
  text.replace(/\{(\w+)\}/g, (place, name: string) => String(values[name] ?? place))
