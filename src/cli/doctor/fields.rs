//! Whether Bigin's Contacts have the mapped fields, take what is sent to them, and tell one contact from another.

use super::Patient;
use super::finding::{Finding, Group};
use crate::domain::record::{Field, OrgFields};

/// The length of the ids that Sanity gives; ids of one's own may be longer.
const USUAL_ID: usize = 36;

/// The longest conversation that is sent.
const CONVERSATION: usize = 30_000;

/// Names that Zoho CRM's Leads have, and what Contacts have instead.
const OF_OTHER_MODULES: [(&str, &str); 5] = [
    ("Street", "Mailing_Street"),
    ("City", "Mailing_City"),
    ("State", "Mailing_State"),
    ("Zip_Code", "Mailing_Zip"),
    ("Country", "Mailing_Country"),
];

pub(super) fn look(patient: &Patient, fields: &OrgFields) -> Vec<Finding> {
    let own = patient.settings.bigin.lead_id_field.as_deref();
    let mapped: Vec<&str> = patient.settings.mapping.keys().map(String::as_str).collect();
    let mut findings = mapping(&mapped, fields);
    findings.extend(own.map(|own| lead_id(own, fields)));
    findings.extend(unique(&mapped, own, fields));
    findings
}

/// Those that are well are one finding together.
fn mapping(mapped: &[&str], fields: &OrgFields) -> Vec<Finding> {
    let troubles: Vec<Option<Finding>> = mapped.iter().map(|name| trouble(name, fields)).collect();
    let well = mapped.iter().zip(&troubles).filter(|(_, trouble)| trouble.is_none());
    let well: Vec<&str> = well.map(|(name, _)| *name).collect();
    let mut findings: Vec<Finding> = troubles.into_iter().flatten().collect();
    if !well.is_empty() {
        let what = format!("Contacts have {}, and take what is sent to them", well.join(", "));
        findings.insert(0, Finding::ok(Group::Bigin, "fields", what));
    }
    findings
}

fn trouble(name: &str, fields: &OrgFields) -> Option<Finding> {
    let Some(field) = fields.0.get(name) else {
        return Some(missing(name, fields));
    };
    if field.read_only {
        return Some(Finding::warning(
            Group::Bigin,
            "field read-only",
            format!("Contacts have {name}, and it cannot be written"),
            "its value becomes a line at the end of Description instead",
            format!("map another field in the place of {name}, or take it out: {name} = \"\""),
        ));
    }
    if name == "Description" && field.length.is_some_and(|length| length < CONVERSATION) {
        return Some(Finding::warning(
            Group::Bigin,
            "field length",
            format!("Description takes {} characters", field.length.unwrap_or_default()),
            format!("a conversation has up to {CONVERSATION}; of a longer one the oldest messages are left out"),
            "make it a field of more lines in Bigin, or leave it so",
        ));
    }
    unfitting(name, field)
}

fn missing(name: &str, fields: &OrgFields) -> Finding {
    let like = fields.0.keys().find(|other| other.eq_ignore_ascii_case(name));
    let of_contacts = OF_OTHER_MODULES.iter().find(|(other, _)| *other == name);
    let other = like.map(String::as_str).or(of_contacts.map(|(_, own)| *own));
    let what = format!("Contacts have no field {name}");
    if matches!(name, "Last_Name" | "Email") {
        let why = "no Contacts are without it: these are the fields of something else";
        let todo = "see which organisation the token is of";
        return Finding::failed(Group::Bigin, "field missing", what, why, todo);
    }
    Finding::warning(
        Group::Bigin,
        "field missing",
        what,
        "its value becomes a line at the end of Description instead",
        match other {
            Some(other) => format!("under [mapping] write {other} in the place of {name}"),
            None => format!(
                "add a custom field of that API name to Contacts, or take it out under [mapping]: {name} = \"\"; or leave it so"
            ),
        },
    )
}

