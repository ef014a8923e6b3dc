//! Reads the leads of a step in parts, and keeps for a few seconds at which revision each was.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::Context;
use super::batch::Batch;
use crate::clock::until;
use crate::domain::failure::Remote;
use crate::domain::lead::{Document, LeadId, LeadRead};
use crate::domain::record::{OrgFields, Record};
use crate::domain::reject_reason::RejectReason;
use crate::domain::state::{Event, Seen};
use crate::domain::sync::SyncId;
use crate::sanity::{RawDocument, Read, ReadError};
use crate::store::{Claimed, Detail};

/// What a step keeps of the leads it reads may have so many bytes; what is not read by then waits for the next step.
const MAX_KEPT: usize = 8 * 1024 * 1024;

/// A revision that was read longer ago is read again before it is written on.
const READ_MAX_AGE: Duration = Duration::from_secs(5);

/// Most revisions kept, each with at most [`MAX_DRAFTS_AND_VERSIONS`] ids.
const MAX_REVISIONS: usize = 1_000;

/// A lead with more drafts and versions is read again.
const MAX_DRAFTS_AND_VERSIONS: usize = 20;

/// At which revision a lead was read, and with which drafts and versions.
pub(super) struct LastRead {
    pub(super) rev: String,
    pub(super) drafts_and_versions: Vec<String>,
    at: Timestamp,
}

/// The revisions that were read last, so that a result can be written without another read. In memory only: after a
/// restart, or on another replica, the lead is read.
#[derive(Default)]
pub struct LastReads(Mutex<BTreeMap<SyncId, LastRead>>);

impl LastReads {
    fn table(&self) -> MutexGuard<'_, BTreeMap<SyncId, LastRead>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lead of a sync was read in a call that began at `at`.
    pub(super) fn put(&self, sync: SyncId, rev: &str, drafts_and_versions: &[String], at: Timestamp) {
        let mut table = self.table();
        table.remove(&sync);
        if table.len() >= MAX_REVISIONS {
            table.retain(|_, read| until(read.at, at) <= READ_MAX_AGE);
        }
        if table.len() < MAX_REVISIONS && drafts_and_versions.len() <= MAX_DRAFTS_AND_VERSIONS {
            let (rev, drafts_and_versions) = (rev.to_owned(), drafts_and_versions.to_vec());
            table.insert(
                sync,
                LastRead {
                    rev,
                    drafts_and_versions,
                    at,
                },
            );
        }
    }

    /// The lead is read again before the next write, so that what is known of it would only keep others out.
    pub(super) fn forget(&self, sync: SyncId) {
        self.table().remove(&sync);
    }

    /// Takes out what is known of a sync's lead, where it is fresh. Each read serves one write: after a write that may have
    /// been carried out, the lead is read again.
    pub(super) fn take(&self, sync: SyncId, now: Timestamp) -> Option<LastRead> {
        let read = self.table().remove(&sync)?;
        (until(read.at, now) <= READ_MAX_AGE).then_some(read)
    }
}

impl Context {
    /// The record of a lead, with the lead's id where a field carries it.
    ///
    /// # Errors
    /// Why the lead is rejected.
    pub(super) fn render(
        &self,
        lead: &LeadId,
        document: Document,
        fields: Option<&OrgFields>,
    ) -> Result<Record, RejectReason> {
        let mut record = caught(|| self.mapping.render(document, fields))??;
        let own = self.lead_id_field.as_ref();
        if let Some(field) = own.filter(|own| fields.is_none_or(|fields| fields.writable(own).is_some())) {
            record.set(field, lead.as_str().into());
        }
        Ok(record)
    }
}

/// A panic of one lead's rendering is that lead's, and not that of the others in its batch.
fn caught<R>(render: impl FnOnce() -> R) -> Result<R, RejectReason> {
    catch_unwind(AssertUnwindSafe(render)).map_err(|_| RejectReason::LeadNotRendered)
}

