//! What holds on every path that a sync can take: random walks over everything that can happen to one, and a sentence
//! about each step.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::domain::lead::ContactId;
use crate::domain::lead_link::LeadLink;
use crate::domain::record::Action;
use crate::domain::reject_reason::RejectReason;
use crate::domain::state::{CancelledBy, Delivered};

const POLICY: RetryPolicy = RetryPolicy {
    base_delay: Duration::from_secs(1),
    max_delay: Duration::from_secs(8),
    give_up_after: Duration::from_secs(20),
};

/// What can happen to a sync.
#[derive(Debug, Clone)]
enum Op {
    Wait(u64),
    /// A worker claims it, and sees the requests there are.
    Claim,
    Coalesce(Source, Option<Revision>),
    /// The worker reports; the requests it saw are filled in.
    Apply(Event),
    Fail(Failure),
    FailUncounted(Failure),
    /// Bigin says that the contact is gone.
    LoseContact(Failure),
    /// A batch call with it ended ambiguously.
    Bisect(u32),
    /// Another sync upserts the contact.
    ContactUpserted(u64),
}

/// One step of a walk.
struct Step<'a> {
    op: &'a Op,
    before: &'a SyncJob,
    after: &'a SyncJob,
    result: Result<(), IllegalEvent>,
    /// How many requests the worker saw when it claimed the sync.
    claimed: u32,
    now: Timestamp,
}