/// A field of a type that takes no text, or not every.
fn unfitting(name: &str, field: &Field) -> Option<Finding> {
    let data_type = field.data_type.as_str();
    let (is_certain, why) = match data_type {
        "text" | "textarea" | "email" | "phone" | "website" | "url" => return None,
        // What is rendered is sent as a number or a truth value, where it is one.
        "integer" | "double" | "currency" | "boolean" => return None,
        "picklist" => (false, "a value that is not on its list is refused"),
        "date" => (
            false,
            "what is rendered must look like 2026-11-22: `date(\"%Y-%m-%d\")`",
        ),
        "datetime" => (false, "what is rendered must look like 2026-11-22T10:00:00+00:00"),
        "lookup" => (false, "it takes the id of another record; a text may make a new one"),
        "percent" | "bigint" => (false, "what is no number is refused"),
        _ => (true, "it takes no text, and Bigin refuses the lead"),
    };
    let what = format!("{name} is of the type {data_type}");
    let todo = format!("see that the mapping of {name} renders what it takes, or map another field");
    Some(match is_certain {
        true => Finding::failed(Group::Bigin, "field type", what, why, todo),
        false => Finding::warning(Group::Bigin, "field type", what, why, todo),
    })
}

fn lead_id(name: &str, fields: &OrgFields) -> Finding {
    let todo = "in Bigin's settings make it a text field of Contacts with \"Do not allow duplicate values\"";
    let failed = |what: String, why: &str| Finding::failed(Group::Bigin, "lead id field", what, why, todo);
    let no_use =
        "without it leads that have no email address are looked up by phone, as if BIGIN_LEAD_ID_FIELD were not set";
    match fields.0.get(name) {
        None => failed(
            format!("Contacts have no field {name}, which BIGIN_LEAD_ID_FIELD names"),
            no_use,
        ),
        Some(field) if field.read_only => failed(format!("{name} cannot be written"), no_use),
        Some(field) if !field.unique => failed(
            format!("{name} allows duplicate values"),
            "Bigin takes unique fields only for its duplicate check",
        ),
        Some(field) if field.length.is_some_and(|length| length < USUAL_ID) => failed(
            format!(
                "{name} takes {} characters, and Sanity's ids have {USUAL_ID}",
                field.length.unwrap_or_default()
            ),
            "Bigin refuses longer values, and with them every lead",
        ),
        Some(_) => Finding::ok(
            Group::Bigin,
            "lead id field",
            format!("{name} is unique and carries each lead's id"),
        ),
    }
}

/// What tells one contact from another.
fn unique(mapped: &[&str], own: Option<&str>, fields: &OrgFields) -> Vec<Finding> {
    let is_unique = |name: &str| mapped.contains(&name) && fields.is_unique(name);
    let mut findings = Vec::new();
    let known: Vec<&str> = mapped.iter().copied().filter(|name| fields.is_unique(name)).collect();
    if own.is_none_or(|own| !fields.is_unique(own)) && !is_unique("Email") {
        findings.push(Finding::failed(
            Group::Bigin,
            "duplicate check",
            "Email is not mapped, or allows duplicate values in this organisation",
            "a lead that is sent again is not recognised, and becomes a second contact",
            "map Email and switch \"Do not allow duplicate values\" on for it in Bigin, or set BIGIN_LEAD_ID_FIELD",
        ));
    } else {
        let all: Vec<&str> = own.into_iter().chain(known).collect();
        let what = format!("contacts are recognised by {}, which are unique", all.join(", "));
        let what = if all.len() == 1 {
            what.replace("which are", "which is")
        } else {
            what
        };
        findings.push(Finding::ok(Group::Bigin, "duplicate check", what));
    }
    if own.is_none() && !is_unique("Phone") {
        findings.push(Finding::warning(
            Group::Bigin,
            "no email",
            "a lead without an email address has nothing unique: Phone allows duplicate values",
            "it is looked up by its phone number before it is sent, which costs a call and needs ZohoBigin.coql.READ",
            "add a unique text field for the lead's id to Contacts and set BIGIN_LEAD_ID_FIELD; or leave it so",
        ));
    }
    findings
}
