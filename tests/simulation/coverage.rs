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

/// The operations that meet faults, and the faults that only some of them can meet.
const OPS: [(Op, &[&str]); 9] = [
    (Op::Grant, &["Throttled", "TokenError", "Partial"]),
    (Op::Upsert, WRITES),
    (Op::Update, WRITES),
    (Op::AddTags, WRITES),
    (Op::Fields, &["RateLimited", "TokenRefused", "NoCredits"]),
    (Op::Coql, &["RateLimited", "TokenRefused", "NoCredits"]),
    (Op::Doc, &["RateLimited", "TokenRefused", "Partial"]),
    (Op::Mutate, &["RateLimited", "TokenRefused", "Conflict", "Partial"]),
    (Op::Query, &["RateLimited", "TokenRefused", "Partial"]),
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

/// What people and services do, and the states in which the process died.
const ACTS: [&str; 46] = [
    "requested",
    "requested again",
    "a person asks",
    "withdrawn",
    "deleted",
    "unpublished",
    "edited",
    "spoilt",
    "mended",
    "a draft is begun",
    "a draft is published",
    "a stale draft is published",
    "a version is made",
    "duplicated",
    "a contact is deleted",
    "a contact is merged",
    "a contact is denied",
    "a sync is retried",
    "a service is checked",
    "all is paused",
    "a webhook is lost",
    "a webhook is repeated",
    "an old webhook comes again",
    "webhooks out of order",
    "Bigin is down",
    "Sanity is down",
    "no credits",
    "no credits for a write",
    "a scope is missing",
    "tokens are dropped",
    "a lead may not be read",
    "a lead is not mentioned",
    "death at begin",
    "death at commit",
    "death at webhook",
    "dead while requested",
    "dead while requested and claimed",
    "dead while upserted",
    "dead while upserted and claimed",
    "dead while tagged",
    "dead while tagged and claimed",
    "dead while rejected",
    "ended sent",
    "ended failed",
    "ended lead_deleted",
    "ended cancelled",
];

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
        let faults = OPS.iter().flat_map(|(op, own)| {
            let faults = FAULTS.iter().chain(own.iter());
            faults.map(move |fault| (format!("{op:?} {fault}"), 400))
        });
        let deaths = OPS.iter().flat_map(|(op, _)| {
            let steps = ["call", "work", "answer"];
            steps.map(|step| (format!("death at {step} {op:?}"), 3_000))
        });
        // A process seldom dies while a lead is rejected and its result is not written yet.
        let acts = ACTS
            .iter()
            .map(|act| ((*act).to_owned(), if act.starts_with("dead") { 200 } else { 100 }));
        let required = faults.chain(deaths).chain(acts);
        let rare = required.filter_map(|(what, in_runs)| {
            let least = usize::try_from(runs / in_runs).unwrap();
            let times = self.0.get(&what).copied().unwrap_or(0);
            (times < least).then(|| format!("{what}: {times} of {least}"))
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
