//! Whether Bigin's Contacts have the mapped fields, accept their values, and identify contacts.

use super::Installation;
use super::finding::{Check, Finding, Group};
use crate::domain::record::{Field, OrgFields};

/// The length of the IDs that Sanity generates; own IDs may be longer.
const SANITY_ID_LENGTH: usize = 36;

/// The longest conversation that is sent, in characters.
const MAX_CONVERSATION: usize = 30_000;

/// Fields of Zoho CRM's Leads, and their names in Contacts.
const OTHER_NAMES: [(&str, &str); 5] = [
    ("Street", "Mailing_Street"),
    ("City", "Mailing_City"),
    ("State", "Mailing_State"),
    ("Zip_Code", "Mailing_Zip"),
    ("Country", "Mailing_Country"),
];

const MISSING: Check = Check(Group::Bigin, "field missing");

pub(super) fn check(installation: &Installation, fields: &OrgFields) -> Vec<Finding> {
    let own = installation.settings.bigin.lead_id_field.as_deref();
    let mapped: Vec<&str> = installation.settings.mapping.fields().collect();
    let mut findings = mapping(&mapped, fields);
    findings.extend(own.map(|own| lead_id(own, fields)));
    findings.extend(unique(&mapped, own, fields));
    findings
}

/// One finding for all good fields, then one for each problem.
fn mapping(mapped: &[&str], fields: &OrgFields) -> Vec<Finding> {
    let problems = mapped.iter().map(|name| (*name, problem(name, fields)));
    let (good, bad): (Vec<_>, Vec<_>) = problems.partition(|(_, problem)| problem.is_none());
    let mut findings = Vec::new();
    if !good.is_empty() {
        let names: Vec<&str> = good.into_iter().map(|(name, _)| name).collect();
        let what = format!("Contacts have {}, all writable", names.join(", "));
        findings.push(Check(Group::Bigin, "fields").ok(what));
    }
    findings.extend(bad.into_iter().filter_map(|(_, problem)| problem));
    findings
}

fn problem(name: &str, fields: &OrgFields) -> Option<Finding> {
    let Some(field) = fields.0.get(name) else {
        return Some(missing(name, fields));
    };
    if field.read_only {
        return Some(Check(Group::Bigin, "field read-only").warning(
            format!("the field {name} of Contacts is read-only"),
            "its value becomes a line at the end of Description instead",
            format!("map another field instead of {name}, or remove it under [mapping]: {name} = \"\""),
        ));
    }
    let length = field.length.unwrap_or(MAX_CONVERSATION);
    if name == "Description" && length < MAX_CONVERSATION {
        return Some(Check(Group::Bigin, "field length").warning(
            format!("Description accepts {length} characters"),
            format!("a conversation can have {MAX_CONVERSATION}; the oldest messages of a longer one are omitted"),
            "change it to a multi-line field in Bigin, or ignore this",
        ));
    }
    wrong_type(name, field)
}

fn missing(name: &str, fields: &OrgFields) -> Finding {
    let same = fields.0.keys().find(|other| other.eq_ignore_ascii_case(name));
    let renamed = OTHER_NAMES.iter().find(|(other, _)| *other == name);
    let other = same.map(String::as_str).or(renamed.map(|(_, own)| *own));
    let what = format!("Contacts have no field {name}");
    if matches!(name, "Last_Name" | "Email") {
        let why = "all Contacts have this field, so these are the fields of something else";
        return MISSING.failed(what, why, "check which organisation the token belongs to");
    }
    MISSING.warning(
        what,
        "its value becomes a line at the end of Description instead",
        match other {
            Some(other) => format!("under [mapping], replace {name} by {other}"),
            None => format!(
                "add a custom field with this API name to Contacts, or remove it under [mapping]: {name} = \"\"; or ignore this"
            ),
        },
    )
}

/// A field whose type accepts no text, or not every text.
fn wrong_type(name: &str, field: &Field) -> Option<Finding> {
    let data_type = field.data_type.as_str();
    let (accepts_some, why) = match data_type {
        "text" | "textarea" | "email" | "phone" | "website" | "url" => return None,
        // A rendered number or boolean is sent as one.
        "integer" | "double" | "currency" | "boolean" => return None,
        "picklist" => (true, "Bigin rejects a value that is not in its list"),
        "date" => (true, "the value must look like 2026-11-22: `date(\"%Y-%m-%d\")`"),
        "datetime" => (true, "the value must look like 2026-11-22T10:00:00+00:00"),
        "lookup" => (true, "it needs the ID of another record; a text may create a new one"),
        "percent" | "bigint" => (true, "Bigin rejects a value that is not a number"),
        _ => (false, "it accepts no text, and Bigin rejects the lead"),
    };
    let check = Check(Group::Bigin, "field type");
    let what = format!("{name} has the type {data_type}");
    let todo = format!("check that the mapping of {name} gives such values, or map another field");
    Some(match accepts_some {
        true => check.warning(what, why, todo),
        false => check.failed(what, why, todo),
    })
}

fn lead_id(name: &str, fields: &OrgFields) -> Finding {
    let check = Check(Group::Bigin, "lead id field");
    let todo = "in Bigin's settings, make it a text field of Contacts with \"Do not allow duplicate values\"";
    let failed = |what: String, why: &str| check.failed(what, why, todo);
    let unusable = "no lead is sent until it is, so that none gets a second contact";
    let Some(field) = fields.0.get(name) else {
        let what = format!("Contacts have no field {name}, the value of BIGIN_LEAD_ID_FIELD");
        return failed(what, unusable);
    };
    match field.length {
        _ if field.read_only => failed(format!("{name} is read-only"), unusable),
        _ if !field.unique => failed(format!("{name} allows duplicate values"), unusable),
        Some(length) if length < SANITY_ID_LENGTH => failed(
            format!("{name} accepts {length} characters, and Sanity's IDs have {SANITY_ID_LENGTH}"),
            "Bigin rejects longer values, and with them every lead",
        ),
        _ => check.ok(format!("{name} is unique and contains each lead's ID")),
    }
}

/// The fields by which Bigin recognises a contact.
fn unique(mapped: &[&str], own: Option<&str>, fields: &OrgFields) -> Vec<Finding> {
    let is_unique = |name: &str| mapped.contains(&name) && fields.is_unique(name);
    let check = Check(Group::Bigin, "duplicate check");
    let mut findings = Vec::new();
    if own.is_none_or(|own| !fields.is_unique(own)) && !is_unique("Email") {
        findings.push(check.failed(
            "Email is not mapped, or allows duplicate values in this organisation",
            "a lead that is sent again is not recognised, and creates a second contact",
            "map Email and switch on \"Do not allow duplicate values\" for it in Bigin, or set BIGIN_LEAD_ID_FIELD",
        ));
    } else {
        let unique = mapped.iter().copied().filter(|name| fields.is_unique(name));
        let all: Vec<&str> = own.into_iter().chain(unique).collect();
        findings.push(check.ok(format!("contacts are recognised by unique fields: {}", all.join(", "))));
    }
    if own.is_none() && !is_unique("Phone") {
        findings.push(Check(Group::Bigin, "no email").warning(
            "a lead without an email address has no unique value: Phone allows duplicate values",
            "it is looked up by its phone number before it is sent, which needs a call and the scope ZohoBigin.coql.READ",
            "add a unique text field for the lead's ID to Contacts and set BIGIN_LEAD_ID_FIELD; or ignore this",
        ));
    }
    findings
}
