//! Upserted → Tagged: reads the lead once more, and adds the tags to the contacts whose leads are as they were upserted.
//!
//! # Properties
//!
//! - A tag is not added before `TAG_DELAY` has passed since the latest upsert of the contact, also by another lead, another
//!   replica, or a process that died meanwhile.
//! - At the time of the tag, the contact has the data of a revision of the lead that is no older than its newest request.
//!
//! # Design
//!
//! - The delay is a time in the table, `tag_not_before`, set with the outcome of the upsert, by the store's clock. It is
//!   counted from the answer, since it is not known when before that the upsert was applied.
//! - An upsert moves the tags of all syncs that may share its contact: by contact id where it is known, else by the keyed hashes
//!   of the unique fields. An ambiguous upsert does so too ([`StepReport::possibly_changed`]).
//! - Where the outcome of an upsert is lost (a store failure, a death of the process), all waiting tags are moved.
//! - One lock, [`Context::contacts`], covers the steps of upsert and tag, so that no tag is in flight while an upsert may move
//!   its time. Between replicas their turns do the same (`src/store/turns.rs`).
//! - The lead is read again before the tag: changed data goes back to the upsert, a withdrawn lead gets no tag.
//!
//! # Why
//!
//! The tag starts Bigin's automation, once, and that reads the contact then. A timer in the process would be lost with it. A
//! time per sync would not do: two leads with the same email have one contact, and the tag of the first would start the
//! automation in the middle of the upsert of the second.

use std::time::Duration;

use jiff::Timestamp;

use super::batch::Batch;
use super::bisect::{BatchItem, ItemOutcome, send};
use super::org_fields::read_org_fields;
use super::read::{read, take_answered};
use super::{Context, Stepped};
use crate::bigin::Results;
use crate::domain::decide::{BeforeTag, View, before_tag, is_as_upserted, seen_again, stale_upsert, still_upserted};
use crate::domain::failure::{CallError, Remote};
use crate::domain::lead::{ContactId, LeadId, LeadRead};
use crate::domain::record::OrgFields;
use crate::domain::reject_reason::RejectReason;
use crate::domain::state::{Event, Seen};
use crate::sanity::{RawDocument, ReadError};
use crate::store::{Claimed, Detail, Stage, StepReport, StoreError};

/// A contact to be tagged.
struct Due {
    claimed: Claimed,
    contact: ContactId,
    seen: Seen,
    /// The lead has been edited since, more often than the tag waits for.
    edited: bool,
}

pub(super) async fn step(context: &Context) -> Result<Stepped, StoreError> {
    let mut contacts = context.contacts.lock().await;
    if contacts.has_unrecorded_upsert {
        let report = StepReport {
            ambiguous_upsert: true,
            ..StepReport::default()
        };
        context.store.record(Vec::new(), report).await?;
        contacts.has_unrecorded_upsert = false;
    }
    let claimed_at = context.clock.now();
    let (limit, prefer) = context.next_claim(Stage::Tag);
    let claim = context.store.claim(Stage::Tag, limit, prefer).await?;
    if claim.syncs.is_empty() {
        return Ok(Stepped::Idle(claim.next_due));
    }
    let (mut batch, syncs) = Batch::new(context, Stage::Tag, claimed_at, claim);
    let (syncs, fields) = read_org_fields(context, &mut batch, syncs).await;
    let (mut due, changed) = unchanged(context, &mut batch, syncs).await;
    let judged = read(
        context,
        &mut batch,
        changed,
        |_| 0,
        |claimed, lead, document| judge(context, claimed, &lead, document, fields.as_deref()),
    );
    for (claimed, read) in judged.await {
        let Some((claimed, judged)) = take_answered(&mut batch, claimed, read) else {
            continue;
        };
        match judged {
            Ok((contact, seen, edited)) => due.push(Due {
                claimed,
                contact,
                seen,
                edited,
            }),
            Err(event) => batch.record_event(claimed, event),
        }
    }
    tag(context, &mut batch, due).await?;
    batch.finish().await
}

