//! Guarantees 3 and 4: a sent lead's contact has the lead's values and its tags, and no tag is early.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{CONTACT, Evidence, Verdict, text};
use crate::cli::text::count;
use crate::clock::after;
use crate::domain::lead::{REQUESTED, SENT, is_draft_or_version};
use crate::domain::phone;
use crate::fake::bigin::Change;
use crate::fake::sanity::{By, Document};

/// Guarantee 3.
pub(super) fn sent_is_true(evidence: &Evidence) -> Verdict {
    let mut faults = Vec::new();
    let mut results = 0;
    for (place, transaction) in evidence.transactions.iter().enumerate() {
        for change in transaction
            .documents
            .iter()
            .filter(|change| !is_draft_or_version(&change.id))
        {
            let is_sent = |document: &Option<Document>| {
                document.as_ref().and_then(|document| text(document, "crmStatus")) == Some(SENT)
            };
            if transaction.by == By::Api && is_sent(&change.after) && !is_sent(&change.before) {
                results += 1;
                let fault = change
                    .after
                    .as_ref()
                    .and_then(|result| untrue(evidence, place, &change.id, result));
                faults.extend(fault.map(|fault| format!("{} is SENT, {fault}", name(evidence, &change.id))));
            }
        }
    }
    let sentence = format!(
        "{} checked against the contact's fields and tags",
        count(results, "result")
    );
    Verdict {
        guarantee: "SENT is true",
        sentence,
        faults,
    }
}

fn name<'a>(evidence: &'a Evidence, id: &'a str) -> &'a str {
    let lead = evidence.requested.iter().find(|lead| lead.id == id);
    lead.map_or(id, |lead| lead.name.as_str())
}

/// What is wrong with the `SENT` that the transaction number `place` wrote to the lead.
fn untrue(evidence: &Evidence, place: usize, id: &str, result: &Document) -> Option<String> {
    let Some(contact) = text(result, CONTACT) else {
        return Some("but has no contact".to_owned());
    };
    if text(result, "lastSyncedAt").is_none() {
        return Some("but has no time".to_owned());
    }
    let written_at = evidence.transactions.get(place)?.at;
    let mut tagged_at = None;
    for tag in &evidence.rules.tags {
        let times = tags(&evidence.changes, contact, written_at).filter(|(name, _)| name == tag);
        let Some((_, at)) = times.max() else {
            return Some(format!("but its contact did not have the tag {tag}"));
        };
        tagged_at = tagged_at.max(Some(at));
    }
    let tagged_at = tagged_at.unwrap_or(written_at);
    let lacking = |fields: &BTreeMap<String, Value>, lead: &Document| lacks(fields, lead, &evidence.rules.region);
    let has_all_of_one = |fields: &BTreeMap<String, Value>, revisions: &[&Document]| {
        revisions.iter().any(|lead| lacking(fields, lead).is_none())
    };
    let sent = upserts(&evidence.changes, contact, tagged_at);
    let revisions = read_revisions(evidence, place, id, tagged_at);
    let was_sent = if is_shared(evidence, id, contact) {
        // Any upsert and any tag may have been this lead's, and the later ones another's.
        tags(&evidence.changes, contact, written_at).any(|(_, at)| {
            let revisions = read_revisions(evidence, place, id, at);
            let mut sent = upserts(&evidence.changes, contact, at).into_iter();
            sent.any(|fields| has_all_of_one(fields, &revisions))
        })
    } else {
        sent.last().is_some_and(|fields| has_all_of_one(fields, &revisions))
    };
    if was_sent {
        return None;
    }
    match (sent.last(), revisions.last()) {
        (Some(fields), Some(lead)) => {
            let field = lacking(fields, lead).unwrap_or("data");
            Some(format!("but its {field} was not sent to Bigin"))
        }
        (None, _) => Some("but its contact was tagged without an upsert".to_owned()),
        (_, None) => Some("but was not requested".to_owned()),
    }
}

/// Whether another lead ever had this contact, or a value by which Bigin or the service would find it.
fn is_shared(evidence: &Evidence, id: &str, contact: &str) -> bool {
    let marks = |lead: &Document| {
        let phone = text(lead, "phoneNumber").and_then(|phone| phone::canonical(phone, &evidence.rules.region));
        [
            text(lead, CONTACT).map(str::to_owned),
            text(lead, "emailAddress").map(str::to_lowercase),
            phone,
        ]
    };
    let mut own = BTreeSet::from([contact.to_owned()]);
    let mut others = BTreeSet::new();
    for change in evidence
        .transactions
        .iter()
        .flat_map(|transaction| &transaction.documents)
    {
        if let Some(lead) = change.after.as_ref().filter(|_| !is_draft_or_version(&change.id)) {
            let marks = marks(lead).into_iter().flatten();
            if change.id == id {
                own.extend(marks)
            } else {
                others.extend(marks)
            }
        }
    }
    !own.is_disjoint(&others)
}

/// The tags added to a contact, each with its time.
fn tags<'a>(changes: &'a [Change], wanted: &str, until: Timestamp) -> impl Iterator<Item = (&'a str, Timestamp)> {
    changes.iter().filter_map(move |change| match change {
        Change::Tagged { contact, tag, at, .. } if contact == wanted && *at <= until => Some((tag.as_str(), *at)),
        _ => None,
    })
}

