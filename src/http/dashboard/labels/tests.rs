//! The words, one situation after the other.

use super::*;
use crate::domain::state::State;
use crate::domain::sync::{Source, SyncId, SyncJob};
use crate::store::SyncView;

fn now() -> Timestamp {
    "2026-11-22T10:00:06Z".parse().unwrap()
}

/// A sync as the API shows it, in this state.
fn sync(state: &'static str) -> SyncJson {
    let lead = crate::domain::lead::LeadId::parse("lead-ada").unwrap();
    let created = "2026-11-22T10:00:00Z".parse().unwrap();
    let sync = SyncJob::create(SyncId(7), lead, Source::Webhook, None, created);
    let view = SyncView {
        sync,
        changed_at: created,
        contact: None,
        next: None,
        dismissed_at: None,
    };
    SyncJson {
        state: state.into(),
        ..SyncJson::new(view, None)
    }
}

fn tag_at(at: &str) -> SyncJson {
    SyncJson {
        tag_not_before: Some(at.parse().unwrap()),
        ..sync("upserted")
    }
}

fn standstill(remotes: &[Remote]) -> Standstill {
    Standstill {
        paused: false,
        remotes: remotes.iter().map(|remote| (*remote, now())).collect(),
    }
}

#[test]
fn every_state_has_a_badge_and_no_badge_is_without_a_state() {
    let labels: Vec<&str> = BADGES.iter().map(|badge| badge.label).collect();
    assert_eq!(labels, State::LABELS);
    assert_eq!(labels, State::SHOWN_NAMES.map(|(label, _)| label));
    for badge in BADGES {
        assert!(!badge.meaning.is_empty() && !badge.icon.is_empty(), "{}", badge.label);
    }
}

#[test]
fn a_countdown_says_what_is_left_of_the_delay() {
    let stand = Standstill::default();
    let delay = Duration::from_secs(15);
    let found = countdown(&tag_at("2026-11-22T10:00:15Z"), &stand, delay, now()).unwrap();
    assert_eq!(
        (found.left.as_str(), found.passed, found.whole),
        ("9\u{a0}s", 6_000, 15_000)
    );
    let longer = countdown(&tag_at("2026-11-22T10:01:06Z"), &stand, delay, now()).unwrap();
    assert_eq!(
        (longer.passed, longer.whole),
        (0, 60_000),
        "never a bar that runs backwards"
    );
    assert_eq!(countdown(&tag_at("2026-11-22T10:00:06Z"), &stand, delay, now()), None);
    let stand = standstill(&[Remote::Bigin]);
    assert_eq!(
        countdown(&tag_at("2026-11-22T10:00:15Z"), &stand, delay, now()),
        None,
        "nothing counts down while Bigin takes nothing"
    );
}

#[test]
fn what_waits_says_for_what() {
    let with = |state: &'static str, stand: &Standstill| sentence(&sync(state), stand, now());
    let nothing = Standstill::default();
    assert_eq!(with("requested", &nothing), "Next in the queue.");
    assert_eq!(
        with("requested", &standstill(&[Remote::Bigin])),
        "Waiting: Bigin is unavailable."
    );
    assert_eq!(
        with("tagged", &standstill(&[Remote::Bigin])),
        "Tagged in Bigin; SENT is being written to Sanity.",
        "for which Bigin is not needed"
    );
    let paused = Standstill {
        paused: true,
        remotes: vec![(Remote::Sanity, now())],
    };
    assert_eq!(with("tagged", &paused), "Waiting: sending is paused.");
    let failing = SyncJson {
        attempts: 2,
        last_error: Some("Bigin returned an error (INTERNAL_ERROR)".to_owned()),
        next_attempt_at: Some("2026-11-22T10:00:10Z".parse().unwrap()),
        ..sync("requested")
    };
    assert_eq!(
        sentence(&failing, &nothing, now()),
        "Attempt 2 failed: Bigin returned an error (INTERNAL_ERROR); retried in 4\u{a0}s."
    );
}

#[test]
fn durations_are_short_and_never_nothing() {
    let cases = [
        (1, "1 s"),
        (1_000, "1 s"),
        (8_001, "9 s"),
        (59_000, "59 s"),
        (60_000, "1 min"),
        (3_600_000, "1 h"),
        (7_500_000, "2 h 5 min"),
        (86_400_000, "1 day"),
        (3 * 86_400_000 + 4 * 3_600_000, "3 days 4 h"),
    ];
    for (ms, words) in cases {
        assert_eq!(lasting(Duration::from_millis(ms)).replace('\u{a0}', " "), words);
    }
}
