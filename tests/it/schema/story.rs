//! What the databases of the tests hold: a sync in each state, and what else the tables are for. The real store writes all of
//! it, as the workers would have it.

use std::sync::Arc;
use std::time::Duration;

use bigin_sync::clock::{Clock, ManualClock};
use bigin_sync::database::Database;
use bigin_sync::domain::breaker::Cause;
use bigin_sync::domain::failure::{Remote, ServiceError, ServiceErrorKind};
use bigin_sync::domain::lead::{ContactId, LeadId, Revision};
use bigin_sync::domain::record::Action;
use bigin_sync::domain::reject_reason::RejectReason;
use bigin_sync::domain::retry::RetryPolicy;
use bigin_sync::domain::state::{Delivered, Event, Seen};
use bigin_sync::domain::sync::{Failure, Source, SyncId};
use bigin_sync::store::{
    Accepted, CancelResult, Claimed, Delivery, Detail, DismissResult, Effect, Outcome, Prefer, Stage, StepReport,
    Store, StoreSettings,
};

use crate::cluster;
use crate::world::secs;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A store on a clock that stands still.
pub struct Carried {
    pub clock: Arc<ManualClock>,
    pub store: Store,
}

impl Carried {
    /// Opens a database at this time.
    pub fn open(database: &Database, at: &str) -> Self {
        let clock = Arc::new(ManualClock::new(at.parse().unwrap()));
        let retry = RetryPolicy {
            base_delay: secs(1),
            max_delay: secs(8),
            give_up_after: DAY,
        };
        let settings = StoreSettings {
            lease: secs(60),
            tag_delay: secs(15),
            ambiguity_delay: secs(120),
            retry,
        };
        let store = cluster::open(database, clock.clone(), settings);
        Self { clock, store }
    }

    /// Claims what is due of a stage and records what `effect` says of each; where it says nothing, the sync is released.
    /// How many were claimed.
    pub async fn step(&self, stage: Stage, effect: impl Fn(&Claimed) -> Option<Effect>) -> usize {
        let claim = self.store.claim(stage, 100, Prefer::Fresh).await.unwrap();
        let outcomes = claim.syncs.iter().map(|claimed| Outcome {
            claimed: claimed.clone(),
            effect: effect(claimed).unwrap_or(Effect::Released),
            detail: Detail {
                ms: Some(100),
                ..Detail::default()
            },
        });
        let report = StepReport {
            answered: claim
                .breakers
                .values()
                .map(|breaker| (breaker.remote, breaker.epoch))
                .collect(),
            credits: 1,
            ..StepReport::default()
        };
        self.store.record(outcomes.collect(), report).await.unwrap();
        claim.syncs.len()
    }

    /// An upsert that Bigin has accepted.
    pub fn upserted(&self, claimed: &Claimed, action: Action, tag_delay: Duration) -> Effect {
        Effect::Event(Event::Upserted {
            delivered: delivered(claimed, action),
            seen: self.seen(claimed),
            tag_not_before: self.clock.now() + tag_delay,
        })
    }

    /// A tag that Bigin has added.
    pub fn tagged(&self, claimed: &Claimed) -> Effect {
        Effect::Event(Event::Tagged {
            seen: self.seen(claimed),
            synced_at: self.clock.now(),
        })
    }

    fn seen(&self, claimed: &Claimed) -> Seen {
        Seen {
            requests: claimed.sync.requests.count,
            revision: self.revision("read"),
        }
    }

    fn revision(&self, rev: &str) -> Option<Revision> {
        Some(Revision {
            updated_at: self.clock.now(),
            rev: Some(rev.to_owned()),
        })
    }

    async fn accept(&self, lead: &str, rev: &str) -> Accepted {
        let delivery = Delivery {
            key: None,
            lead: lead_id(lead),
            rev: Some(rev.to_owned()),
            updated_at: Some(self.clock.now()),
        };
        self.store.accept(delivery).await.unwrap()
    }
}

pub fn lead_id(lead: &str) -> LeadId {
    LeadId::parse(lead).unwrap()
}

