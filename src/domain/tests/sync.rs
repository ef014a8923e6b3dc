//! What a sync makes of requests, events and failures.

use super::*;
use crate::domain::lead_link::LeadLink;
use crate::domain::reject_reason::RejectReason;
use crate::domain::retry::RetryPolicy;
use crate::domain::state::{CancelledBy, Event};
use crate::domain::sync::{Attempts, Failure};

const POLICY: RetryPolicy = RetryPolicy {
    base_delay: Duration::from_secs(1),
    max_delay: Duration::from_secs(300),
    give_up_after: Duration::from_secs(60),
};

fn failure() -> Failure {
    Failure {
        error: RejectReason::WriteContention,
        retry_after: None,
        jitter: 1.0,
        ambiguous_insert: false,
        isolates: false,
    }
}

#[test]
fn a_request_that_joins_is_remembered_with_its_revision() {
    let mut sync = sync(Some(revision(10, "a")));
    sync.coalesce(Source::Webhook, Some(revision(12, "c")));
    sync.coalesce(Source::Webhook, Some(revision(11, "b")));
    sync.coalesce(Source::Reconciliation, None);
    assert_eq!((sync.requests.count, sync.requests.is_manual), (4, false));
    assert_eq!(sync.requests.revision, Some(revision(12, "c")), "the latest of them");
    sync.coalesce(Source::Manual, None);
    sync.coalesce(Source::Webhook, None);
    assert!(
        sync.requests.is_manual,
        "an operator has requested it, whatever comes after"
    );
}

#[test]
fn a_request_is_unread_until_a_later_read() {
    let mut sync = in_state(upserted());
    assert!(!sync.requested_since_read());
    sync.coalesce(Source::Webhook, None);
    assert!(sync.requested_since_read());
    sync.state = State::Requested {
        contact: None,
        contact_created: false,
        force_create: false,
    };
    assert!(!sync.requested_since_read(), "the read is still to come");
}

#[test]
fn only_our_own_result_can_have_overwritten_a_request() {
    let link = |seen| LeadLink {
        seen,
        ..LeadLink::default()
    };
    let asked = sync(Some(revision(11, "r11")));
    let read = link(Some(revision(10, "r10")));
    for (status, overwritten) in [
        (Some(SENT), true),
        (Some(FAILED), true),
        (Some(NOT_SENT), false),
        (Some(REQUESTED), false),
        (None, false),
    ] {
        assert_eq!(asked.is_overwritten(&lead(status), &read), overwritten, "{status:?}");
    }
    let sent = lead(Some(SENT));
    for (label, sync, link) in [
        ("that revision was read", sync(Some(revision(10, "r10"))), read.clone()),
        ("a later one was read", asked, link(Some(revision(12, "r12")))),
        ("the requested revision is not known", sync(None), read),
        ("nothing was ever read", sync(Some(revision(11, "r11"))), link(None)),
    ] {
        assert!(!sync.is_overwritten(&sent, &link), "{label}");
    }
}

#[test]
fn a_revision_that_our_result_overwrote_does_not_count_as_read() {
    let asked = sync(Some(revision(11, "r11")));
    let link = LeadLink {
        seen: Some(revision(9, "r9")),
        ..LeadLink::default()
    };
    let plain = asked.seen(&lead(Some(REQUESTED)), &link);
    assert_eq!((plain.requests, plain.revision), (1, Some(revision(10, "r10"))));
    assert_eq!(asked.seen(&lead(Some(SENT)), &link).revision, None);
}

#[test]
fn a_person_cancels_also_over_a_request_that_came_meanwhile() {
    for (event, expected) in [
        (Event::Cancelled, "cancelled"),
        (Event::Withdrawn, "requested"),
        (Event::LeadDeleted, "requested"),
    ] {
        let mut sync = sync(None);
        sync.coalesce(Source::Webhook, None);
        let label = event.label();
        sync.apply(event, 1, at(5)).unwrap();
        assert_eq!(sync.state.label(), expected, "{label}");
        assert_eq!(sync.finished_at.is_some(), expected == "cancelled", "{label}");
    }
    let mut sync = sync(None);
    sync.apply(Event::Cancelled, 1, at(5)).unwrap();
    assert_eq!(
        (sync.state, sync.finished_at),
        (
            State::Cancelled {
                by: CancelledBy::Operator
            },
            Some(at(5))
        )
    );
}

