//! Stories that hold, as a failing seed is printed: for those that a seed has told once, and must not tell again.

use std::time::Duration;

use super::plan::{Act, Fault, Op, Plan, Profile, SECOND};
use super::run::holds;

fn plain() -> Profile {
    Profile {
        lead_id_field: false,
        corrections: false,
        poison: false,
        hang: false,
        contradicts: false,
        large: 0,
        latency: 0,
        per_record: 0,
        disk: 0,
        deliveries: 1,
        without_content: 0,
        late_inserts: Duration::from_secs(1),
    }
}

/// Every lead's upsert is applied after its deadline, and the process dies while it waits for that to settle.
#[test]
fn late_inserts_and_a_death_make_no_second_contact() {
    for seed in 1..=5 {
        let requests = (0..4).map(|lead| (lead * SECOND, Act::Request(usize::try_from(lead).unwrap())));
        holds(&Plan {
            seed,
            profile: plain(),
            acts: requests.collect(),
            faults: (0..4).map(|nth| (Op::Upsert, nth, Fault::Late(100 * SECOND))).collect(),
            deaths: vec![(40, 5 * SECOND)],
        });
    }
}

/// Bigin refuses the token at the end of a slow call, so that its step gives up before the token endpoint answers, and rate limits.
#[test]
fn heeds_rate_limit_of_token_after_timeout() {
    holds(&Plan {
        seed: 24_083,
        profile: Profile {
            lead_id_field: true,
            corrections: true,
            latency: 28 * SECOND,
            without_content: 1,
            ..plain()
        },
        acts: vec![
            (40_070, Act::Request(7)),
            (45_450, Act::Request(0)),
            (45_450, Act::Request(1)),
            (45_450, Act::Request(2)),
            (202_214, Act::Request(9)),
            (238_391, Act::PauseAll(true)),
            (379_998, Act::PauseAll(false)),
        ],
        faults: vec![
            (Op::Grant, 1, Fault::Throttled),
            (Op::Upsert, 3, Fault::TokenRefused),
            (Op::Doc, 4, Fault::Unreachable),
            (Op::Doc, 7, Fault::Slow(27_303)),
            (Op::Doc, 11, Fault::LostBefore),
        ],
        deaths: Vec::new(),
    });
}

/// A lead without an email is duplicated while its insert is ambiguous. With one number, the look-up of the copy could not find the
/// contact yet (`docs/RELIABILITY.md`, What may not happen), so the copy has its own.
#[test]
fn copy_beside_late_insert_has_its_own_contact() {
    holds(&Plan {
        seed: 24_384,
        profile: plain(),
        acts: vec![
            (34_941, Act::Request(5)),
            (54_045, Act::Request(1)),
            (54_045, Act::Request(6)),
            (68_055, Act::Duplicate(6)),
        ],
        faults: vec![(Op::Upsert, 2, Fault::Late(134_415))],
        deaths: Vec::new(),
    });
}

/// An operator's cancellation is carried out at the moment at which its wait for the worker ends.
#[test]
fn cancellation_that_is_carried_out_is_answered_so() {
    holds(&Plan {
        seed: 89_706,
        profile: Profile {
            lead_id_field: true,
            corrections: true,
            latency: 2_000,
            ..plain()
        },
        acts: vec![
            (13_681, Act::Request(0)),
            (13_681, Act::Request(1)),
            (13_681, Act::Request(3)),
            (13_681, Act::Request(4)),
            (13_681, Act::Request(5)),
            (13_681, Act::Request(6)),
            (13_681, Act::Request(11)),
            (29_277, Act::Request(8)),
            (77_133, Act::Request(8)),
            (94_546, Act::Request(12)),
            (162_604, Act::Request(9)),
            (190_443, Act::Cancel(11)),
        ],
        faults: vec![
            (Op::Upsert, 5, Fault::Late(162_884)),
            (Op::AddTags, 6, Fault::Oversize),
            (Op::Doc, 3, Fault::Html(502)),
        ],
        deaths: vec![(184, 4_766), (291, 1_550)],
    });
}

