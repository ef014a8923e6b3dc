//! Tagged → Sent, Rejected → Failed: writes the result to the lead, on condition that it is still at the revision read.

use serde_json::{Map, Value};

use super::batch::Batch;
use super::failed_call::{FailedCall, MAX_REFUSALS};
use super::read::{LastRead, missing, read};
use super::{Context, Stepped};
use crate::clock::until;
use crate::domain::breaker::Cause;
use crate::domain::decide::{BeforeWriteBack, View, before_write_back};
use crate::domain::failure::{CallError, Remote, ServiceError};
use crate::domain::lead::{FAILED, LeadRead, SENT};
use crate::domain::reject_reason::RejectReason;
use crate::domain::state::{Event, State};
use crate::sanity::{CommitError, Read, WriteBack};
use crate::store::{Claimed, Stage, StoreError};

/// A transaction that loses against others is sent again this often before its leads are put back.
const MAX_CONTENTIONS: usize = 3;

/// A result to be written.
struct Due {
    claimed: Claimed,
    rev: String,
    drafts_and_versions: Vec<String>,
    set: Map<String, Value>,
    unset: &'static [&'static str],
}

pub(super) async fn step(context: &Context) -> Result<Stepped, StoreError> {
    let claimed_at = context.clock.now();
    let (limit, prefer) = context.next_claim(Stage::WriteBack);
    let claim = context.store.claim(Stage::WriteBack, limit, prefer).await?;
    if claim.syncs.is_empty() {
        return Ok(Stepped::Idle(claim.next_due));
    }
    let (mut batch, syncs) = Batch::new(context, Stage::WriteBack, claimed_at, claim);
    let mut due = Vec::with_capacity(syncs.len());
    let mut unread = Vec::new();
    for claimed in syncs {
        let last = context.last_reads.take(claimed.sync.id, context.clock.now());
        match last {
            Some(_) if claimed.sync.requested_since_read() => batch.record_event(claimed, Event::RequestedAgain),
            Some(LastRead {
                rev,
                drafts_and_versions,
                ..
            }) => due.push(Due::new(claimed, rev, drafts_and_versions)),
            None => unread.push(claimed),
        }
    }
    let mut fails = false;
    for (claimed, read) in read(context, &mut batch, unread, |_| 0, |_, lead, _| lead).await {
        match read {
            // Each is a call of its own, which may take its whole deadline.
            Read::TooLarge if fails => batch.release(claimed),
            Read::Answered(read) => judge(&mut batch, &mut due, claimed, &read),
            Read::TooLarge => fails = !outline(context, &mut batch, &mut due, claimed).await,
            // Without its revision nothing can be written.
            Read::Denied => {
                let error = RejectReason::LeadUnreadable;
                batch.failed(claimed, error.code(), error);
            }
            Read::Missing => missing(&mut batch, claimed),
        }
    }
    write(context, &mut batch, due, &mut 0).await;
    batch.finish().await
}

/// Writes the result on the revision read, unless something else follows from it.
fn judge(batch: &mut Batch<'_>, due: &mut Vec<Due>, claimed: Claimed, read: &LeadRead) {
    let view = View {
        sync: &claimed.sync,
        link: &claimed.link,
        read,
    };
    match before_write_back(view) {
        BeforeWriteBack::Event(event) => batch.record_event(claimed, event),
        BeforeWriteBack::Write(lead) => {
            let rev = lead.rev.clone();
            due.push(Due::new(claimed, rev, read.drafts_and_versions.clone()));
        }
    }
}

/// A lead that is too large to be read is told so all the same. Returns whether Sanity has answered.
async fn outline(context: &Context, batch: &mut Batch<'_>, due: &mut Vec<Due>, claimed: Claimed) -> bool {
    let Some(deadline) = batch.deadline().await else {
        batch.release(claimed);
        return false;
    };
    match context.sanity.outline(&claimed.sync.lead, deadline).await {
        Ok(Some(read)) => judge(batch, due, claimed, &read),
        Ok(None) => missing(batch, claimed),
        Err(error) => {
            batch.call_with_leads_failed(vec![claimed], Remote::Sanity, error);
            return false;
        }
    }
    true
}

impl Due {
    fn new(claimed: Claimed, rev: String, drafts_and_versions: Vec<String>) -> Self {
        let (set, unset) = result_of(&claimed);
        Self {
            claimed,
            rev,
            drafts_and_versions,
            set,
            unset,
        }
    }
}

