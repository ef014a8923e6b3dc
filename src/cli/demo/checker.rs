//! Whether the guarantees were kept: checked with what the simulated services received and contain, with the ledger, and with
//! what the service wrote. Pure, so that tests can break each guarantee with made-up evidence.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::cli::text::count;
use crate::fake::bigin::{Call, Change, Contact};
use crate::fake::sanity::{Attempt, Document, Transaction};
use crate::store::Ledger;

mod contacts;
mod duplicates;
mod leads;

/// The lead's field with its contact's ID.
const CONTACT: &str = "biginContactId";

/// All evidence, collected when no sync was in progress.
pub struct Evidence {
    /// The guarantees in numbers.
    pub rules: Rules,
    /// Every requested lead.
    pub requested: Vec<RequestedLead>,
    /// Sanity's documents, by full ID.
    pub documents: BTreeMap<String, Document>,
    /// Sanity's transactions, oldest first.
    pub transactions: Vec<Transaction>,
    /// Every attempt to deliver a webhook, oldest first.
    pub deliveries: Vec<Attempt>,
    /// Bigin's contacts that are neither deleted nor merged, by ID.
    pub contacts: BTreeMap<String, Contact>,
    /// Contacts that were deleted or merged in Bigin.
    pub removed: BTreeSet<String>,
    /// Changes of contacts by calls, oldest first.
    pub changes: Vec<Change>,
    /// Every call to Bigin, oldest first.
    pub calls: Vec<Call>,
    /// Access tokens granted.
    pub grants: usize,
    /// The service's ledger; `None` if it does not answer.
    pub ledger: Option<Ledger>,
    /// The service's log, files and answers.
    pub traces: Vec<Trace>,
    /// Texts that no trace may contain: names, addresses, numbers, words of conversations, tokens.
    pub private: Vec<String>,
}

/// The guarantees in numbers.
pub struct Rules {
    /// Least time between a contact's last upsert and its tag.
    pub tag_delay: Duration,
    /// The possible difference of two clocks: the service measures the delay with its own.
    pub slack: Duration,
    /// The longest time between a lead's last read and its tag: a later edit need not be sent.
    pub max_read_age: Duration,
    /// The tags that a lead's contact must have.
    pub tags: Vec<String>,
    /// Access tokens that may be requested.
    pub max_grants: usize,
    /// API calls that may run at once.
    pub max_in_flight: usize,
    /// Leads that were queued together, so that one call must have had as many.
    pub queued_together: usize,
    /// Leads without an email are recognised by their phone, since no field in Bigin has their IDs.
    pub by_phone: bool,
    /// The region of phone numbers without a country code.
    pub region: String,
}

/// A requested lead.
pub struct RequestedLead {
    /// The document's ID.
    pub id: String,
    /// Its name in messages.
    pub name: String,
    /// The final `crmStatus`; `None` if the lead must be deleted.
    pub status: Option<&'static str>,
    /// It once had a value that Bigin rejects.
    pub may_fail: bool,
}

/// Something that the service wrote.
pub struct Trace {
    /// Its name in messages.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// The result for one guarantee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub guarantee: &'static str,
    /// What was checked, if it was kept.
    pub sentence: String,
    /// How it was broken, a sentence each.
    pub faults: Vec<String>,
}

impl Verdict {
    /// Whether it was kept.
    pub fn is_kept(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Checks all guarantees, in order.
pub fn judge(evidence: &Evidence) -> Vec<Verdict> {
    vec![
        leads::no_lead_lost(evidence),
        duplicates::no_duplicates(evidence),
        contacts::sent_is_true(evidence),
        contacts::no_early_tags(evidence),
        within_rate_limits(evidence),
        leads::one_bad_lead(evidence),
        no_personal_data(evidence),
    ]
}

fn within_rate_limits(evidence: &Evidence) -> Verdict {
    let rules = &evidence.rules;
    let mut faults = Vec::new();
    if evidence.grants > rules.max_grants {
        let (requested, allowed) = (evidence.grants, rules.max_grants);
        faults.push(format!(
            "{requested} access tokens were requested, and {allowed} would have been enough"
        ));
    }
    let in_flight = evidence.calls.iter().map(|call| call.in_flight).max().unwrap_or(0);
    if in_flight > rules.max_in_flight {
        let allowed = rules.max_in_flight;
        faults.push(format!("{in_flight} calls ran at once, and {allowed} are allowed"));
    }
    let largest = evidence.calls.iter().map(|call| call.records).max().unwrap_or(0);
    if largest < rules.queued_together {
        let queued = rules.queued_together;
        faults.push(format!(
            "{queued} leads were queued together, and the largest call had {largest}"
        ));
    }
    let sentence = format!(
        "{}, at most {} at once, up to {largest} leads in one call",
        count(evidence.grants, "access token"),
        count(in_flight, "call")
    );
    Verdict {
        guarantee: "Within rate limits",
        sentence,
        faults,
    }
}

fn no_personal_data(evidence: &Evidence) -> Verdict {
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
        list(&names)
    );
    Verdict {
        guarantee: "No personal data stored",
        sentence,
        faults,
    }
}

/// `a`, `a and b`, `a, b and c`.
fn list(items: &[&str]) -> String {
    match items {
        [] => "nothing".to_owned(),
        [one] => (*one).to_owned(),
        [others @ .., last] => format!("{} and {last}", others.join(", ")),
    }
}

/// The text of a document's field, trimmed; `None` if it is empty.
fn text<'a>(document: &'a Document, field: &str) -> Option<&'a str> {
    let text = document.get(field)?.as_str()?.trim();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
