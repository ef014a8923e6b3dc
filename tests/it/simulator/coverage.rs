//! What happened in all runs together, and what must have happened for them to prove anything.

use std::collections::BTreeMap;
use std::fmt;

use bigin_sync::fake::{bigin, sanity};

use super::play::Played;

/// What must happen to one process on a file, and in one of how many runs at the least. A few runs need not show what is
/// rarer than they are many.
pub const OF_ONE_PROCESS: [(&str, u64); 68] = [
    // People.
    ("requested", 2),
    ("requested again", 4),
    ("a person asks", 10),
    ("withdrawn", 10),
    ("deleted", 10),
    ("unpublished", 12),
    ("edited", 4),
    ("spoilt", 12),
    ("mended", 12),
    ("a draft is begun", 12),
    ("a draft is published", 20),
    ("a stale draft is published", 12),
    ("a version is made", 20),
    ("duplicated", 20),
    ("a contact is deleted", 25),
    ("a contact is merged", 25),
    // Webhooks.
    ("a webhook is lost", 20),
    ("a webhook is repeated", 20),
    ("an old webhook comes again", 20),
    ("failed webhooks come again", 50),
    ("webhooks out of order", 10),
    // Services.
    ("Bigin is down", 10),
    ("Sanity is down", 10),
    ("no credits", 10),
    ("crowded", 10),
    ("a scope is missing", 10),
    ("tokens are dropped", 10),
    ("latency", 10),
    // What lasts.
    ("a lead hangs", 14),
    ("slow per record", 14),
    ("late inserts", 14),
    ("a large lead", 40),
    ("a lead that is too large", 40),
    // Calls to Bigin.
    ("bigin Status", 10),
    ("bigin Html", 10),
    ("bigin NoReply", 10),
    ("bigin LostReply", 6),
    ("bigin Hang", 10),
    ("bigin Stall", 40),
    ("bigin RateLimited", 6),
    ("bigin RecordError", 10),
    ("bigin RecordLocked", 20),
    ("bigin EveryRecord", 20),
    ("bigin BodyError", 20),
    ("bigin TokenError", 30),
    ("bigin TokenThrottled", 50),
    ("ten minutes of silence", 100),
    // Calls to Sanity.
    ("sanity Status", 6),
    ("sanity Html", 10),
    ("sanity NoReply", 10),
    ("sanity LostReply", 10),
    ("sanity Hang", 10),
    ("sanity RateLimited", 6),
    ("sanity Conflict", 20),
    // Ends of the program, by what it was doing.
    ("stop", 10),
    ("kill", 2),
    ("killed while requested", 10),
    ("killed while requested and in hand", 10),
    ("killed while upserted", 4),
    ("killed while upserted and in hand", 12),
    ("killed while tagged", 30),
    ("killed while tagged and in hand", 10),
    ("killed while rejected", 50),
    ("killed while rejected and in hand", 50),
    // Ends of leads.
    ("ended sent", 1),
    ("ended failed", 4),
    ("ended lead_deleted", 10),
    ("ended cancelled", 10),
];

/// The same of replicas, their lines and their server, beside the frequent ones of the others.
pub const OF_REPLICAS: [(&str, u64); 45] = [
    ("connections are cut", 5),
    ("requests are swallowed", 20),
    ("answers are swallowed", 10),
    ("everything is swallowed", 20),
    ("a line is slow", 10),
    ("a commit is cut off", 20),
    ("a commit's answer is cut off", 20),
    ("a replica is stopped", 10),
    ("a replica is stopped past its lease", 10),
    ("all replicas are killed", 10),
    ("the server stops at once", 20),
    ("the server is killed", 20),
    ("a start fails for want of the database", 20),
    ("a webhook is to come again", 5),
    ("a webhook is not answered", 2),
    ("requested", 1),
    ("requested again", 2),
    ("a person asks", 10),
    ("withdrawn", 4),
    ("deleted", 20),
    ("unpublished", 20),
    ("edited", 2),
    ("spoilt", 10),
    ("mended", 10),
    ("a webhook is lost", 10),
    ("a webhook is repeated", 10),
    ("webhooks out of order", 10),
    ("Bigin is down", 20),
    ("Sanity is down", 20),
    ("crowded", 10),
    ("tokens are dropped", 10),
    ("bigin LostReply", 25),
    ("bigin Hang", 20),
    ("sanity Hang", 10),
    ("sanity Status", 20),
    ("sanity RateLimited", 20),
    ("kill", 1),
    ("killed while requested", 5),
    ("killed while requested and in hand", 5),
    ("killed while upserted", 20),
    ("stop", 50),
    ("ended sent", 1),
    ("ended failed", 10),
    ("ended lead_deleted", 10),
    ("ended cancelled", 10),
];

