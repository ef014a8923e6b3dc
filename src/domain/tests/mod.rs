//! Tests of the rules that a sync and a worker's judgement keep, each by itself. The stories in `tests/it` show what they
//! are for.

mod alert;
mod decide;
mod exhaustive;
mod failure;
mod lead;
mod lead_link;
mod problem;
mod record;
mod sync;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::lead::{ContactId, FAILED, Lead, LeadId, NOT_SENT, REQUESTED, Revision, SENT};
use super::record::Action;
use super::state::{Delivered, Seen, State};
use super::sync::{Source, SyncId, SyncJob};
use crate::domain::reject_reason::RejectReason;

fn at(seconds: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn contact(id: &str) -> ContactId {
    ContactId::parse(id).unwrap()
}

/// The revision of that second, with this `_rev`.
fn revision(seconds: u64, rev: &str) -> Revision {
    Revision {
        updated_at: at(seconds),
        rev: Some(rev.to_owned()),
    }
}

/// A lead of revision 10 with this status.
fn lead(status: Option<&str>) -> Lead {
    let mut document = json!({ "_id": "lead-1", "_rev": "r10", "_type": "dbrLead", "_updatedAt": at(10).to_string() });
    if let Some(status) = status {
        document["crmStatus"] = status.into();
    }
    Lead::from_document(document.as_object().unwrap()).unwrap()
}

/// A sync that a webhook for this revision has created.
fn sync(requested: Option<Revision>) -> SyncJob {
    let lead = LeadId::parse("lead-1").unwrap();
    SyncJob::create(SyncId(1), lead, Source::Webhook, requested, at(0))
}

fn in_state(state: State) -> SyncJob {
    SyncJob { state, ..sync(None) }
}

fn delivered() -> Delivered {
    Delivered {
        contact: contact("7"),
        action: Action::Insert,
        hash: "hash".to_owned(),
        keys: Vec::new(),
    }
}

fn seen(revision: Option<Revision>) -> Seen {
    Seen { requests: 1, revision }
}

fn upserted() -> State {
    State::Upserted {
        delivered: delivered(),
        seen: seen(Some(revision(10, "r10"))),
        tag_not_before: at(25),
    }
}

fn tagged() -> State {
    State::Tagged {
        delivered: delivered(),
        seen: seen(Some(revision(10, "r10"))),
        synced_at: at(30),
    }
}

fn rejected() -> State {
    State::Rejected {
        reason: RejectReason::NameMissing,
        contact: None,
        seen: seen(Some(revision(10, "r10"))),
    }
}
