//! The guarantees about leads: every requested lead gets its result, and a bad one affects no other.

use super::{Evidence, RequestedLead, Verdict, text};
use crate::cli::text::count;
use crate::domain::lead::{FAILED, REQUESTED, SENT, is_draft_or_version};
use crate::fake::sanity::{Attempt, By, Change};
use crate::store::Ledger;

/// Guarantee 1.
pub(super) fn no_lead_lost(evidence: &Evidence) -> Verdict {
    let mut faults: Vec<String> = evidence
        .requested
        .iter()
        .filter_map(|lead| wrong_result(evidence, lead))
        .collect();
    let stuck = evidence.documents.iter().filter(|(id, document)| {
        !is_draft_or_version(id)
            && text(document, "crmStatus") == Some(REQUESTED)
            && !evidence.requested.iter().any(|lead| lead.id == **id)
    });
    faults.extend(stuck.map(|(id, _)| format!("lead {id} is still {REQUESTED}")));
    faults.extend(evidence.deliveries.iter().filter_map(rejected));
    match &evidence.ledger {
        Some(ledger) => faults.extend(wrong_sums(evidence, ledger)),
        None => faults.push("the service did not return its ledger".to_owned()),
    }
    let (accepted, unanswered) = counts(&evidence.deliveries);
    let sentence = format!(
        "{} accepted, {unanswered} unanswered; {} got the right result, and the ledger balances",
        count(accepted, "webhook"),
        count(evidence.requested.len(), "lead")
    );
    Verdict {
        guarantee: "No lead lost",
        sentence,
        faults,
    }
}

fn wrong_result(evidence: &Evidence, lead: &RequestedLead) -> Option<String> {
    let name = &lead.name;
    match (evidence.documents.get(&lead.id), lead.status) {
        (None, None) => None,
        (None, Some(expected)) => Some(format!("{name} was deleted, and should be {expected}")),
        (Some(_), None) => Some(format!("{name} exists, and should be deleted")),
        (Some(document), Some(expected)) => {
            let status = text(document, "crmStatus").unwrap_or("empty");
            (status != expected).then(|| format!("{name} is {status}, and should be {expected}"))
        }
    }
}

/// A webhook with an answer after which Sanity does not retry it.
fn rejected(attempt: &Attempt) -> Option<String> {
    let status = attempt
        .status
        .filter(|status| matches!(status, 300..=499) && *status != 429)?;
    Some(format!(
        "a webhook for lead {} was rejected with {status}",
        attempt.document
    ))
}

/// Answered with 2xx, and not ignored.
fn is_accepted(attempt: &Attempt) -> bool {
    let result = attempt
        .answer
        .as_ref()
        .and_then(|answer| answer.get("result")?.as_str());
    matches!(attempt.status, Some(200..=299)) && result != Some("ignored")
}

/// How many were accepted, and how many have no answer.
fn counts(deliveries: &[Attempt]) -> (u64, u64) {
    let count = |is: fn(&Attempt) -> bool| deliveries.iter().filter(|attempt| is(attempt)).count() as u64;
    (count(is_accepted), count(|attempt| attempt.status.is_none()))
}

fn wrong_sums(evidence: &Evidence, ledger: &Ledger) -> Vec<String> {
    let mut faults = Vec::new();
    if !ledger.balances() {
        faults.push("the ledger does not balance".to_owned());
    }
    if ledger.in_progress > 0 {
        faults.push(format!("the ledger still has {} syncs in progress", ledger.in_progress));
    }
    // A webhook without an answer may have been accepted too.
    let (answered, unanswered) = counts(&evidence.deliveries);
    if !(answered..=answered + unanswered).contains(&ledger.accepted) {
        let counted = ledger.accepted;
        faults.push(format!(
            "{answered} webhooks were accepted, and the ledger has {counted}"
        ));
    }
    faults
}

/// Guarantee 6.
pub(super) fn one_bad_lead(evidence: &Evidence) -> Verdict {
    let mut faults = Vec::new();
    let mut reasons = Vec::new();
    for change in failures(evidence) {
        let lead = evidence.requested.iter().find(|lead| lead.id == change.id);
        let name = lead.map_or(change.id.as_str(), |lead| lead.name.as_str());
        let reason = change.after.as_ref().and_then(|after| text(after, "crmError"));
        if lead.is_none_or(|lead| !lead.may_fail) {
            faults.push(format!("{name} was FAILED without a bad value"));
        }
        match reason {
            None => faults.push(format!("{name} was FAILED without a reason")),
            Some(reason) if quotes(change, reason) => {
                faults.push(format!("the reason for {name} quotes the lead"));
            }
            Some(reason) => reasons.push(format!("\"{reason}\"")),
        }
    }
    let fixed = evidence.requested.iter().filter(|lead| {
        let document = evidence.documents.get(&lead.id);
        document
            .is_some_and(|document| text(document, "crmStatus") == Some(SENT) && text(document, "crmError").is_some())
    });
    faults.extend(fixed.map(|lead| format!("{} is SENT and still has an error", lead.name)));
    reasons.sort();
    reasons.dedup();
    let sentence = match reasons.as_slice() {
        [] => "no lead was rejected".to_owned(),
        _ => format!("{}, and no other lead failed", reasons.join(", ")),
    };
    Verdict {
        guarantee: "A bad lead affects only itself",
        sentence,
        faults,
    }
}

/// The changes of a lead to `FAILED`.
fn failures(evidence: &Evidence) -> impl Iterator<Item = &Change> {
    let by_us = evidence
        .transactions
        .iter()
        .filter(|transaction| transaction.by == By::Api);
    by_us.flat_map(|transaction| &transaction.documents).filter(|change| {
        let status =
            |document: &Option<_>| document.as_ref().and_then(|document| text(document, "crmStatus")) == Some(FAILED);
        !is_draft_or_version(&change.id) && status(&change.after) && !status(&change.before)
    })
}

fn quotes(change: &Change, reason: &str) -> bool {
    let Some(after) = &change.after else { return false };
    let values = [
        "firstName",
        "secondName",
        "emailAddress",
        "phoneNumber",
        "address",
        "postcode",
    ];
    values
        .iter()
        .filter_map(|field| text(after, field))
        .any(|value| reason.contains(value))
}