fn delivered(claimed: &Claimed, action: Action) -> Delivered {
    let lead = claimed.sync.lead.as_str();
    let number: u64 = lead
        .bytes()
        .fold(7, |number, byte| (number * 31 + u64::from(byte)) % 1_000_000);
    Delivered {
        contact: ContactId::parse(&format!("76180000000{number:06}")).unwrap(),
        action,
        hash: format!("hash-{lead}"),
        keys: vec![format!("email-{lead}"), format!("mobile-{lead}")],
    }
}

fn failure(error: RejectReason) -> Failure {
    Failure {
        error,
        retry_after: None,
        jitter: 0.5,
        ambiguous_insert: false,
        isolates: false,
    }
}

fn busy() -> Failure {
    failure(RejectReason::NotAccepted {
        service_code: "RECORD_LOCKED".into(),
    })
}

/// The leads of the first batch, named for what becomes of them.
const FIRST: [&str; 19] = [
    "sent",
    "updated",
    "twice",
    "upserted",
    "tagged",
    "restored",
    "rejected",
    "failed",
    "dismissed",
    "deleted",
    "withdrawn",
    "changed",
    "gone",
    "again",
    "attempted",
    "alone",
    "suspect-1",
    "suspect-2",
    "ambiguous",
];

/// Fills an empty database.
pub async fn fill(database: &Database, at: &str) -> Carried {
    let carried = Carried::open(database, at);
    forgotten(&carried).await;
    for lead in FIRST {
        assert!(matches!(carried.accept(lead, "r1").await, Accepted::Created(_)));
        carried.clock.advance(Duration::from_millis(1));
    }
    first_stages(&carried).await;
    operators_and_late_requests(&carried).await;
    claims_and_services(&carried).await;
    carried
}

/// A lead of which only the table `lead` still knows.
async fn forgotten(carried: &Carried) {
    carried.accept("forgotten", "r1").await;
    carried
        .step(Stage::Upsert, |claimed| {
            Some(carried.upserted(claimed, Action::Insert, secs(15)))
        })
        .await;
    carried.clock.advance(secs(15));
    carried.step(Stage::Tag, |claimed| Some(carried.tagged(claimed))).await;
    carried
        .step(Stage::WriteBack, |_| Some(Effect::Event(Event::WrittenBack)))
        .await;
    carried.clock.advance(40 * DAY);
    assert_eq!(carried.store.delete_old(30 * DAY, 10).await.unwrap(), 1);
}

async fn first_stages(carried: &Carried) {
    let upsert = |claimed: &Claimed| {
        let rejected = |reason| {
            Effect::Event(Event::Rejected {
                reason,
                seen: carried.seen(claimed),
            })
        };
        let ambiguous = |bisect_limit, insert| Effect::Ambiguous { bisect_limit, insert };
        Some(match claimed.sync.lead.as_str() {
            "updated" => carried.upserted(claimed, Action::Update, secs(15)),
            // Later than a start would move it: with one process it moves all tags, and with several it does not.
            "upserted" => carried.upserted(claimed, Action::Insert, 60 * secs(60)),
            "restored" => Effect::Event(Event::Restored {
                delivered: delivered(claimed, Action::Update),
                seen: carried.seen(claimed),
                synced_at: carried.clock.now(),
            }),
            "rejected" => rejected(RejectReason::ApprovalPending),
            "failed" => rejected(RejectReason::InvalidValue {
                field: "Email".into(),
                expected: Some("email".into()),
            }),
            "dismissed" => rejected(RejectReason::NameMissing),
            "deleted" => Effect::Event(Event::LeadDeleted),
            "withdrawn" => Effect::Event(Event::Withdrawn),
            "attempted" => Effect::Failed(busy()),
            "alone" => Effect::FailedUncounted(busy()),
            "suspect-1" | "suspect-2" => ambiguous(2, false),
            "ambiguous" => ambiguous(1, true),
            _ => carried.upserted(claimed, Action::Insert, secs(15)),
        })
    };
    assert_eq!(carried.step(Stage::Upsert, upsert).await, FIRST.len());
    carried.clock.advance(secs(15));
    let tag = |claimed: &Claimed| {
        Some(match claimed.sync.lead.as_str() {
            "changed" => Effect::Event(Event::Changed),
            "gone" => Effect::ContactGone(failure(RejectReason::ContactContradicted)),
            _ => carried.tagged(claimed),
        })
    };
    assert_eq!(carried.step(Stage::Tag, tag).await, 7);
    assert!(matches!(carried.accept("again", "r2").await, Accepted::Coalesced(_)));
    let write_back = |claimed: &Claimed| match claimed.sync.lead.as_str() {
        "tagged" => None,
        "rejected" => Some(Effect::Failed(failure(RejectReason::WriteConflict))),
        "again" => Some(Effect::Event(Event::RequestedAgain)),
        _ => Some(Effect::Event(Event::WrittenBack)),
    };
    assert_eq!(carried.step(Stage::WriteBack, write_back).await, 9);
}

