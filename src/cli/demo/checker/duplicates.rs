//! Guarantee 2: one contact for each lead.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::{CONTACT, Evidence, Verdict, text};
use crate::cli::text::count;
use crate::domain::lead::is_draft_or_version;
use crate::domain::phone;
use crate::fake::bigin::{Action, Change, Contact};

/// Contacts that a call created and that still exist: the time and the fields, by ID.
type Created<'a> = BTreeMap<&'a str, (Timestamp, &'a BTreeMap<String, Value>)>;

pub(super) fn no_duplicates(evidence: &Evidence) -> Verdict {
    let created = inserted(evidence);
    let mut faults = same_email(evidence);
    if evidence.rules.by_phone {
        faults.extend(same_phone(evidence, &created));
    }
    let orphans = orphans(evidence, &created);
    if !orphans.is_empty() {
        faults.push(format!(
            "contacts were created that belong to no lead: {}",
            orphans.join(", ")
        ));
    }
    let dangling = evidence.requested.iter().filter(|lead| {
        let contact = evidence
            .documents
            .get(&lead.id)
            .and_then(|document| text(document, CONTACT));
        contact.is_some_and(|contact| !evidence.contacts.contains_key(contact) && !evidence.removed.contains(contact))
    });
    faults.extend(dangling.map(|lead| format!("{} has a contact that does not exist", lead.name)));
    let leads = evidence
        .requested
        .iter()
        .filter_map(|lead| text(evidence.documents.get(&lead.id)?, CONTACT));
    let (leads, distinct): (Vec<_>, BTreeSet<_>) = leads.map(|contact| (contact, contact)).unzip();
    let sentence = format!(
        "{} have {}: {} created, {} found",
        count(leads.len(), "lead"),
        count(distinct.len(), "contact"),
        created.len(),
        distinct
            .iter()
            .filter(|contact| !created.contains_key(**contact))
            .count()
    );
    Verdict {
        guarantee: "No duplicates",
        sentence,
        faults,
    }
}

/// Contacts that were created and that belong to no lead. A lead that was deleted or cancelled during its sync, or whose contact
/// was deleted, cannot have its contact's ID: it explains one contact with an address that it once had.
fn orphans<'a>(evidence: &Evidence, created: &Created<'a>) -> Vec<&'a str> {
    let named: BTreeSet<&str> = evidence
        .documents
        .values()
        .filter_map(|document| text(document, CONTACT))
        .collect();
    let mut nameless: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for change in evidence
        .transactions
        .iter()
        .flat_map(|transaction| &transaction.documents)
    {
        let Some(lead) = change.after.as_ref().filter(|_| !is_draft_or_version(&change.id)) else {
            continue;
        };
        let contact = evidence.documents.get(&change.id).and_then(|lead| text(lead, CONTACT));
        if contact.is_none_or(|contact| !evidence.contacts.contains_key(contact)) {
            let address = text(lead, "address").unwrap_or_default();
            nameless.entry(address).or_default().insert(&change.id);
        }
    }
    let unnamed = created.iter().filter(|(id, _)| !named.contains(**id));
    let orphans = unnamed.filter(|(_, (_, fields))| {
        let street = fields.get("Mailing_Street").and_then(Value::as_str).unwrap_or_default();
        nameless.get_mut(street).and_then(BTreeSet::pop_first).is_none()
    });
    orphans.map(|(id, _)| *id).collect()
}

fn inserted(evidence: &Evidence) -> Created<'_> {
    let inserts = evidence.changes.iter().filter_map(|change| match change {
        Change::Upserted {
            contact,
            action: Action::Insert,
            at,
            fields,
            ..
        } => Some((contact.as_str(), (*at, fields))),
        _ => None,
    });
    inserts.filter(|(id, _)| evidence.contacts.contains_key(*id)).collect()
}

fn same_email(evidence: &Evidence) -> Vec<String> {
    let mut holders: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (id, contact) in &evidence.contacts {
        if let Some(email) = contact.text("Email") {
            holders.entry(email.trim().to_lowercase()).or_default().push(id);
        }
    }
    let doubled = holders.into_values().filter(|ids| ids.len() > 1);
    doubled
        .map(|ids| format!("contacts {} have the same email", ids.join(" and ")))
        .collect()
}

/// A lead without an email must not get a new contact if one has its phone number.
fn same_phone(evidence: &Evidence, created: &Created<'_>) -> Vec<String> {
    let region = &evidence.rules.region;
    let mut faults = Vec::new();
    for (id, (at, fields)) in created {
        let has = |field: &str| fields.get(field).and_then(Value::as_str);
        let Some(own) = has("Phone")
            .and_then(|own| phone::canonical(own, region))
            .filter(|_| has("Email").is_none())
        else {
            continue;
        };
        let older = evidence.contacts.iter().find(|(other, contact)| {
            let had = || phone_at(evidence, other, contact, *at).and_then(|phone| phone::canonical(phone, region));
            other != id && contact.created_at <= *at && had().as_ref() == Some(&own)
        });
        if let Some((older, _)) = older {
            faults.push(format!("contact {id} was created, but {older} had its phone number"));
        }
    }
    faults
}

/// The phone of a contact at a time, if known: a value that was typed in is visible only until a call changes it.
fn phone_at<'a>(evidence: &'a Evidence, id: &str, contact: &'a Contact, time: Timestamp) -> Option<&'a str> {
    let writes = evidence.changes.iter().filter_map(|change| match change {
        Change::Upserted {
            contact, at, fields, ..
        } if contact == id => Some((*at, fields.get("Phone")?.as_str()?)),
        _ => None,
    });
    let (before, later): (Vec<_>, Vec<_>) = writes.partition(|(at, _)| *at <= time);
    match before.last() {
        Some((_, phone)) => Some(phone),
        None if later.is_empty() => contact.text("Phone"),
        None => None,
    }
}