/// The fields of the lead that carry the result: what they are set to, and which are taken away.
fn result_of(claimed: &Claimed) -> (Map<String, Value>, &'static [&'static str]) {
    let state = &claimed.sync.state;
    let mut set = Map::new();
    let mut put = |field: &str, value: String| set.insert(field.to_owned(), Value::String(value));
    // A lead that is refused before its upsert may have a contact from an earlier sync.
    if let Some(contact) = state.contact().or(claimed.link.contact.as_ref()) {
        put("biginContactId", contact.to_string());
    }
    match state {
        State::Tagged { synced_at, .. } => {
            put("crmStatus", SENT.to_owned());
            put("lastSyncedAt", synced_at.to_string());
            (set, &["crmError"])
        }
        State::Rejected { reason, .. } => {
            put("crmStatus", FAILED.to_owned());
            put("crmError", reason.to_string());
            (set, &[])
        }
        // The stage claims no others.
        _ => (Map::new(), &[]),
    }
}

/// Writes all in one transaction, without those whose lead has changed meanwhile: they are read again.
async fn write(context: &Context, batch: &mut Batch<'_>, mut due: Vec<Due>, refusals: &mut usize) {
    let mut contentions = 0;
    while !due.is_empty() {
        let Some(deadline) = batch.deadline().await else {
            return release(batch, due);
        };
        let sent_at = context.clock.now();
        match context.sanity.commit(&writes(&due), deadline).await {
            Ok(()) => {
                batch.answered(&[Remote::Sanity]);
                *refusals = 0;
                batch.call_succeeded(due.len(), until(sent_at, context.clock.now()));
                batch.has_accepted();
                due.into_iter()
                    .for_each(|due| batch.record_event(due.claimed, Event::WrittenBack));
                return;
            }
            Err(CommitError::Conflict(changed)) if !changed.is_empty() => {
                batch.answered(&[Remote::Sanity]);
                let (conflicting, rest): (Vec<_>, Vec<_>) = due
                    .into_iter()
                    .enumerate()
                    .partition(|(index, _)| changed.contains(index));
                // Read again after the pause of a failure: a lead that always conflicts must not keep us busy.
                for (_, due) in conflicting {
                    batch.failed(due.claimed, "conflict", RejectReason::WriteConflict);
                }
                due = rest.into_iter().map(|(_, due)| due).collect();
            }
            Err(CommitError::Conflict(_) | CommitError::Contention) => {
                contentions += 1;
                if contentions >= MAX_CONTENTIONS {
                    for due in due {
                        batch.failed(due.claimed, "contention", RejectReason::WriteContention);
                    }
                    return;
                }
            }
            Err(CommitError::Call(CallError::Rejected { .. })) if due.len() > 1 => {
                // Bisect: write each half by itself.
                let rest = due.split_off(due.len() / 2);
                Box::pin(write(context, batch, due, refusals)).await;
                due = rest;
            }
            Err(CommitError::Forbidden(service_error)) => {
                *refusals += 1;
                match due.len() {
                    // However few leads a call has: it is not one of them.
                    _ if *refusals >= MAX_REFUSALS => {
                        batch.open_breaker(service_error, Cause::Service);
                        batch.end();
                    }
                    1 => return forbidden(batch, due, service_error),
                    _ => {
                        let rest = due.split_off(due.len() / 2);
                        Box::pin(write(context, batch, due, refusals)).await;
                        due = rest;
                    }
                }
            }
            Err(CommitError::Call(error)) => return not_written(batch, due, error),
        }
    }
}

fn writes(due: &[Due]) -> Vec<WriteBack<'_>> {
    due.iter()
        .map(|due| WriteBack {
            lead: &due.claimed.sync.lead,
            rev: &due.rev,
            drafts_and_versions: &due.drafts_and_versions,
            set: &due.set,
            unset: due.unset,
        })
        .collect()
}

/// The token may not write this lead, or none: others that were written tell.
fn forbidden(batch: &mut Batch<'_>, due: Vec<Due>, service_error: ServiceError) {
    for due in due {
        batch.failed_alone(due.claimed, FailedCall::refused(service_error.clone()), false);
    }
}

fn release(batch: &mut Batch<'_>, due: Vec<Due>) {
    due.into_iter().for_each(|due| batch.release(due.claimed));
}

/// After an unclear end the next turn reads the lead again and sees whether the result is there.
fn not_written(batch: &mut Batch<'_>, due: Vec<Due>, error: CallError) {
    match error {
        CallError::Rejected { code, reason } => {
            for due in due {
                batch.failed(due.claimed, &code, reason.clone());
            }
        }
        error => {
            let (is_ambiguous, records) = (matches!(error, CallError::Ambiguous { .. }), due.len());
            let carried = due.into_iter().map(|due| due.claimed).collect();
            let cause = batch.call_with_leads_failed(carried, Remote::Sanity, error);
            if is_ambiguous && cause == Cause::Service {
                batch.shrink(records);
            }
        }
    }
}