/// Tells the leads that are still at the revision that was upserted from those that have to be read, by their revisions
/// alone where Sanity gives these. Where the call fails, all syncs are settled here.
async fn unchanged(context: &Context, batch: &mut Batch<'_>, syncs: Vec<Claimed>) -> (Vec<Due>, Vec<Claimed>) {
    let Some(deadline) = batch.deadline().await else {
        syncs.into_iter().for_each(|claimed| batch.release(claimed));
        return (Vec::new(), Vec::new());
    };
    let ids: Vec<LeadId> = syncs.iter().map(|claimed| claimed.sync.lead.clone()).collect();
    let at = context.clock.now();
    let revisions = match context.sanity.revisions(&ids, deadline).await {
        Ok(Some(revisions)) => revisions,
        Ok(None) => return (Vec::new(), syncs),
        Err(ReadError::Busy) => {
            syncs.into_iter().for_each(|claimed| batch.release(claimed));
            return (Vec::new(), Vec::new());
        }
        Err(ReadError::Failed { error, .. }) => {
            batch.call_with_leads_failed(syncs, Remote::Sanity, error);
            return (Vec::new(), Vec::new());
        }
    };
    batch.answered(&[Remote::Sanity]);
    let (mut due, mut changed) = (Vec::new(), Vec::new());
    for claimed in syncs {
        let sync = &claimed.sync;
        let revision = revisions.get(&sync.lead);
        let seen = revision.and_then(|revision| seen_again(sync, &revision.rev));
        match (revision, seen, sync.state.contact()) {
            (Some(revision), Some(seen), Some(contact)) => {
                context
                    .last_reads
                    .put(sync.id, &revision.rev, &revision.drafts_and_versions, at);
                due.push(Due {
                    contact: contact.clone(),
                    claimed,
                    seen,
                    edited: false,
                });
            }
            _ => changed.push(claimed),
        }
    }
    (due, changed)
}

/// The contact to tag, what the read saw and whether the lead has been edited; or what happens instead.
fn judge(
    context: &Context,
    claimed: &Claimed,
    read: &LeadRead,
    document: Option<RawDocument<'_>>,
    fields: Option<&OrgFields>,
) -> Result<(ContactId, Seen, bool), Event> {
    let view = View {
        sync: &claimed.sync,
        link: &claimed.link,
        read,
    };
    let lead = match before_tag(view) {
        BeforeTag::Tag(lead) => lead,
        BeforeTag::Event(event) => return Err(event),
    };
    let hash = match still_upserted(&claimed.sync, lead) {
        Some(hash) => hash.to_owned(),
        // A lead that no longer renders is a changed lead: the upsert worker says what is wrong with it.
        None => document
            .and_then(|document| document.parse())
            .and_then(|document| context.render(&lead.id, document, fields).ok())
            .map(|record| context.hasher.hash(&record))
            .unwrap_or_default(),
    };
    if stale_upsert(&claimed.sync, &hash) {
        return Err(Event::Changed);
    }
    let contact = claimed.sync.state.contact().cloned().ok_or(Event::ContactGone)?;
    let edited = !is_as_upserted(&claimed.sync, &hash);
    Ok((contact, claimed.sync.seen(lead, &claimed.link), edited))
}

impl BatchItem for Due {
    type Answer = ();

    fn claimed(&self) -> &Claimed {
        &self.claimed
    }

    /// Adding a tag twice does no harm.
    fn mark_possibly_applied(&self, _: &mut Batch<'_>) {}

    async fn call(context: &Context, part: &[Self], deadline: Duration) -> Result<Results<()>, CallError> {
        let contacts: Vec<ContactId> = part.iter().map(|due| due.contact.clone()).collect();
        context.bigin.add_tags(&contacts, deadline).await
    }
}

async fn tag(context: &Context, batch: &mut Batch<'_>, due: Vec<Due>) -> Result<(), StoreError> {
    if due.is_empty() {
        return Ok(());
    }
    let sent = send(context, batch, due).await;
    let now = context.store.now().await?;
    // Milliseconds, as JavaScript writes times.
    let synced_at = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
    for (due, sent) in sent {
        record_outcome(batch, due, sent, synced_at);
    }
    Ok(())
}

fn record_outcome(batch: &mut Batch<'_>, due: Due, sent: ItemOutcome<()>, synced_at: Timestamp) {
    let Due {
        claimed, seen, edited, ..
    } = due;
    match sent {
        ItemOutcome::Answered(Ok(())) => {
            let detail = Detail {
                edits_not_carried: edited.then_some(true),
                ..Detail::default()
            };
            batch.record_event_with(claimed, Event::Tagged { seen, synced_at }, detail);
        }
        ItemOutcome::Answered(Err(error)) => {
            batch.not_accepted(claimed, error, seen, |service_code| RejectReason::TagNotAdded {
                service_code,
            });
        }
        // The lead itself is in Bigin, so the tag is tried for as long as anything is, also where it is refused.
        ItemOutcome::Alone(failed_call) => batch.failed_alone(claimed, failed_call, false),
        ItemOutcome::Ambiguous { code, bisect_limit } => batch.ambiguous(claimed, &code, bisect_limit, false),
        ItemOutcome::NotSent => batch.release(claimed),
    }
}