/// Reads the leads of the syncs, in as many parts as there is time for: `visit` judges each with its document. What it
/// returns is kept until the calls that follow, and `bytes_of` says how large that is. Syncs that are not read are
/// settled here.
pub(super) async fn read<T: Send>(
    context: &Context,
    batch: &mut Batch<'_>,
    syncs: Vec<Claimed>,
    bytes_of: impl Fn(&T) -> usize,
    mut visit: impl FnMut(&Claimed, LeadRead, Option<RawDocument<'_>>) -> T + Send,
) -> Vec<(Claimed, Read<T>)> {
    let mut read: Vec<(Claimed, Read<T>)> = Vec::with_capacity(syncs.len());
    let mut rest = syncs;
    let mut kept = 0;
    while !rest.is_empty() {
        let is_first = read.is_empty();
        let may_go_on = is_first || (kept < MAX_KEPT && !is_late(context, batch));
        let deadline = batch.deadline().await.filter(|_| may_go_on);
        let Some(deadline) = deadline else {
            rest.into_iter().for_each(|claimed| batch.release(claimed));
            break;
        };
        let ids: Vec<LeadId> = rest.iter().map(|claimed| claimed.sync.lead.clone()).collect();
        let at = context.clock.now();
        let visit = |id: &LeadId, lead: LeadRead, document: Option<RawDocument<'_>>| {
            let claimed = rest.iter().find(|claimed| claimed.sync.lead == *id)?;
            if let Some(published) = &lead.published {
                context
                    .last_reads
                    .put(claimed.sync.id, &published.rev, &lead.drafts_and_versions, at);
            }
            Some(visit(claimed, lead, document))
        };
        match context.sanity.read_part(&ids, deadline, visit).await {
            Ok(part) => {
                batch.answered(&[Remote::Sanity]);
                let others = rest.split_off(part.len());
                for (claimed, (_, part)) in rest.into_iter().zip(part) {
                    let part = match part {
                        Read::Answered(Some(answered)) => {
                            kept += bytes_of(&answered);
                            Read::Answered(answered)
                        }
                        Read::Answered(None) | Read::Missing => Read::Missing,
                        Read::TooLarge => Read::TooLarge,
                        Read::Denied => Read::Denied,
                    };
                    read.push((claimed, part));
                }
                rest = others;
            }
            Err(ReadError::Busy) => {
                rest.into_iter().for_each(|claimed| batch.release(claimed));
                break;
            }
            Err(ReadError::Failed { ids, error }) => {
                let others = rest.split_off(ids.min(rest.len()));
                others.into_iter().for_each(|claimed| batch.release(claimed));
                batch.call_with_leads_failed(rest, Remote::Sanity, error);
                break;
            }
        }
    }
    read
}

/// Whether another part would take the time that the calls after it need.
fn is_late(context: &Context, batch: &Batch<'_>) -> bool {
    batch.held() > context.lease / 3
}

/// What was made of a lead before its upsert or its tag; one that was not read is settled here.
pub(super) fn take_answered<T>(batch: &mut Batch<'_>, claimed: Claimed, read: Read<T>) -> Option<(Claimed, T)> {
    match read {
        Read::Answered(answered) => return Some((claimed, answered)),
        Read::TooLarge => reject(batch, claimed, RejectReason::LeadTooLarge),
        Read::Denied => reject(batch, claimed, RejectReason::LeadUnreadable),
        Read::Missing => missing(batch, claimed),
    }
    None
}

/// The lead is rejected without having been read.
pub(super) fn reject(batch: &mut Batch<'_>, claimed: Claimed, reason: RejectReason) {
    let detail = Detail {
        code: Some(reason.code().to_owned()),
        ..Detail::default()
    };
    let event = Event::Rejected {
        reason,
        seen: Seen {
            requests: claimed.sync.requests.count,
            revision: None,
        },
    };
    batch.record_event_with(claimed, event, detail);
}

/// An answer that does not say why it lacks the lead is no sign of a deletion.
pub(super) fn missing(batch: &mut Batch<'_>, claimed: Claimed) {
    batch.failed(claimed, "lead_missing", RejectReason::LeadMissing);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_and_named() {
        let none: [u8; 0] = [];
        assert_eq!(caught(|| *none.first().unwrap()), Err(RejectReason::LeadNotRendered));
        assert_eq!(caught(|| 7), Ok(7));
    }

    #[test]
    fn a_revision_is_taken_once_and_while_it_is_fresh() {
        let reads = LastReads::default();
        let at = |seconds| Timestamp::UNIX_EPOCH + Duration::from_secs(seconds);
        reads.put(SyncId(1), "r1", &[], at(0));
        assert_eq!(reads.take(SyncId(1), at(5)).map(|read| read.rev).as_deref(), Some("r1"));
        assert!(reads.take(SyncId(1), at(5)).is_none());
        reads.put(SyncId(1), "r1", &[], at(0));
        assert!(reads.take(SyncId(1), at(6)).is_none());
        reads.put(SyncId(1), "r1", &[], at(6));
        reads.forget(SyncId(1));
        assert!(reads.take(SyncId(1), at(6)).is_none());
    }

    #[test]
    fn no_more_revisions_are_kept_than_there_is_room_for() {
        let reads = LastReads::default();
        let at = |seconds| Timestamp::UNIX_EPOCH + Duration::from_secs(seconds);
        for sync in 0..2_000 {
            reads.put(SyncId(sync), "r", &[], at(0));
        }
        assert_eq!(reads.table().len(), MAX_REVISIONS);
        reads.put(SyncId(3_000), "r", &[], at(9));
        assert_eq!(reads.table().len(), 1, "stale ones make room");
        reads.put(
            SyncId(3_001),
            "r",
            &vec![String::new(); MAX_DRAFTS_AND_VERSIONS + 1],
            at(9),
        );
        assert_eq!(reads.table().len(), 1);
    }
}
