/** Everything that editors read, by what it is for. `{…}` stands for what is filled in. */
export const WORDS = {
  // States
  notSent: 'Not sent',
  requested: 'Sending…',
  sent: 'In CRM',
  failed: 'Failed',
  // What can be done
  send: 'Send to CRM',
  sendAgain: 'Send again',
  tryAgain: 'Try again',
  withdraw: 'Withdraw from CRM',
  publishAndSend: 'Publish and send',
  sendPublished: 'Send published version',
  cancel: 'Cancel',
  // Why it cannot be done
  loading: 'Loading…',
  inFlight: 'It is on its way. You can withdraw it until it has arrived.',
  noRetry: 'It was sent already.',
  noRetryFailed: 'It could not be sent, and this Studio does not send a second time.',
  unpublished: 'Publish it first: only what is published can be sent.',
  invalid: 'Correct the errors in the form first.',
  validating: 'The form is being checked…',
  notAllowed: 'You have no permission to change the published lead.',
  notAllowedMany: 'You have no permission to change these leads.',
  inRelease: 'This is the version of a release. Choose the published lead or its draft to send it.',
  // Questions
  confirmTitle: 'Send to CRM?',
  confirm: 'The lead becomes a contact in Bigin, or updates the one it has, and the automation there starts.',
  confirmDraft:
    'There are unpublished edits. Only what is published is sent: send it as it is now, or publish the edits first. The draft stays open if you send what is published.',
  confirmDraftFailed:
    'There are unpublished edits. The published version is the one that failed: publish the edits and send, or send the published version once more.',
  confirmUnpublished: 'This lead isn’t published yet. It will be published, then sent.',
  // Answers
  requestFailed: 'It could not be asked for: {reason}',
  changedMeanwhile: 'Somebody else has just changed the lead. Look at it again.',
  tooLate: 'It had arrived before it could be withdrawn.',
  // Progress
  sending: 'On its way to Bigin. This usually takes about {seconds} seconds.',
  sendingLong: 'On its way to Bigin. It takes longer than usual; the request is kept and nothing needs to be done.',
  notSentText: 'This lead has not been sent to Bigin.',
  sentText: 'Sent {when}.',
  sentBefore: 'Last sent {when}.',
  failedText: 'It could not be sent to Bigin:',
  failedUnknown: 'The reason was not recorded. Ask whoever runs bigin-sync.',
  contactLink: 'Open the contact in Bigin',
  contactId: 'Contact {id}',
  draftNote: 'There are unpublished edits; only what is published is sent.',
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
  progress: '{done} of {n} asked for',
  manyDone: '{n} leads are on their way.',
  manyChanged: '{n} leads have changed since you chose them and were left alone.',
  manyFailed: '{n} leads could not be asked for. The first reason: {reason}',
  nothingHere: 'There are no leads here.',
  page: 'Page {page} of {pages}',
  previous: 'Previous page',
  next: 'Next page',
  listFailed: 'The leads could not be read: {reason}',
} as const satisfies Record<string, string>

/** The words by name; see `labels`. */
export type Words = {[name in keyof typeof WORDS]: string}

/** Puts values into the places of `text`. */
export const fill = (text: string, values: Record<string, string | number>): string =>
  text.replace(/\{(\w+)\}/g, (place, name: string) => String(values[name] ?? place))
