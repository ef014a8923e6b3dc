//! The whole table of state × event: legal pairs with what follows, all others with an error that names both.

use std::time::Duration;

use super::*;
use crate::domain::reject_reason::RejectReason;

fn at(seconds: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn contact() -> ContactId {
    ContactId::parse("7618134000000646043").unwrap()
}

fn delivered() -> Delivered {
    Delivered {
        contact: contact(),
        action: Action::Insert,
        hash: "h".into(),
        keys: Vec::new(),
    }
}

fn seen(requests: u32) -> Seen {
    Seen {
        requests,
        revision: Some(Revision {
            updated_at: at(1),
            rev: Some("r".into()),
        }),
    }
}

fn states() -> Vec<State> {
    vec![
        State::Requested {
            contact: None,
            contact_created: false,
            force_create: false,
        },
        State::Upserted {
            delivered: delivered(),
            seen: seen(1),
            tag_not_before: at(15),
        },
        State::Tagged {
            delivered: delivered(),
            seen: seen(1),
            synced_at: at(16),
        },
        State::Rejected {
            reason: RejectReason::NameMissing,
            contact: Some(contact()),
            seen: seen(1),
        },
        State::Sent {
            delivered: delivered(),
            synced_at: at(16),
        },
        State::Failed {
            reason: RejectReason::NameMissing,
            contact: None,
        },
        State::LeadDeleted,
        State::Cancelled { by: CancelledBy::Lead },
    ]
}

fn events() -> Vec<Event> {
    vec![
        Event::Upserted {
            delivered: delivered(),
            seen: seen(1),
            tag_not_before: at(15),
        },
        Event::ContactUpserted { tag_not_before: at(30) },
        Event::Restored {
            delivered: delivered(),
            seen: seen(2),
            synced_at: at(9),
        },
        Event::Changed,
        Event::ContactGone,
        Event::Tagged {
            seen: seen(2),
            synced_at: at(16),
        },
        Event::Rejected {
            reason: RejectReason::ApprovalPending,
            seen: seen(2),
        },
        Event::RequestedAgain,
        Event::WrittenBack,
        Event::LeadDeleted,
        Event::Withdrawn,
        Event::Cancelled,
    ]
}

/// State label, event label, and the label of what follows; every pair that is not here is illegal.
const LEGAL: [(&str, &str, &str); 26] = [
    ("requested", "upserted", "upserted"),
    ("requested", "restored", "tagged"),
    ("requested", "contact_gone", "requested"),
    ("requested", "rejected", "rejected"),
    ("requested", "lead_deleted", "lead_deleted"),
    ("requested", "withdrawn", "cancelled"),
    ("requested", "cancelled", "cancelled"),
    ("upserted", "contact_upserted", "upserted"),
    ("upserted", "changed", "requested"),
    ("rejected", "changed", "requested"),
    ("upserted", "contact_gone", "requested"),
    ("upserted", "tagged", "tagged"),
    ("upserted", "rejected", "rejected"),
    ("upserted", "lead_deleted", "lead_deleted"),
    ("upserted", "withdrawn", "cancelled"),
    ("upserted", "cancelled", "cancelled"),
    ("tagged", "requested_again", "requested"),
    ("tagged", "written_back", "sent"),
    ("tagged", "lead_deleted", "lead_deleted"),
    ("tagged", "withdrawn", "cancelled"),
    ("tagged", "cancelled", "cancelled"),
    ("rejected", "requested_again", "requested"),
    ("rejected", "written_back", "failed"),
    ("rejected", "lead_deleted", "lead_deleted"),
    ("rejected", "withdrawn", "cancelled"),
    ("rejected", "cancelled", "cancelled"),
];

#[test]
fn every_pair_of_state_and_event_is_legal_or_a_typed_error() {
    let mut legal = 0;
    for state in states() {
        for event in events() {
            let pair = (state.label(), event.label());
            let expected = LEGAL
                .iter()
                .find(|(s, e, _)| (*s, *e) == pair)
                .map(|(_, _, next)| *next);
            let actual = apply(state.clone(), event);
            match expected {
                Some(next) => {
                    legal += 1;
                    assert_eq!(actual.map(|state| state.label()), Ok(next), "{pair:?}");
                }
                None => assert_eq!(
                    actual,
                    Err(IllegalEvent {
                        state: pair.0,
                        event: pair.1
                    })
                ),
            }
        }
    }
    assert_eq!(legal, LEGAL.len(), "each row of the table was met");
}

#[test]
fn the_labels_are_those_of_the_states() {
    let labels: Vec<_> = states().iter().map(State::label).collect();
    assert_eq!(labels, State::LABELS);
}

#[test]
fn only_a_lead_that_was_refused_has_a_reason() {
    for state in states() {
        let is_refused = ["rejected", "failed"].contains(&state.label());
        let expected = is_refused.then_some(&RejectReason::NameMissing);
        assert_eq!(state.reason(), expected, "{}", state.label());
    }
}

#[test]
fn a_final_state_takes_no_event_at_all() {
    for state in states().into_iter().filter(State::is_final) {
        for event in events() {
            assert!(apply(state.clone(), event).is_err());
        }
    }
}

#[test]
fn a_round_that_starts_anew_keeps_the_contact() {
    let upserted = State::Upserted {
        delivered: delivered(),
        seen: seen(1),
        tag_not_before: at(15),
    };
    let tagged = State::Tagged {
        delivered: delivered(),
        seen: seen(1),
        synced_at: at(16),
    };
    let known = Ok(State::Requested {
        contact: Some(contact()),
        contact_created: true,
        force_create: false,
    });
    assert_eq!(apply(upserted.clone(), Event::Changed), known);
    assert_eq!(apply(tagged, Event::RequestedAgain), known);
    assert_eq!(
        apply(upserted, Event::ContactGone),
        Ok(State::Requested {
            contact: None,
            contact_created: false,
            force_create: true
        })
    );
}

#[test]
fn a_tag_is_moved_later_and_never_earlier() {
    let upserted = State::Upserted {
        delivered: delivered(),
        seen: seen(1),
        tag_not_before: at(15),
    };
    for (moved_to, expected) in [(30, 30), (10, 15)] {
        let next = apply(
            upserted.clone(),
            Event::ContactUpserted {
                tag_not_before: at(moved_to),
            },
        );
        assert_eq!(
            next,
            Ok(State::Upserted {
                delivered: delivered(),
                seen: seen(1),
                tag_not_before: at(expected)
            })
        );
    }
}

#[test]
fn a_contact_that_the_sync_has_made_stays_one_that_it_made() {
    let upserted = State::Upserted {
        delivered: delivered(),
        seen: seen(1),
        tag_not_before: at(15),
    };
    let round = apply(upserted, Event::Changed).unwrap();
    for (contact_now, expected) in [
        (contact(), Action::Insert),
        (ContactId::parse("1").unwrap(), Action::Update),
    ] {
        let found = Delivered {
            contact: contact_now,
            action: Action::Update,
            hash: "h2".into(),
            keys: Vec::new(),
        };
        let event = Event::Upserted {
            delivered: found,
            seen: seen(1),
            tag_not_before: at(30),
        };
        let State::Upserted { delivered, .. } = apply(round.clone(), event).unwrap() else {
            panic!("it is upserted");
        };
        assert_eq!(delivered.action, expected);
    }
}