/// What must happen where the power is cut.
pub const OF_POWER_CUTS: [(&str, u64); 8] = [
    ("kill", 1),
    ("requested", 1),
    ("ended sent", 1),
    ("a power cut", 1),
    ("a cut before a flush", 1),
    ("a cut in a write", 1),
    ("a cut in a checkpoint", 1),
    ("a webhook acknowledged before a cut", 1),
];

/// How often each thing happened, of what must.
#[derive(Debug)]
pub struct Coverage {
    times: BTreeMap<String, usize>,
    required: &'static [(&'static str, u64)],
}

impl Coverage {
    pub fn of(required: &'static [(&'static str, u64)]) -> Self {
        Self {
            times: BTreeMap::new(),
            required,
        }
    }

    pub fn add(&mut self, seen: &BTreeMap<String, usize>) {
        for (what, times) in seen {
            *self.times.entry(what.clone()).or_default() += times;
        }
    }

    /// What happened too seldom for so many runs.
    pub fn missing(&self, runs: u64) -> Vec<String> {
        let seldom = self.required.iter().filter_map(|(what, in_runs)| {
            let least = usize::try_from(runs / in_runs).unwrap();
            let times = self.times.get(*what).copied().unwrap_or(0);
            (times < least).then(|| format!("{what}: {times} of {least}"))
        });
        seldom.collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, times) in &self.times {
            writeln!(f, "{times:>8}  {what}")?;
        }
        Ok(())
    }
}

/// What was seen in one run: what people did, faults that struck, kills, ends.
pub fn seen(played: &Played) -> BTreeMap<String, usize> {
    let mut seen = played.seen.clone();
    let mut add = |what: String, times: usize| {
        if times > 0 {
            *seen.entry(what).or_default() += times;
        }
    };
    for (_, fault) in &played.stage.bigin.model().struck {
        add(format!("bigin {}", variant(fault)), 1);
    }
    for (_, fault) in &played.stage.sanity.model().faults.struck {
        add(format!("sanity {}", variant(fault)), 1);
    }
    let power = &played.power;
    for (what, times) in [
        ("kill", played.kills),
        ("a power cut", power.cuts),
        ("a cut before a flush", power.unflushed),
        ("a cut in a write", power.torn),
        ("a cut in a checkpoint", power.in_checkpoint),
        ("a webhook acknowledged before a cut", power.acknowledged),
    ] {
        add(what.to_owned(), times);
    }
    let ledger = played.ledger;
    for (end, times) in [
        ("sent", ledger.sent),
        ("failed", ledger.failed),
        ("lead_deleted", ledger.lead_deleted),
        ("cancelled", ledger.cancelled),
        ("by reconciliation", ledger.created_by_reconciliation),
    ] {
        add(format!("ended {end}"), usize::try_from(times).unwrap());
    }
    seen
}

/// The name of a variant.
fn variant(fault: &impl fmt::Debug) -> String {
    let text = format!("{fault:?}");
    let end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
    text[..end].to_owned()
}

/// Both kinds of faults have a name of their own each.
#[test]
fn faults_are_counted_by_their_kind() {
    assert_eq!(variant(&bigin::Fault::Status(500)), "Status");
    assert_eq!(variant(&sanity::Fault::LostReply), "LostReply");
}