#[test]
fn a_sync_ends_where_nobody_asked_meanwhile() {
    let mut sync = sync(None);
    sync.coalesce(Source::Webhook, None);
    sync.apply(Event::Withdrawn, 2, at(5)).unwrap();
    assert_eq!(
        (sync.state, sync.finished_at),
        (State::Cancelled { by: CancelledBy::Lead }, Some(at(5)))
    );
}

#[test]
fn a_round_that_was_overtaken_begins_again_as_it_was() {
    let begun = State::Requested {
        contact: None,
        contact_created: true,
        force_create: true,
    };
    let mut sync = in_state(begun.clone());
    sync.coalesce(Source::Webhook, None);
    sync.apply(Event::Withdrawn, 1, at(5)).unwrap();
    assert_eq!(sync.state, begun);
}

#[test]
fn a_round_that_was_overtaken_keeps_the_contact() {
    let mut sync = in_state(tagged());
    sync.coalesce(Source::Webhook, None);
    sync.apply(Event::WrittenBack, 1, at(40)).unwrap();
    let again = State::Requested {
        contact: Some(contact("7")),
        contact_created: true,
        force_create: false,
    };
    assert_eq!(
        (sync.state, sync.next_attempt_at, sync.finished_at),
        (again, at(40), None)
    );
}

#[test]
fn a_sync_is_due_at_once_and_its_tag_at_its_time() {
    let mut sync = sync(None);
    let event = Event::Upserted {
        delivered: delivered(),
        seen: seen(None),
        tag_not_before: at(25),
    };
    sync.apply(event, 1, at(10)).unwrap();
    assert_eq!(sync.next_attempt_at, at(25));
    sync.apply(Event::Changed, 1, at(30)).unwrap();
    assert_eq!(sync.next_attempt_at, at(30));
}

#[test]
fn another_leads_upsert_moves_the_tag_and_brings_nothing_forward() {
    for (due, moved_to, expected) in [(25, 40, 40), (60, 40, 60)] {
        let mut sync = in_state(upserted());
        sync.next_attempt_at = at(due);
        sync.attempts.count = 2;
        sync.contact_upserted(at(moved_to)).unwrap();
        assert_eq!((sync.next_attempt_at, sync.attempts.count), (at(expected), 2));
        assert!(matches!(sync.state, State::Upserted { tag_not_before, .. } if tag_not_before == at(moved_to)));
    }
    assert!(in_state(tagged()).contact_upserted(at(40)).is_err());
}

#[test]
fn rounds_of_edits_are_counted_until_somebody_asks() {
    let mut sync = in_state(upserted());
    for round in 1..=2 {
        sync.apply(Event::Changed, 1, at(30)).unwrap();
        assert_eq!(sync.edits, round);
        sync.state = upserted();
    }
    sync.coalesce(Source::Webhook, None);
    sync.apply(Event::Changed, 2, at(30)).unwrap();
    assert_eq!(sync.edits, 0, "this edit was asked for");
    sync.edits = 2;
    sync.state = tagged();
    sync.apply(Event::RequestedAgain, 2, at(30)).unwrap();
    assert_eq!(sync.edits, 0, "and so was this round");
}

#[test]
fn each_step_forward_begins_a_new_count_of_failures() {
    let mut sync = in_state(upserted());
    sync.fail(failure(), 1, &POLICY, at(30)).unwrap();
    assert_eq!(sync.attempts.count, 1);
    let event = Event::Tagged {
        seen: seen(None),
        synced_at: at(31),
    };
    sync.apply(event, 1, at(31)).unwrap();
    assert_eq!(sync.attempts, Attempts::default());
}

#[test]
fn an_event_that_cannot_be_changes_nothing() {
    let mut sync = in_state(tagged());
    let before = sync.clone();
    sync.apply(Event::Changed, 1, at(40)).unwrap_err();
    assert_eq!(sync, before);
}

