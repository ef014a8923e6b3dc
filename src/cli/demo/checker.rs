//! Whether the promises were kept: judged from what the stand-ins saw and hold, from the ledger, and from what the service
//! has written down. Pure, so that a made-up journal can show each promise broken.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::fake::bigin::{Call, Change, Contact};
use crate::fake::sanity::{Attempt, Document, Transaction};
use crate::store::Ledger;

mod crm;
mod leads;

/// Everything there is to judge by, taken when no lead was on its way any more.
pub struct Evidence {
    /// What was promised, in numbers.
    pub rules: Rules,
    /// Every lead that was asked for.
    pub asked: Vec<Asked>,
    /// All of Sanity's documents, by full id.
    pub documents: BTreeMap<String, Document>,
    /// Sanity's history, oldest first.
    pub transactions: Vec<Transaction>,
    /// Every attempt to deliver a webhook, oldest first.
    pub deliveries: Vec<Attempt>,
    /// Bigin's contacts that are neither deleted nor merged, by id.
    pub contacts: BTreeMap<String, Contact>,
    /// Contacts that people deleted or merged into others.
    pub removed: BTreeSet<String>,
    /// What calls did to contacts, oldest first.
    pub changes: Vec<Change>,
    /// Every call to Bigin, oldest first.
    pub calls: Vec<Call>,
    /// Access tokens granted.
    pub grants: usize,
    /// What the service counts itself; `None` where it could not be asked.
    pub ledger: Option<Ledger>,
    /// What the service has written: its log, its files, its answers.
    pub traces: Vec<Trace>,
    /// Texts that must be in none of these: names, addresses, numbers, words of conversations, tokens.
    pub private: Vec<String>,
}

/// What was promised, in numbers.
pub struct Rules {
    /// Least time between the last upsert of a contact and its tag.
    pub tag_delay: Duration,
    /// What two clocks may differ by: the service keeps the delay by its own.
    pub slack: Duration,
    /// How long before its tag a lead may have been read for the last time: an edit after that need not be carried along.
    pub glance: Duration,
    /// The tags that a lead's contact must have.
    pub tags: Vec<String>,
    /// Access tokens that may be asked for.
    pub most_grants: usize,
    /// API calls that may be under way at once.
    pub most_in_flight: usize,
    /// Leads that waited at the same moment, so that some call must have carried as many.
    pub together: usize,
    /// Leads without an email are recognised by their phone, since no field of Bigin carries their ids.
    pub by_phone: bool,
    /// The region of phone numbers without a country code.
    pub region: String,
}

/// A lead that was asked for.
pub struct Asked {
    /// The document's id.
    pub id: String,
    /// What to call it in sentences.
    pub name: String,
    /// What `crmStatus` has to say in the end; `None` where the lead is to be gone.
    pub end: Option<&'static str>,
    /// It was sent at some time with something that Bigin has to refuse.
    pub may_fail: bool,
}

/// Something the service has written.
pub struct Trace {
    /// What it is, for sentences.
    pub name: String,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// One promise, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Which.
    pub promise: &'static str,
    /// What was seen, where it was kept.
    pub sentence: String,
    /// What breaks it, one sentence each.
    pub faults: Vec<String>,
}

impl Verdict {
    /// Whether it was kept.
    pub fn kept(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Judges all promises, in their order.
pub fn judge(evidence: &Evidence) -> Vec<Verdict> {
    vec![
        leads::nothing_is_lost(evidence),
        crm::nothing_is_doubled(evidence),
        crm::sent_is_true(evidence),
        crm::never_early(evidence),
        gentle(evidence),
        leads::one_bad_lead(evidence),
        quiet(evidence),
    ]
}

fn gentle(evidence: &Evidence) -> Verdict {
    let rules = &evidence.rules;
    let mut faults = Vec::new();
    if evidence.grants > rules.most_grants {
        let (asked, allowed) = (evidence.grants, rules.most_grants);
        faults.push(format!(
            "{asked} access tokens were asked for, where {allowed} would have done"
        ));
    }
    let in_flight = evidence.calls.iter().map(|call| call.in_flight).max().unwrap_or(0);
    if in_flight > rules.most_in_flight {
        let allowed = rules.most_in_flight;
        faults.push(format!(
            "{in_flight} calls were under way at once, and {allowed} are allowed"
        ));
    }
    let largest = evidence.calls.iter().map(|call| call.records).max().unwrap_or(0);
    if largest < rules.together {
        let waited = rules.together;
        faults.push(format!(
            "{waited} leads waited together, and the largest call carried {largest}"
        ));
    }
    let sentence = format!(
        "{}, {} under way at most, up to {largest} leads in one call",
        counted(evidence.grants, "access token"),
        counted(in_flight, "call")
    );
    Verdict {
        promise: "Gentle",
        sentence,
        faults,
    }
}

fn quiet(evidence: &Evidence) -> Verdict {
    let mut faults = Vec::new();
    let mut bytes = 0;
    for trace in &evidence.traces {
        bytes += trace.bytes.len();
        let text = String::from_utf8_lossy(&trace.bytes).to_lowercase();
        let found = evidence
            .private
            .iter()
            .filter(|private| text.contains(&private.to_lowercase()));
        faults.extend(found.map(|private| format!("{} contains {private:?}", trace.name)));
    }
    let names: Vec<&str> = evidence.traces.iter().map(|trace| trace.name.as_str()).collect();
    let sentence = format!(
        "no name, address, number, message or token in {} kB of {}",
        bytes.div_ceil(1000),
        listed(&names)
    );
    Verdict {
        promise: "Quiet about people",
        sentence,
        faults,
    }
}

/// `1 call`, `2 calls`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// `a`, `a and b`, `a, b and c`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [one] => (*one).to_owned(),
        [others @ .., last] => format!("{} and {last}", others.join(", ")),
    }
}

/// The text of a document's field, trimmed; `None` where there is none in it.
fn text<'a>(document: &'a Document, field: &str) -> Option<&'a str> {
    let text = document.get(field)?.as_str()?.trim();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
