//! What may be asked of a store, in random order: few leads, few contacts and few revisions, so that they meet.

use std::time::Duration;

use bigin_sync::domain::breaker::Cause;
use bigin_sync::domain::failure::{Remote, ServiceError, ServiceErrorKind};
use bigin_sync::domain::lead::{ContactId, LeadId, Revision};
use bigin_sync::domain::record::Action;
use bigin_sync::domain::reject_reason::{ReasonKey, RejectReason};
use bigin_sync::domain::state::{Delivered, Event, Seen, State};
use bigin_sync::domain::sync::{Failure, Source, SyncId, SyncJob};
use bigin_sync::store::{Claimed, Delivery, Detail, Effect, Outcome, PossiblyChanged, Prefer, Stage, StepReport};
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use super::model::Model;
use crate::world::secs;

#[derive(Debug, Clone)]
pub enum Step {
    Accept(Delivery),
    /// At once, so that they come into one transaction.
    AcceptAll(Vec<Delivery>),
    Request(LeadId, Source, Option<Revision>),
    Claim(Stage, usize, Prefer),
    Record {
        picks: Vec<Pick>,
        report: StepReport,
    },
    OpenBreaker {
        service_error: ServiceError,
        cause: Cause,
        late: bool,
        jitter: f64,
    },
    Advance(u64),
    Restart,
    DeleteOld(u64, usize),
    Cancel(Which),
    Retry(Which),
    RetryFailed {
        reason: Option<ReasonKey>,
        before: Option<Which>,
        limit: usize,
    },
    Dismiss(Which),
    CheckNow(Remote),
    PauseAll(bool),
}

/// One of the syncs there are, or the one that is not there yet.
#[derive(Debug, Clone)]
pub struct Which(Index);

impl Which {
    pub fn id(&self, model: &Model) -> SyncId {
        let next = model.syncs.last().map_or(1, |row| row.sync.id.0 + 1);
        let all = model.syncs.iter().map(|row| row.sync.id).chain([SyncId(next)]);
        let all: Vec<_> = all.collect();
        *self.0.get(&all)
    }
}

/// Which of the held claims gets an outcome, and which one.
#[derive(Debug, Clone)]
pub struct Pick {
    claim: Index,
    /// The claim is held on to, so that its lease is lost when it gets another outcome.
    hold: bool,
    kind: Kind,
    event: Index,
    details: Details,
    failure: Failure,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Legal,
    /// Any event at all, which may be illegal.
    Any,
    Failed,
    FailedUncounted,
    Ambiguous,
    ContactGone,
    Settling,
    Released,
}

/// What the events are filled with.
#[derive(Debug, Clone)]
struct Details {
    delivered: Delivered,
    revision: Option<Revision>,
    tag_delay: Duration,
    reason: RejectReason,
}

/// Why a lead is refused, or a sync given up.
pub fn reasons() -> Vec<RejectReason> {
    let invalid = |field: &str| RejectReason::InvalidValue {
        field: field.to_owned(),
        expected: None,
    };
    vec![invalid("Email"), invalid("Phone"), RejectReason::NameMissing]
}

/// What they are filtered by: a code alone too.
pub fn keys_of_reasons() -> Vec<ReasonKey> {
    let mut keys: Vec<ReasonKey> = reasons().iter().map(ReasonKey::of).collect();
    keys.push(ReasonKey::parse("invalid_value"));
    keys
}

pub fn leads() -> Vec<LeadId> {
    ["ada", "bob", "cy", "dee"]
        .map(|lead| LeadId::parse(lead).unwrap())
        .into()
}

pub fn contacts() -> Vec<ContactId> {
    ["1", "2"].map(|contact| ContactId::parse(contact).unwrap()).into()
}

/// Keyed hashes of unique values.
fn keys() -> Vec<String> {
    ["k1", "k2"].map(str::to_owned).into()
}

fn prefers() -> impl Strategy<Value = Prefer> {
    select(vec![Prefer::Fresh, Prefer::Suspects])
}