#[test]
fn failures_add_up_until_the_sync_is_given_up() {
    let mut sync = sync(None);
    sync.attempts.backoff_total = Duration::from_secs(59);
    sync.fail(failure(), 1, &POLICY, at(30)).unwrap();
    assert_eq!((sync.state.label(), sync.next_attempt_at), ("requested", at(31)));
    assert_eq!(sync.attempts.last_error, Some(RejectReason::WriteContention));
    sync.fail(failure(), 1, &POLICY, at(31)).unwrap();
    assert_eq!(sync.state.label(), "rejected", "after a minute of waiting, exactly");
}

#[test]
fn a_result_that_is_known_is_written_however_long_it_takes() {
    for state in [tagged(), rejected()] {
        let mut sync = in_state(state.clone());
        sync.attempts.backoff_total = Duration::from_secs(1_000_000);
        sync.fail(failure(), 1, &POLICY, at(30)).unwrap();
        assert_eq!((sync.state, sync.attempts.count), (state, 1));
    }
}

#[test]
fn a_sync_has_failed_where_an_attempt_of_its_own_did_or_a_call_that_it_shared() {
    let none = sync(None);
    assert!(!none.has_failed());
    let mut alone = none.clone();
    alone.fail(failure(), 1, &POLICY, at(30)).unwrap();
    assert_eq!((alone.bisect_limit, alone.has_failed()), (None, true));
    let mut shared = none;
    shared.bisect(8, at(30));
    assert_eq!((shared.attempts.count, shared.has_failed()), (0, true));
    let event = Event::Upserted {
        delivered: delivered(),
        seen: seen(None),
        tag_not_before: at(45),
    };
    shared.apply(event, 1, at(31)).unwrap();
    assert!(!shared.has_failed(), "its next stage begins without");
}

#[test]
fn a_suspect_waits_without_its_waiting_being_counted_and_stands_out_once_others_succeed() {
    let mut sync = sync(None);
    assert!(!sync.others_succeeded(5), "it has not failed");
    sync.fail_uncounted(failure(), 5, &POLICY, at(30));
    assert_eq!((sync.attempts.count, sync.attempts.backoff_total), (1, Duration::ZERO));
    assert_eq!(sync.next_attempt_at, at(31));
    assert!(!sync.others_succeeded(5), "no other has succeeded since");
    assert!(sync.others_succeeded(6));
}

#[test]
fn who_cancels_has_a_name_and_so_has_every_state() {
    assert_eq!(
        [CancelledBy::Lead, CancelledBy::Operator].map(CancelledBy::label),
        ["lead", "operator"]
    );
    for by in [CancelledBy::Lead, CancelledBy::Operator] {
        assert_eq!(CancelledBy::from_label(by.label()), Some(by));
    }
    assert_eq!(CancelledBy::from_label("unknown"), None);
    assert_eq!(tagged().to_string(), "tagged");
}

#[test]
fn who_asks_has_a_name() {
    let names = Source::ALL.map(Source::label);
    assert_eq!(names, ["webhook", "reconciliation", "manual", "retry"]);
    assert_eq!(SyncId(7).to_string(), "7");
}

#[test]
fn a_person_in_a_hurry_ends_a_wait_and_brings_no_tag_forward() {
    let cases = [
        ("a wait after a failure is over", in_state(tagged()), 90, 50),
        ("what is due keeps its place", in_state(tagged()), 40, 40),
        ("a tag that failed waits no longer", in_state(upserted()), 90, 50),
        ("a tag that is due keeps its place", in_state(upserted()), 40, 40),
    ];
    for (label, mut sync, due, expected) in cases {
        sync.next_attempt_at = at(due);
        sync.make_due_now(at(50));
        assert_eq!(sync.next_attempt_at, at(expected), "{label}");
    }
    let mut early = in_state(upserted());
    early.next_attempt_at = at(90);
    early.make_due_now(at(10));
    assert_eq!(early.next_attempt_at, at(25), "not before the tag's own time");
}