/// A step fails to read a lead, and then is told to wait when it writes another: the wait counts.
#[test]
fn longest_wait_of_a_step_counts() {
    holds(&Plan {
        seed: 2_872,
        profile: plain(),
        acts: vec![
            (8_925, Act::Request(0)),
            (8_925, Act::Request(1)),
            (8_925, Act::Request(5)),
            (8_925, Act::Request(9)),
            (23_505, Act::Request(3)),
        ],
        faults: vec![
            (Op::AddTags, 0, Fault::NoCredits),
            (Op::Fields, 0, Fault::Hang),
            (Op::Fields, 1, Fault::Status(500)),
            (Op::Fields, 2, Fault::Late(174_306)),
            (Op::Coql, 0, Fault::LostAfter),
            (Op::Coql, 1, Fault::Slow(18_064)),
            (Op::Doc, 6, Fault::LostAfter),
            (Op::Doc, 10, Fault::Oversize),
            (Op::Doc, 11, Fault::Hang),
            (Op::Doc, 13, Fault::LostBefore),
            (Op::Mutate, 0, Fault::Unreachable),
            (Op::Mutate, 1, Fault::RateLimited(Some(600))),
        ],
        deaths: vec![(197, 603)],
    });
}

/// Bigin applies a tag after the process that sent it has died, and denies the contact to the next process.
#[test]
fn tag_in_flight_at_death_is_followed_by_no_upsert() {
    holds(&Plan {
        seed: 7447,
        profile: Profile {
            lead_id_field: true,
            corrections: true,
            latency: 200,
            disk: 500,
            ..plain()
        },
        acts: vec![
            (21709, Act::Request(0)),
            (21709, Act::Request(4)),
            (21709, Act::Request(5)),
            (21709, Act::Request(7)),
            (228498, Act::Request(1)),
            (279372, Act::Request(3)),
            (384760, Act::Request(8)),
            (416431, Act::Request(6)),
            (496620, Act::OldWebhookAgain),
        ],
        faults: vec![
            (Op::Upsert, 3, Fault::LostAfter),
            (Op::AddTags, 1, Fault::Slow(9661)),
            (Op::AddTags, 2, Fault::EveryRecord("RECORD_NOT_FOUND")),
            (Op::Doc, 7, Fault::Unreachable),
            (Op::Doc, 9, Fault::RateLimited(Some(600))),
            (Op::Mutate, 0, Fault::TokenRefused),
        ],
        deaths: vec![(39, 9721), (141, 1297), (216, 319)],
    });
}

/// Sanity rate limits a call that has begun before the breaker opened, while a probe is in flight that it then answers.
#[test]
fn rate_limit_outlasts_probe_in_flight() {
    holds(&Plan {
        seed: 84493,
        profile: Profile {
            lead_id_field: true,
            corrections: true,
            latency: 2000,
            per_record: 2643,
            without_content: 1,
            ..plain()
        },
        acts: vec![
            (4930, Act::Request(2)),
            (4930, Act::Request(3)),
            (4930, Act::Request(4)),
            (4930, Act::Request(5)),
        ],
        faults: vec![
            (Op::Upsert, 1, Fault::Oversize),
            (Op::Upsert, 2, Fault::Late(166882)),
            (Op::Upsert, 3, Fault::Hang),
            (Op::Upsert, 5, Fault::WrongShape(3)),
            (Op::Upsert, 7, Fault::Status(500)),
            (Op::AddTags, 0, Fault::EveryRecord("LIMIT_EXCEEDED")),
            (Op::AddTags, 1, Fault::LostBefore),
            (Op::Doc, 1, Fault::LostAfter),
            (Op::Doc, 4, Fault::TokenRefused),
            (Op::Doc, 10, Fault::Slow(24191)),
            (Op::Doc, 12, Fault::Late(165697)),
            (Op::Doc, 15, Fault::Html(502)),
            (Op::Mutate, 0, Fault::RateLimitedUntil(30)),
        ],
        deaths: vec![],
    });
}
