//! What happened in all runs together, and what must have happened for them to prove anything.

use std::collections::BTreeMap;
use std::fmt;

use super::plan::Op;

/// What a write to Bigin can meet beside [`FAULTS`].
const WRITES: &[&str] = &[
    "RateLimited",
    "TokenRefused",
    "NoCredits",
    "Record",
    "EveryRecord",
    "Body",
    "Partial",
];

/// What a read of Bigin can meet.
const READS: &[&str] = &["RateLimited", "TokenRefused", "NoCredits"];

/// The operations that meet faults, in how many runs each of the faults is wanted once, and the faults that only some
/// operations can meet. All numbers are set so that about a quarter of what was seen in 4000 seeds is wanted.
const OPS: [(Op, u64, &[&str]); 10] = [
    (Op::Grant, 190, &["Throttled", "TokenError", "Partial"]),
    (Op::Upsert, 65, WRITES),
    (Op::Update, 240, WRITES),
    (Op::AddTags, 65, WRITES),
    (
        Op::Fields,
        190,
        &["RateLimited", "TokenRefused", "NoCredits", "Partial"],
    ),
    (Op::Coql, 150, READS),
    (
        Op::Doc,
        20,
        &["RateLimited", "RateLimitedUntil", "TokenRefused", "Partial"],
    ),
    (
        Op::Mutate,
        45,
        &["RateLimited", "RateLimitedUntil", "TokenRefused", "Conflict", "Partial"],
    ),
    (
        Op::Query,
        75,
        &["RateLimited", "RateLimitedUntil", "TokenRefused", "Partial"],
    ),
    (Op::Alert, 320, &["RateLimited"]),
];

/// The faults that every operation can meet.
const FAULTS: [&str; 10] = [
    "Slow",
    "Hang",
    "Late",
    "LostBefore",
    "LostAfter",
    "Unreachable",
    "Status",
    "Html",
    "WrongShape",
    "Oversize",
];

/// How often a fault happens to an operation, in halves of what others do: `Dice::fault` draws some more often.
fn halves(op: Op, fault: &str) -> u64 {
    match (op, fault) {
        (Op::Upsert, "Late" | "LostAfter") => 6,
        (Op::Upsert, "Hang") | (_, "Slow" | "LostAfter" | "EveryRecord" | "TokenError") => 4,
        // What has nothing to say cannot say less.
        (Op::Query, "Partial") => 1,
        _ => 2,
    }
}

/// The process dies at one of the three steps of a call this many times less often than the call meets a fault.
const DEATHS: u64 = 6;

/// What people and services do, and the states in which the process died: in how many runs each is wanted once.
const ACTS: [(u64, &[&str]); 8] = [
    (1, &["requested", "requested again", "ended sent"]),
    (4, &["edited", "an alert is sent", "ended failed"]),
    (
        8,
        &[
            "withdrawn",
            "tokens are dropped",
            "spoilt",
            "mended",
            "dead while requested",
            "dead while requested and claimed",
            "dead while upserted",
        ],
    ),
    (
        13,
        &[
            "a person asks",
            "a draft is begun",
            "a draft is published",
            "a stale draft is published",
            "a sync is retried",
            "a service is checked",
            "a webhook is lost",
            "a webhook is repeated",
            "an old webhook comes again",
            "webhooks out of order",
            "Bigin is down",
            "Sanity is down",
            "no credits",
            "no credits for a write",
            "a scope is missing",
            "a lead may not be read",
            "a lead is not mentioned",
            "death at begin",
            "death at commit",
            "Upsert lasting Hang",
        ],
    ),
    (
        25,
        &[
            "deleted",
            "unpublished",
            "a contact is deleted",
            "a contact is merged",
            "a contact is denied",
            "Upsert lasting Status",
            "all is paused",
            "dead while upserted and claimed",
            "ended cancelled",
        ],
    ),
    (
        45,
        &[
            "a version is made",
            "duplicated",
            "dead while tagged",
            "dead while tagged and claimed",
            "ended lead_deleted",
        ],
    ),
    (
        140,
        &[
            "a sync is cancelled",
            "an alert is refused",
            "death at webhook",
            "dead while rejected",
            "dead while rejected and claimed",
        ],
    ),
    // Few calls are about several contacts.
    (700, &["AddTags Swapped", "AddTags WrongRecord"]),
];

/// Fewer are not demanded: whether a thing happens once or not is chance.
const FEWEST: u64 = 6;

/// How often each thing happened, and the greatest of each measure with the seed that it is of.
#[derive(Debug, Default)]
pub struct Coverage(BTreeMap<String, usize>, BTreeMap<&'static str, (u64, u64)>);

impl Coverage {
    pub fn measure(&mut self, seed: u64, measures: [(&'static str, u64); 10]) {
        for (what, value) in measures {
            let greatest = self.1.entry(what).or_default();
            *greatest = (value, seed).max(*greatest);
        }
    }

    pub fn add(&mut self, seen: &BTreeMap<String, usize>) {
        for (what, times) in seen {
            *self.0.entry(what.clone()).or_default() += times;
        }
    }

    /// What happened too rarely in so many runs.
    pub fn too_rare(&self, runs: u64) -> Vec<String> {
        let faults = OPS.iter().flat_map(|(op, in_runs, own)| {
            let faults = FAULTS.iter().chain(own.iter());
            faults.map(move |fault| (format!("{op:?} {fault}"), in_runs * 2 / halves(*op, fault)))
        });
        let deaths = OPS.iter().flat_map(|(op, in_runs, _)| {
            let steps = ["call", "work", "answer"];
            steps.map(|step| (format!("death at {step} {op:?}"), in_runs * DEATHS))
        });
        let acts = ACTS
            .iter()
            .flat_map(|(in_runs, acts)| acts.iter().map(|act| ((*act).to_owned(), *in_runs)));
        let required = faults.chain(deaths).chain(acts);
        let rare = required.filter_map(|(what, in_runs)| {
            let least = runs / in_runs;
            let times = self.0.get(&what).copied().unwrap_or(0) as u64;
            (least >= FEWEST && times < least).then(|| format!("{what}: {times} of {least}"))
        });
        rare.collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, times) in &self.0 {
            writeln!(f, "{times:>9}  {what}")?;
        }
        for (what, (value, seed)) in &self.1 {
            writeln!(f, "{value:>9}  {what} (seed {seed})")?;
        }
        Ok(())
    }
}