fn moment(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

fn revisions() -> impl Strategy<Value = Option<Revision>> {
    let rev = prop::option::of(select(vec!["r1".to_owned(), "r2".to_owned()]));
    let revision = (0..3i64, rev).prop_map(|(second, rev)| Revision {
        updated_at: moment(second),
        rev,
    });
    prop::option::of(revision)
}

fn deliveries() -> impl Strategy<Value = Delivery> {
    let key = prop::option::of(select(vec!["k1".to_owned(), "k2".to_owned(), "k3".to_owned()]));
    let rev = prop::option::weighted(0.8, (0..30u8).prop_map(|rev| format!("r{rev}")));
    let updated_at = prop::option::of((0..9i64).prop_map(moment));
    (select(leads()), key, rev, updated_at).prop_map(|(lead, key, rev, updated_at)| Delivery {
        key,
        lead,
        rev,
        updated_at,
    })
}

/// Waits are halved and doubled from whole seconds, so that a draw of one of these makes whole microseconds.
fn jitters() -> impl Strategy<Value = f64> {
    select(vec![0.0, 0.5, 1.0])
}

fn retry_afters() -> impl Strategy<Value = Option<Duration>> {
    prop::option::weighted(0.2, (0..40u64).prop_map(secs))
}

fn pauses() -> impl Strategy<Value = ServiceError> {
    let kinds = vec![
        ServiceErrorKind::Unavailable,
        ServiceErrorKind::RateLimited,
        ServiceErrorKind::Unauthorized,
    ];
    let kinds = prop_oneof![9 => select(kinds), 1 => Just(ServiceErrorKind::TokenRateLimited)];
    (select(Remote::ALL.to_vec()), kinds, retry_afters()).prop_map(|(remote, kind, retry_after)| ServiceError {
        remote,
        kind,
        code: "HTTP 503".into(),
        what: "no answer".into(),
        action: None,
        retry_after,
    })
}

/// The epochs are how far behind the breaker's they are.
fn report() -> impl Strategy<Value = StepReport> {
    let some = || {
        let late = prop::bool::weighted(0.2).prop_map(i64::from);
        (subsequence(Remote::ALL.to_vec(), 0..=3), late)
            .prop_map(|(remotes, late)| remotes.into_iter().map(|remote| (remote, late)).collect::<Vec<_>>())
    };
    let none = Just(Vec::new());
    let probed = prop_oneof![4 => none, 1 => some()];
    let possibly_changed = (subsequence(contacts(), 0..=1), subsequence(keys(), 0..=1));
    let possibly_changed = possibly_changed.prop_map(|(contacts, keys)| PossiblyChanged {
        contacts: contacts.into_iter().collect(),
        keys: keys.into_iter().collect(),
    });
    let possibly_changed = prop_oneof![9 => Just(PossiblyChanged::default()), 1 => possibly_changed];
    let all = (some(), probed, prop::bool::weighted(0.05), possibly_changed, 0..9u32);
    all.prop_map(
        |(answered, probed, ambiguous_upsert, possibly_changed, credits)| StepReport {
            answered,
            probed,
            ambiguous_upsert,
            possibly_changed,
            credits,
        },
    )
}

fn picks() -> impl Strategy<Value = Pick> {
    let kind = prop_oneof![
        12 => Just(Kind::Legal),
        2 => Just(Kind::Any),
        3 => Just(Kind::Failed),
        1 => Just(Kind::FailedUncounted),
        2 => Just(Kind::Ambiguous),
        1 => Just(Kind::ContactGone),
        1 => Just(Kind::Settling),
        1 => Just(Kind::Released),
    ];
    let failure =
        (retry_afters(), jitters(), prop::bool::weighted(0.2)).prop_map(|(retry_after, jitter, ambiguous_insert)| {
            Failure {
                error: RejectReason::WriteContention,
                retry_after,
                jitter,
                ambiguous_insert,
                isolates: false,
            }
        });
    let delivered = (
        select(contacts()),
        select(Action::ALL.to_vec()),
        "h[12]",
        subsequence(keys(), 0..=2),
    );
    let delivered = delivered.prop_map(|(contact, action, hash, keys)| Delivered {
        contact,
        action,
        hash,
        keys,
    });
    let details = (delivered, revisions(), (0..30u64).prop_map(secs), select(reasons()));
    let details = details.prop_map(|(delivered, revision, tag_delay, reason)| Details {
        delivered,
        revision,
        tag_delay,
        reason,
    });
    let which = (any::<Index>(), prop::bool::weighted(0.2), kind, any::<Index>());
    (which, details, failure).prop_map(|((claim, hold, kind, event), details, failure)| Pick {
        claim,
        hold,
        kind,
        event,
        details,
        failure,
    })
}

/// Half a hundred steps. A store that several processes share knows no restart.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Webhooks come as deliveries: the ledger counts them there.
    let sources = vec![Source::Reconciliation, Source::Manual, Source::Retry];
    let request = (select(leads()), select(sources), revisions()).prop_map(|(l, s, r)| Step::Request(l, s, r));
    let claim = (select(Stage::ALL.to_vec()), 1..4usize, prefers()).prop_map(|(s, limit, p)| Step::Claim(s, limit, p));
    let record = (prop::collection::vec(picks(), 1..4), report());
    let record = record.prop_map(|(picks, report)| Step::Record { picks, report });
    let cause = select(vec![Cause::Service, Cause::FailedLeads]);
    let service_error = (pauses(), cause, prop::bool::weighted(0.2), jitters());
    let service_error = service_error.prop_map(|(service_error, cause, late, jitter)| Step::OpenBreaker {
        service_error,
        cause,
        late,
        jitter,
    });
    let advance = prop_oneof![15 => 1..16u64, 5 => 16..60u64, 1 => 3_600..90_000u64].prop_map(Step::Advance);
    let which = || any::<Index>().prop_map(Which);
    let reason = prop::option::of(select(keys_of_reasons()));
    let retry_failed = (reason, prop::option::of(which()), 1..4usize);
    let retry_failed = retry_failed.prop_map(|(reason, before, limit)| Step::RetryFailed { reason, before, limit });
    // Mostly the work goes on again soon.
    let set_paused = prop::bool::weighted(0.3).prop_map(Step::PauseAll);
    let delete_old = (0..60u64, 1..4usize).prop_map(|(age, limit)| Step::DeleteOld(age, limit));
    let step = prop_oneof![
        4 => deliveries().prop_map(Step::Accept),
        2 => prop::collection::vec(deliveries(), 2..6).prop_map(Step::AcceptAll),
        4 => request,
        10 => claim,
        9 => record,
        1 => service_error,
        5 => advance,
        1 => Just(Step::Restart),
        1 => delete_old,
        2 => which().prop_map(Step::Cancel),
        2 => which().prop_map(Step::Retry),
        1 => retry_failed,
        1 => which().prop_map(Step::Dismiss),
        1 => select(Remote::ALL.to_vec()).prop_map(Step::CheckNow),
        2 => set_paused,
    ];
    prop::collection::vec(step, 1..100)
}

