//! The state machine, exhaustively: every interleaving of two leads and two workers, of crashes, late answers, faults and
//! people's wishes, up to a number of each. Where random walks and simulated runs meet a state by luck, this meets all.
//!
//! # What is searched
//! The judgements are the domain's own functions: [`crate::domain::decide`] before each call, [`crate::domain::sync`] after
//! it, with its states, its failures and its memory. Around them stand small models of what is not pure, each a file:
//!
//! - [`world`]: the state. Time is relative, so that the same situation at two times is one state.
//! - [`steps`]: the transitions. A worker claims a sync, acts on it, and records the outcome; time passes, a process dies, a
//!   webhook arrives, a lost insert is applied, a person does something between any two of these.
//! - [`store`]: what the database does with rows. [`workers`]: what a worker makes of an answer. [`bigin`]: contacts.
//! - [`scenario`]: whose the leads are, how long delays are, and how often what may happen.
//!
//! [`properties`] has what holds in every state. [`search`] goes breadth first, so that what it finds is a shortest story, and
//! then follows from every state the one schedule that is fair and without faults: **every sync ends**. A return that is at
//! once and uncounted is watched for on every edge.
//!
//! # What is assumed
//! - The model of the store is right: `store_model` and the stories in `tests/it` test the real one. It is the store of several
//!   replicas, where leases alone keep workers apart; within one process there is a lock besides.
//! - One sync a call, no breakers, no bisection: these change when a sync is sent, and not what follows. The service always
//!   has accepted another record than the one that failed, or not: contrast is part of the state.
//! - A call is sent as long as its lease holds, and is over before the lease is. Bigin applies an insert up to
//!   `AMBIGUITY_DELAY` after that, and everything else at the time of the call. See "What is not covered" in
//!   `docs/RELIABILITY.md` for what is lost where that is not so.
//! - Every two revisions of a lead share a second. No webhook is lost for good: reconciliation is another webhook.
//!
//! # Why not `stateright`
//! The search is a hundred lines, and the rest, the model, would be needed for it as well. Liveness there is "eventually" on
//! paths without cycles, and what is asked here is an end within a bound under a fair schedule, from every state.

mod bigin;
mod key;
mod properties;
mod scenario;
mod search;
mod steps;
mod store;
mod workers;
mod world;

use self::scenario::{Answer, Identity, LEADS, Scenario, Wish};
use self::search::search;
use self::world::Budget;

/// Two people wrote with one address, or one person twice.
const ONE_EMAIL: [Identity; LEADS] = [Identity::Email(1), Identity::Email(1)];

/// One lead has no unique value.
const NO_EMAIL: [Identity; LEADS] = [Identity::Phone(1), Identity::Email(2)];

const ANY_FAULT: &[Answer] = &[
    Answer::Refused,
    Answer::Busy,
    Answer::LostDone,
    Answer::LostUndone,
    Answer::LostLate,
    Answer::Contradiction,
];

const LOST_REPLIES: &[Answer] = &[Answer::LostDone, Answer::LostUndone, Answer::LostLate];

const ANY_WISH: &[Wish] = &[
    Wish::Edit,
    Wish::Ask,
    Wish::AskChanged,
    Wish::PublishStale,
    Wish::Withdraw,
    Wish::DeleteLead,
    Wish::Cancel,
    Wish::Retry,
    Wish::DeleteContact,
    Wish::MergeContact,
];

const EDITORS: &[Wish] = &[Wish::Edit, Wish::AskChanged, Wish::Withdraw];

const NOTHING: Budget = Budget {
    faults: 0,
    crashes: 0,
    wishes: 0,
    stalls: 0,
};

#[test]
fn two_faults_and_a_crash() {
    assert_holds(Scenario {
        leads: ONE_EMAIL,
        faults: ANY_FAULT,
        wishes: &[],
        wished_for: &[],
        budget: Budget {
            faults: 2,
            crashes: 1,
            ..NOTHING
        },
    });
}

#[test]
fn two_lost_replies_and_a_crash_without_a_unique_value() {
    assert_holds(Scenario {
        leads: NO_EMAIL,
        faults: LOST_REPLIES,
        wishes: &[],
        wished_for: &[],
        budget: Budget {
            faults: 2,
            crashes: 1,
            ..NOTHING
        },
    });
}

#[test]
fn two_wishes_of_editors() {
    assert_holds(Scenario {
        leads: ONE_EMAIL,
        faults: &[],
        wishes: EDITORS,
        wished_for: &[0, 1],
        budget: Budget { wishes: 2, ..NOTHING },
    });
}

#[test]
fn any_wish_and_a_crash() {
    assert_holds(Scenario {
        leads: ONE_EMAIL,
        faults: &[],
        wishes: ANY_WISH,
        wished_for: &[0],
        budget: Budget {
            crashes: 1,
            wishes: 1,
            ..NOTHING
        },
    });
}

#[test]
fn any_wish_and_a_lost_reply_without_a_unique_value() {
    assert_holds(Scenario {
        leads: NO_EMAIL,
        faults: &[Answer::LostLate],
        wishes: ANY_WISH,
        wished_for: &[0],
        budget: Budget {
            faults: 1,
            wishes: 1,
            ..NOTHING
        },
    });
}

#[test]
fn stalled_workers() {
    assert_holds(Scenario {
        leads: ONE_EMAIL,
        faults: &[],
        wishes: &[],
        wished_for: &[],
        budget: Budget { stalls: 4, ..NOTHING },
    });
}

/// Searches a scenario. `SEARCH_MORE=1` has everything that it counts happen once more often.
#[expect(clippy::print_stdout, reason = "how much was searched is the result")]
fn assert_holds(mut scenario: Scenario) {
    let more = more();
    let Budget {
        faults,
        crashes,
        wishes,
        stalls,
    } = &mut scenario.budget;
    for count in [faults, crashes, wishes, stalls]
        .into_iter()
        .filter(|count| **count > 0)
    {
        *count += more;
    }
    match search(&scenario) {
        Ok(searched) => println!(
            "{} states and {} steps between them; from each of them every sync ends within {} steps",
            searched.states, searched.steps, searched.longest
        ),
        Err(broken) => panic!("{broken}"),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "asks for a longer search, and is no setting of the program"
)]
fn more() -> u8 {
    std::env::var("SEARCH_MORE").map_or(0, |more| more.parse().expect("a number"))
}