async fn operators_and_late_requests(carried: &Carried) {
    let store = &carried.store;
    let id = |lead: &str| {
        let place = FIRST.iter().position(|name| *name == lead).unwrap();
        SyncId(i64::try_from(place).unwrap() + 2)
    };
    assert_eq!(store.dismiss(id("dismissed")).await.unwrap(), DismissResult::Done);
    carried.clock.advance(secs(1));
    // The row of its first sync is not the newest any more.
    store.request(lead_id("twice"), Source::Manual, None).await.unwrap();
    assert!(matches!(carried.accept("coalesced", "r1").await, Accepted::Created(_)));
    assert!(matches!(
        carried.accept("coalesced", "r2").await,
        Accepted::Coalesced(_)
    ));
    assert_eq!(carried.accept("coalesced", "r1").await, Accepted::Duplicate);
    store.request(lead_id("coalesced"), Source::Manual, None).await.unwrap();
    let unsigned = Delivery {
        key: Some("key-1".into()),
        lead: lead_id("unsigned"),
        rev: None,
        updated_at: None,
    };
    assert!(matches!(store.accept(unsigned).await, Ok(Accepted::Created(_))));
    let revision = carried.revision("r1");
    store
        .request(lead_id("missed"), Source::Reconciliation, revision)
        .await
        .unwrap();
    let Accepted::Created(cancelled) = carried.accept("cancelled", "r1").await else {
        panic!("it is created");
    };
    assert_eq!(store.cancel(cancelled).await.unwrap(), CancelResult::Done);
    store.retry(id("attempted"), false).await.unwrap();
}

async fn claims_and_services(carried: &Carried) {
    let store = &carried.store;
    // A worker that never returned, and one that is at work.
    assert_eq!(
        store.claim(Stage::Upsert, 2, Prefer::Fresh).await.unwrap().syncs.len(),
        2
    );
    carried.clock.advance(secs(60));
    assert!(matches!(carried.accept("fresh", "r1").await, Accepted::Created(_)));
    assert_eq!(
        store
            .claim(Stage::WriteBack, 10, Prefer::Fresh)
            .await
            .unwrap()
            .syncs
            .len(),
        2
    );
    let epoch = store.breaker(Remote::Bigin).await.unwrap().epoch;
    let service_error = ServiceError {
        remote: Remote::Bigin,
        kind: ServiceErrorKind::RateLimited,
        code: "TOO_MANY_REQUESTS".into(),
        what: "too many calls".into(),
        action: Some("wait".into()),
        retry_after: Some(secs(300)),
    };
    store
        .open_breaker(service_error, Cause::FailedLeads, epoch, 0.5)
        .await
        .unwrap();
    store.kv_put("access_token", vec![0, 1, 127, 128, 255]).await.unwrap();
    store.kv_put("alert_log", b"{\"firing\":[]}".to_vec()).await.unwrap();
    store.note_grant(carried.clock.now()).await.unwrap();
    assert!(store.try_lock("reconciliation", "replica-1", secs(600)).await.unwrap());
    store.set_paused(true).await.unwrap();
}