fn upserts<'a>(changes: &'a [Change], wanted: &str, until: Timestamp) -> Vec<&'a BTreeMap<String, Value>> {
    let fields = changes.iter().filter_map(|change| match change {
        Change::Upserted {
            contact, at, fields, ..
        } if contact == wanted && *at <= until => Some(fields),
        _ => None,
    });
    fields.collect()
}

/// The revisions of a lead that the service may have sent: no older than the newest request that it had received before the
/// result, and not replaced before the lead's last read, at most `max_read_age` before the tag.
fn read_revisions<'a>(evidence: &'a Evidence, place: usize, id: &str, tagged_at: Timestamp) -> Vec<&'a Document> {
    let written_at = evidence
        .transactions
        .get(place)
        .map_or(Timestamp::MAX, |result| result.at);
    let mut revisions: Vec<(Timestamp, Option<&Document>)> = Vec::new();
    for transaction in evidence.transactions.iter().take(place) {
        for change in transaction.documents.iter().filter(|change| change.id == id) {
            let status = |document: &Option<Document>| {
                document
                    .as_ref()
                    .and_then(|document| text(document, "crmStatus"))
                    .map(str::to_owned)
            };
            let is_request = status(&change.after).as_deref() == Some(REQUESTED)
                && status(&change.before).as_deref() != Some(REQUESTED);
            if is_request && was_received(evidence, id, transaction.at, written_at) {
                revisions.clear();
            }
            revisions.push((transaction.at, change.after.as_ref()));
        }
    }
    let replaced = revisions.iter().skip(1).map(|(at, _)| *at).chain([Timestamp::MAX]);
    let current = revisions.iter().zip(replaced);
    let in_time = current.filter(|(_, replaced)| after(*replaced, evidence.rules.max_read_age) >= tagged_at);
    in_time.filter_map(|((_, lead), _)| *lead).collect()
}

/// Whether a webhook for a request of `requested_at` was delivered, at least `max_read_age` before the result was written: a later one
/// leads to the next sync.
fn was_received(evidence: &Evidence, id: &str, requested_at: Timestamp, until: Timestamp) -> bool {
    let mut accepted = evidence
        .deliveries
        .iter()
        .filter(|attempt| attempt.document == id && matches!(attempt.status, Some(200..=299)));
    accepted.any(|attempt| attempt.at >= requested_at && after(attempt.at, evidence.rules.max_read_age) <= until)
}

/// The field of a lead that an upsert lacks. It does not use the service's mapping, which might be wrong.
fn lacks(fields: &BTreeMap<String, Value>, lead: &Document, region: &str) -> Option<&'static str> {
    let sent = |field: &str| fields.get(field).and_then(Value::as_str).unwrap_or_default();
    let plain = [
        ("First_Name", "first name", text(lead, "firstName")),
        (
            "Last_Name",
            "last name",
            text(lead, "secondName").or(text(lead, "firstName")),
        ),
        ("Email", "email", text(lead, "emailAddress")),
        ("Mailing_Street", "address", text(lead, "address")),
        ("Mailing_City", "city", text(lead, "city")),
        ("Mailing_Zip", "postcode", text(lead, "postcode")),
    ];
    let differs = plain
        .into_iter()
        .find(|(field, _, value)| value.is_some_and(|value| sent(field) != value));
    if let Some((_, field, _)) = differs {
        return Some(field);
    }
    let number = |text: &str| phone::canonical(text, region).unwrap_or_else(|| text.to_owned());
    if text(lead, "phoneNumber").is_some_and(|phone| number(phone) != number(sent("Phone"))) {
        return Some("phone number");
    }
    let messages = lead.get("conversationHistory").and_then(Value::as_array);
    let mut messages = messages
        .into_iter()
        .flatten()
        .filter_map(|message| message.get("message")?.as_str());
    let left_out = messages.any(|message| !sent("Description").contains(message.trim()));
    left_out.then_some("conversation")
}

/// Guarantee 4.
pub(super) fn no_early_tags(evidence: &Evidence) -> Verdict {
    let mut faults = Vec::new();
    let mut last: BTreeMap<&str, Timestamp> = BTreeMap::new();
    let mut gaps: Vec<SignedDuration> = Vec::new();
    for change in &evidence.changes {
        match change {
            Change::Upserted { contact, at, .. } => {
                last.insert(contact, *at);
            }
            Change::Tagged { contact, at, .. } => match last.get(contact.as_str()) {
                Some(upserted) => gaps.push(at.duration_since(*upserted)),
                None => faults.push(format!("contact {contact} was tagged without an upsert")),
            },
        }
    }
    let delay = seconds(evidence.rules.tag_delay);
    let least = gaps.iter().min().map(SignedDuration::as_secs_f64);
    let early = gaps
        .iter()
        .filter(|gap| gap.as_secs_f64() + seconds(evidence.rules.slack) < delay)
        .count();
    if early > 0 {
        let least = least.unwrap_or_default();
        faults.push(format!(
            "{} came less than {delay} s after the contact's last upsert, one after {least:.3} s",
            count(early, "tag")
        ));
    }
    let sentence = match least {
        Some(least) => format!(
            "{}, the earliest {least:.2} s after the contact's last upsert (minimum {delay} s)",
            count(gaps.len(), "tag")
        ),
        None => "no tag was added".to_owned(),
    };
    Verdict {
        guarantee: "No early tags",
        sentence,
        faults,
    }
}

fn seconds(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64()
}
