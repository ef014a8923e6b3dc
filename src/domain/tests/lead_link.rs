//! What the store remembers of a lead after its syncs.

use super::*;
use crate::domain::decide::settles_at;
use crate::domain::lead_link::LeadLink;
use crate::domain::state::Event;

#[test]
fn what_was_read_and_answered_is_remembered() {
    let mut link = LeadLink::default();
    link.update(&Event::Changed, &in_state(upserted()));
    assert_eq!(link.seen, Some(revision(10, "r10")), "what was read");
    let late = SyncJob {
        requests: sync(Some(revision(12, "r12"))).requests,
        ..in_state(State::Sent {
            delivered: delivered(),
            synced_at: at(30),
        })
    };
    link.update(&Event::WrittenBack, &late);
    assert_eq!(link.seen, Some(revision(12, "r12")), "what was asked for, and is done");
    assert_eq!(
        (link.sent_hash.as_deref(), link.synced_at),
        (Some("hash"), Some(at(30)))
    );
    link.update(&Event::Changed, &in_state(upserted()));
    assert_eq!(link.seen, Some(revision(12, "r12")), "an older revision is no news");

    let failed = SyncJob {
        requests: sync(Some(revision(14, "r14"))).requests,
        ..in_state(State::Failed {
            reason: RejectReason::NameMissing,
            contact: None,
        })
    };
    link.update(&Event::WrittenBack, &failed);
    assert_eq!(link.seen, Some(revision(14, "r14")), "FAILED is an answer too");
}

#[test]
fn a_contact_that_is_gone_is_forgotten() {
    let mut link = LeadLink::default();
    link.update(&Event::Changed, &in_state(upserted()));
    assert_eq!(link.contact, Some(contact("7")));
    link.update(&Event::Changed, &sync(None));
    assert_eq!(
        link.contact,
        Some(contact("7")),
        "a sync that knows no contact says nothing"
    );
    link.update(&Event::ContactGone, &sync(None));
    assert_eq!(link.contact, None);
}

#[test]
fn what_was_sent_is_forgotten_once_bigin_has_something_else() {
    let failed = State::Failed {
        reason: RejectReason::NameMissing,
        contact: None,
    };
    for (state, kept) in [
        (upserted(), false),
        (failed, false),
        (tagged(), true),
        (rejected(), true),
    ] {
        let mut link = LeadLink {
            sent_hash: Some("hash".to_owned()),
            ..LeadLink::default()
        };
        let label = state.label();
        link.update(&Event::Changed, &in_state(state));
        assert_eq!(link.sent_hash.is_some(), kept, "{label}");
    }
}

#[test]
fn what_a_person_cancelled_is_declined_until_the_lead_changes() {
    let mut link = LeadLink::default();
    assert!(!link.is_declined(Some(&revision(10, "r10"))));
    let mut cancelled = sync(Some(revision(10, "r10")));
    cancelled.apply(Event::Cancelled, 1, at(20)).unwrap();
    link.update(&Event::Cancelled, &cancelled);
    assert!(link.is_declined(Some(&revision(10, "r10"))));
    assert!(
        link.is_declined(Some(&revision(20, "r20"))),
        "an edit before the cancellation"
    );
    assert!(!link.is_declined(Some(&revision(21, "r21"))), "requested again");
    assert!(!link.is_declined(None));

    let mut withdrawn = sync(Some(revision(30, "r30")));
    withdrawn.apply(Event::Withdrawn, 1, at(40)).unwrap();
    link.update(&Event::Withdrawn, &withdrawn);
    assert!(
        !link.is_declined(Some(&revision(30, "r30"))),
        "the lead itself withdrew"
    );
}

#[test]
fn what_was_cancelled_is_declined_also_where_sanitys_clock_is_ahead() {
    let mut cancelled = sync(Some(revision(100, "r100")));
    cancelled.apply(Event::Cancelled, 1, at(20)).unwrap();
    let mut link = LeadLink::default();
    link.update(&Event::Cancelled, &cancelled);
    assert!(link.is_declined(Some(&revision(100, "r100"))));
    assert!(!link.is_declined(Some(&revision(101, "r101"))));

    let mut read = LeadLink {
        seen: Some(revision(110, "r110")),
        ..LeadLink::default()
    };
    read.update(&Event::Cancelled, &cancelled);
    assert!(
        read.is_declined(Some(&revision(110, "r110"))),
        "an edit that a worker has read"
    );
}

#[test]
fn an_insert_that_may_still_be_applied_holds_its_lead_back_until_then() {
    let mut link = LeadLink::default();
    assert_eq!(settles_at(&link, at(10)), None, "nothing is under way");
    link.expect_insert(&sync(None), at(60));
    link.expect_insert(&sync(None), at(50));
    for (now, expected) in [(10, Some(at(60))), (59, Some(at(60))), (60, None), (61, None)] {
        assert_eq!(settles_at(&link, at(now)), expected, "{now} seconds");
    }
    link.update(&Event::Changed, &in_state(upserted()));
    assert_eq!(settles_at(&link, at(10)), None, "its contact is known");
}

#[test]
fn a_contact_is_looked_for_from_the_first_sync_on_that_may_have_created_it() {
    let later = SyncJob {
        created_at: at(100),
        ..sync(None)
    };
    let mut link = LeadLink::default();
    link.expect_insert(&sync(None), at(60));
    link.expect_insert(&later, at(160));
    assert_eq!(link.created_from, Some(at(0)));
}