impl Pick {
    /// The outcome of one of the claims that are held; `None` where none is.
    pub fn outcome(&self, held: &mut Vec<Claimed>, model: &Model) -> Option<Outcome> {
        if held.is_empty() {
            return None;
        }
        let place = self.claim.index(held.len());
        let claimed = if self.hold {
            held[place].clone()
        } else {
            held.remove(place)
        };
        let effect = match self.kind {
            Kind::Legal | Kind::Any => Effect::Event(self.event(&claimed.sync, model.now)),
            Kind::Failed => Effect::Failed(self.failure.clone()),
            Kind::FailedUncounted => Effect::FailedUncounted(self.failure.clone()),
            Kind::ContactGone => Effect::ContactGone(self.failure.clone()),
            Kind::Ambiguous => Effect::Ambiguous {
                bisect_limit: 1 + self
                    .failure
                    .retry_after
                    .map_or(0, |retry_after| u32::from(retry_after > secs(20))),
                insert: self.failure.ambiguous_insert,
            },
            Kind::Settling => Effect::Settling,
            Kind::Released => Effect::Released,
        };
        Some(Outcome {
            claimed,
            effect,
            detail: Detail::default(),
        })
    }

    /// Mostly what leads on; the ends that cut a journey short are rarer.
    fn event(&self, sync: &SyncJob, now: Timestamp) -> Event {
        let events = self.events(sync, now);
        let legal = match (self.kind, &sync.state) {
            (Kind::Any, _) => &events[..],
            (_, State::Requested { .. }) => &events[..8],
            (_, State::Upserted { .. }) => &events[6..14],
            _ => &events[11..],
        };
        self.event.get(legal).clone()
    }

    fn events(&self, sync: &SyncJob, now: Timestamp) -> [Event; 17] {
        let Details {
            delivered,
            revision,
            tag_delay,
            reason,
        } = &self.details;
        let delivered = || delivered.clone();
        let seen = || Seen {
            requests: sync.requests.count,
            revision: revision.clone(),
        };
        let upserted = || Event::Upserted {
            delivered: delivered(),
            seen: seen(),
            tag_not_before: now + *tag_delay,
        };
        let restored = Event::Restored {
            delivered: delivered(),
            seen: seen(),
            synced_at: now,
        };
        let rejected = Event::Rejected {
            reason: reason.clone(),
            seen: seen(),
        };
        let tagged = || Event::Tagged {
            seen: seen(),
            synced_at: now,
        };
        [
            // What a requested sync takes,
            Event::Withdrawn,
            upserted(),
            upserted(),
            upserted(),
            upserted(),
            restored,
            // it and an upserted one,
            rejected,
            Event::ContactGone,
            // an upserted one,
            tagged(),
            tagged(),
            Event::Changed,
            // everyone,
            Event::Cancelled,
            Event::Withdrawn,
            Event::LeadDeleted,
            // and one whose result is known.
            Event::WrittenBack,
            Event::WrittenBack,
            Event::RequestedAgain,
        ]
    }
}