impl Step<'_> {
    fn event(&self) -> Option<&Event> {
        match self.op {
            Op::Apply(event) => Some(event),
            Op::LoseContact(_) => Some(&Event::ContactGone),
            _ => None,
        }
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn created() -> SyncJob {
    let lead = LeadId::parse("lead-ada").unwrap();
    SyncJob::create(SyncId(1), lead, Source::Webhook, None, at(0))
}

fn walk(ops: &[Op], mut each: impl FnMut(Step<'_>)) {
    let (mut sync, mut claimed, mut now) = (created(), 1, at(0));
    for op in ops {
        let before = sync.clone();
        let mut result = Ok(());
        match op {
            Op::Wait(seconds) => now += Duration::from_secs(*seconds),
            Op::Claim => claimed = sync.requests.count,
            // A request for a lead whose sync has ended opens another.
            Op::Coalesce(..) | Op::Bisect(_) if sync.state.is_final() => continue,
            Op::Coalesce(source, revision) => sync.coalesce(*source, revision.clone()),
            Op::Apply(event) => result = sync.apply(filled_in(event, claimed, now), claimed, now),
            Op::Fail(failure) => result = sync.fail(failure.clone(), claimed, &POLICY, now),
            Op::LoseContact(failure) => result = sync.lose_contact(failure.clone(), claimed, &POLICY, now),
            Op::Bisect(limit) => sync.bisect(*limit, now),
            Op::FailUncounted(failure) => sync.fail_uncounted(failure.clone(), 0, &POLICY, now),
            Op::ContactUpserted(delay) => result = sync.contact_upserted(now + Duration::from_secs(*delay)),
        }
        each(Step {
            op,
            before: &before,
            after: &sync,
            result,
            claimed,
            now,
        });
    }
}

/// The event with what only its moment tells: the requests that were seen, and times from now on.
fn filled_in(event: &Event, claimed: u32, now: Timestamp) -> Event {
    let mut event = event.clone();
    match &mut event {
        Event::Upserted {
            seen, tag_not_before, ..
        } => {
            seen.requests = claimed;
            *tag_not_before = now + Duration::from_secs(15);
        }
        Event::Restored { seen, .. } | Event::Tagged { seen, .. } | Event::Rejected { seen, .. } => {
            seen.requests = claimed;
        }
        _ => {}
    }
    event
}

fn revisions() -> impl Strategy<Value = Option<Revision>> {
    (0..5u64, 0..3usize).prop_map(|(second, rev)| {
        let rev = ["r1", "r2"].get(rev).map(|rev| (*rev).to_owned());
        let updated_at = at(second);
        (second > 0).then_some(Revision { updated_at, rev })
    })
}

fn events() -> impl Strategy<Value = Event> {
    let ids = ["1", "2"].map(|id| ContactId::parse(id).unwrap());
    let delivered = (
        select(ids.to_vec()),
        select(Action::ALL.to_vec()),
        select(vec!["h1", "h2"]),
    );
    (delivered, revisions(), 0..99u64, 0..18u8).prop_map(|((contact, action, hash), revision, second, kind)| {
        let hash = hash.to_owned();
        let delivered = Delivered {
            contact,
            action,
            hash,
            keys: Vec::new(),
        };
        let seen = Seen { requests: 0, revision };
        let (tag_not_before, synced_at) = (at(0), at(second));
        match kind {
            0..5 => Event::Upserted {
                delivered,
                seen,
                tag_not_before,
            },
            5 => Event::Restored {
                delivered,
                seen,
                synced_at,
            },
            6..8 => Event::Tagged { seen, synced_at },
            8..10 => Event::Rejected {
                reason: RejectReason::InvalidValue {
                    field: "Email".to_owned(),
                    expected: Some("email".to_owned()),
                },
                seen,
            },
            10..13 => Event::Changed,
            13..16 => Event::RequestedAgain,
            16 => Event::WrittenBack,
            _ if second < 33 => Event::LeadDeleted,
            _ if second < 66 => Event::Withdrawn,
            _ => Event::Cancelled,
        }
    })
}

fn failures() -> impl Strategy<Value = Failure> {
    let retry_after = prop::option::weighted(0.2, (0..12u64).prop_map(Duration::from_secs));
    (retry_after, 0.0..1.0f64, prop::bool::weighted(0.2)).prop_map(|(retry_after, jitter, ambiguous_insert)| Failure {
        error: RejectReason::WriteContention,
        retry_after,
        jitter,
        ambiguous_insert,
        isolates: false,
    })
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let join =
        (select(Source::ALL.to_vec()), revisions()).prop_map(|(source, revision)| Op::Coalesce(source, revision));
    let op = prop_oneof![
        3 => (0..20u64).prop_map(Op::Wait),
        5 => Just(Op::Claim),
        2 => join,
        9 => events().prop_map(Op::Apply),
        6 => failures().prop_map(Op::Fail),
        1 => failures().prop_map(Op::FailUncounted),
        4 => failures().prop_map(Op::LoseContact),
        1 => (1..50u32).prop_map(Op::Bisect),
        1 => (0..30u64).prop_map(Op::ContactUpserted),
    ];
    prop::collection::vec(op, 1..60)
}

/// A walk has so many steps that fewer of them will do than proptest takes where it is not asked for a number.
fn config() -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig {
        cases: if asked.cases == 256 { 100 } else { asked.cases },
        failure_persistence: None,
        ..asked
    }
}

fn is_cancelled_by_person(state: &State) -> bool {
    *state
        == State::Cancelled {
            by: CancelledBy::Operator,
        }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_event_that_does_not_fit_changes_nothing_at_all(ops in ops()) {
        walk(&ops, |step| {
            if step.result.is_err() {
                assert_eq!(step.before, step.after);
            }
        });
    }

    #[test]
    fn what_has_ended_takes_nothing_more(ops in ops()) {
        walk(&ops, |step| {
            if step.before.state.is_final() {
                assert_eq!(step.before, step.after, "{:?}", step.op);
                let may_happen = matches!(step.op, Op::Wait(_) | Op::Claim | Op::FailUncounted(_));
                assert_eq!(step.result.is_ok(), may_happen, "{:?}", step.op);
            }
        });
    }

    #[test]
    fn it_has_ended_when_its_state_says_so_and_at_that_moment(ops in ops()) {
        walk(&ops, |step| {
            assert_eq!(step.after.finished_at.is_some(), step.after.state.is_final());
            if step.before.finished_at.is_none() {
                assert!(step.after.finished_at.is_none_or(|at| at == step.now));
            }
        });
    }

    #[test]
    fn no_end_is_recorded_over_a_request_that_came_after_the_claim(ops in ops()) {
        walk(&ops, |step| {
            let ends = !step.before.state.is_final() && step.after.state.is_final();
            if ends && !is_cancelled_by_person(&step.after.state) {
                assert!(step.after.requests.count <= step.claimed);
            }
            let is_end = matches!(step.event(), Some(Event::WrittenBack | Event::LeadDeleted | Event::Withdrawn));
            if is_end && step.result.is_ok() && step.after.requests.count > step.claimed {
                assert_eq!(step.after.state.label(), "requested", "it goes round again");
            }
        });
    }

    #[test]
    fn a_person_s_word_ends_it_whoever_asked_since(ops in ops()) {
        walk(&ops, |step| {
            if step.event() == Some(&Event::Cancelled) && step.result.is_ok() {
                assert!(is_cancelled_by_person(&step.after.state));
            }
        });
    }

    #[test]
    fn a_tag_s_time_never_moves_back_and_nobody_comes_before_it(ops in ops()) {
        walk(&ops, |step| {
            let State::Upserted { tag_not_before, .. } = &step.after.state else {
                return;
            };
            assert!(step.after.next_attempt_at >= *tag_not_before, "{:?}", step.op);
            if let State::Upserted { tag_not_before: was, .. } = &step.before.state {
                assert!(tag_not_before >= was, "{:?}", step.op);
            }
        });
    }

    #[test]
    fn only_what_waits_for_its_tag_is_moved_and_its_failures_stay(ops in ops()) {
        walk(&ops, |step| {
            if matches!(step.op, Op::ContactUpserted(_)) {
                assert_eq!(step.result.is_ok(), step.before.state.label() == "upserted");
                assert_eq!(step.before.attempts, step.after.attempts);
                assert!(step.before.next_attempt_at <= step.after.next_attempt_at);
            }
        });
    }

    #[test]
    fn a_result_that_is_known_is_never_given_up(ops in ops()) {
        walk(&ops, |step| {
            let known = matches!(step.before.state, State::Tagged { .. } | State::Rejected { .. });
            if known && matches!(step.op, Op::Fail(_) | Op::FailUncounted(_)) {
                assert_eq!(step.before.state, step.after.state);
            }
        });
    }

    #[test]
    fn a_lead_is_given_up_after_it_has_waited_for_long_enough_of_its_own_doing(ops in ops()) {
        let (mut in_a_row, mut waited) = (0, 0.0);
        walk(&ops, |step| {
            let failure = match step.op {
                Op::Fail(failure) | Op::FailUncounted(failure) if !step.before.state.is_final() => failure,
                Op::Apply(_) | Op::LoseContact(_) if step.result.is_ok() => {
                    let failures = &step.after.attempts;
                    (in_a_row, waited) = (failures.count, failures.backoff_total.as_secs_f64());
                    return;
                }
                _ => return,
            };
            let counts = matches!(step.op, Op::Fail(_));
            let result_is_open = matches!(step.before.state, State::Requested { .. } | State::Upserted { .. });
            if counts && result_is_open && waited >= 20.0 && !failure.ambiguous_insert {
                assert_eq!(step.after.state.label(), "rejected", "after {waited} seconds");
                (in_a_row, waited) = (0, 0.0);
                return;
            }
            assert_eq!(step.before.state, step.after.state, "after {waited} seconds");
            in_a_row += 1;
            let longest = f64::from(2i32.pow((in_a_row - 1).min(3)));
            let wait = (longest * (0.5 + failure.jitter / 2.0)).max(failure.retry_after.unwrap_or_default().as_secs_f64());
            waited += if counts { wait } else { 0.0 };
            let due_in = step.after.next_attempt_at.duration_since(step.now).as_secs_f64();
            assert!(due_in > wait - 1e-6, "{due_in} of {wait}");
            let is_tag = matches!(step.after.state, State::Upserted { .. });
            assert!(is_tag || due_in < wait + 1e-6, "{due_in} of {wait}");
        });
    }

    #[test]
    fn progress_wipes_failures_out_and_nothing_else_does(ops in ops()) {
        walk(&ops, |step| {
            let (before, after) = (&step.before.attempts, &step.after.attempts);
            match step.op {
                Op::Apply(_) if step.result.is_ok() && step.after.contact_losses == 0 => {
                    assert_eq!(*after, Attempts::default());
                }
                // An upsert after a loss is no progress: the next loss would contradict it.
                Op::Apply(_) if step.result.is_ok() => assert_eq!(before, after),
                Op::LoseContact(_) if step.result.is_ok() && step.before.contact_losses == 0 => {
                    assert_eq!(*after, Attempts::default());
                }
                Op::LoseContact(_) if step.result.is_err() => assert_eq!(before, after),
                Op::LoseContact(_) if step.after.state.label() == "rejected" => assert_eq!(*after, Attempts::default()),
                Op::LoseContact(_) => assert!(after.count > before.count),
                Op::Fail(_) if step.after.state != step.before.state => assert_eq!(*after, Attempts::default()),
                Op::Fail(_) | Op::FailUncounted(_) => assert!(after.count >= before.count && after.backoff_total >= before.backoff_total),
                _ => assert_eq!(before, after),
            }
        });
    }

    #[test]
    fn contradiction_never_goes_round_uncounted_and_at_once(ops in ops()) {
        // How often the contact was lost since progress was made last, and whether that was at once and uncounted.
        let mut losses = 0;
        walk(&ops, |step| {
            match step.op {
                Op::LoseContact(_) if step.result.is_ok() => {
                    losses += 1;
                    let is_over = step.after.state.label() == "rejected";
                    let is_free = step.after.attempts.count == 0 && step.after.next_attempt_at <= step.now;
                    assert!(losses == 1 || is_over || !is_free, "round {losses} was free");
                    losses = if is_over { 0 } else { losses };
                }
                Op::Apply(Event::Upserted { .. } | Event::Changed) => {}
                Op::Apply(_) if step.result.is_ok() => losses = 0,
                Op::Fail(_) if step.after.state != step.before.state => losses = 0,
                _ => {}
            }
        });
    }

    #[test]
    fn suspect_stays_one_until_something_happens_to_it(ops in ops()) {
        walk(&ops, |step| match step.op {
            Op::Bisect(limit) => {
                assert_eq!(step.after.bisect_limit, Some(*limit));
                assert_eq!(step.before.attempts, step.after.attempts, "no attempt");
            }
            Op::Apply(_) | Op::LoseContact(_) if step.result.is_ok() => assert_eq!(step.after.bisect_limit, None),
            Op::Fail(_) if step.after.state != step.before.state => assert_eq!(step.after.bisect_limit, None),
            _ => assert_eq!(step.before.bisect_limit, step.after.bisect_limit),
        });
    }

    #[test]
    fn edits_that_nobody_asked_for_are_counted_until_somebody_asks(ops in ops()) {
        let (mut edits, mut read) = (0, 0);
        walk(&ops, |step| {
            if step.result.is_ok() {
                match step.op {
                    Op::Apply(Event::Changed) if read == step.before.requests.count => edits += 1,
                    Op::Apply(_) | Op::LoseContact(_) if step.after.state.label() == "requested" => edits = 0,
                    Op::Apply(
                        Event::Upserted { .. } | Event::Restored { .. } | Event::Tagged { .. } | Event::Rejected { .. },
                    ) => read = step.claimed,
                    // Given up, which is a refusal.
                    Op::Fail(_) if step.before.state != step.after.state => read = step.claimed,
                    Op::LoseContact(_) if step.after.state.label() == "rejected" => (read, edits) = (step.claimed, 0),
                    _ => {}
                }
            }
            assert_eq!(step.after.edits, edits, "{:?}", step.op);
        });
    }

    #[test]
    fn a_contact_once_known_is_kept_from_round_to_round_until_it_is_gone(ops in ops()) {
        walk(&ops, |step| {
            let known = step.before.state.contact();
            let replaced = match step.event() {
                Some(Event::ContactGone) => None,
                Some(Event::Upserted { delivered, .. } | Event::Restored { delivered, .. }) => Some(&delivered.contact),
                _ => known,
            };
            let has_one_no_more = matches!(step.after.state, State::LeadDeleted | State::Cancelled { .. });
            if step.result.is_ok() && !has_one_no_more {
                assert_eq!(step.after.state.contact(), replaced, "{:?}", step.op);
            }
        });
    }

    #[test]
    fn requests_are_only_ever_added(ops in ops()) {
        walk(&ops, |step| {
            let (before, after) = (&step.before.requests, &step.after.requests);
            let Op::Coalesce(source, revision) = step.op else {
                assert_eq!(before, after);
                return;
            };
            assert_eq!(after.count, before.count + 1);
            assert_eq!(after.is_manual, before.is_manual || *source == Source::Manual);
            assert_eq!(after.is_retry, before.is_retry || *source == Source::Retry);
            let time = |revision: &Option<Revision>| revision.as_ref().map(|revision| revision.updated_at);
            assert_eq!(time(&after.revision), time(&before.revision).max(time(revision)));
            assert_eq!(step.before.state, step.after.state, "the worker that has it is told at the end");
        });
    }

    #[test]
    fn whatever_has_happened_the_lead_can_still_be_brought_home(ops in ops()) {
        walk(&ops, |step| {
            let mut sync = step.after.clone();
            let seen = Seen { requests: sync.requests.count, revision: None };
            for _ in 0..3 {
                let event = match &sync.state {
                    State::Requested { .. } => Event::Upserted {
                        delivered: Delivered {
                            contact: ContactId::parse("3").unwrap(),
                            action: Action::Update,
                            hash: "h".into(),
                            keys: Vec::new(),
                        },
                        seen: seen.clone(),
                        tag_not_before: step.now,
                    },
                    State::Upserted { .. } => Event::Tagged { seen: seen.clone(), synced_at: step.now },
                    State::Tagged { .. } | State::Rejected { .. } => Event::WrittenBack,
                    _ => break,
                };
                let requests = sync.requests.count;
                sync.apply(event, requests, step.now).unwrap();
            }
            assert!(sync.state.is_final());
        });
    }

    #[test]
    fn what_is_remembered_of_a_lead_only_follows_what_has_happened(ops in ops()) {
        let mut link = LeadLink::default();
        walk(&ops, |step| {
            let before = link.clone();
            let Some(event) = step.event().filter(|_| step.result.is_ok()) else {
                return;
            };
            link.update(event, step.after);
            let time = |link: &LeadLink| link.seen.as_ref().map(|seen| seen.updated_at);
            assert!(time(&link) >= time(&before), "what has been read stays read");
            if before.contact.is_some() {
                assert_eq!(link.contact.is_none(), *event == Event::ContactGone);
            }
            match &step.after.state {
                State::Sent { delivered, synced_at } => {
                    assert_eq!(link.sent_hash.as_ref(), Some(&delivered.hash));
                    assert_eq!(link.synced_at, Some(*synced_at));
                    assert!(time(&link) >= step.after.requests.revision.as_ref().map(|asked| asked.updated_at));
                }
                State::Upserted { .. } | State::Failed { .. } => {
                    assert_eq!(link.sent_hash, None, "the last result was no SENT of what Bigin has");
                    assert_eq!(link.synced_at, before.synced_at);
                }
                _ => assert_eq!((&link.sent_hash, link.synced_at), (&before.sent_hash, before.synced_at)),
            }
        });
    }
}
