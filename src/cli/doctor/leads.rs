//! What would be sent for some leads, without sending it: names of fields, types and lengths, but no values.

use std::collections::BTreeMap;

use serde_json::Value;

use super::bigin::sentence;
use super::finding::{Check, Finding, Group};
use super::sanity::NEEDED;
use super::{Actions, CALL_TIMEOUT, Installation, ShownField, ShownLead};
use crate::cli::text::count;
use crate::config::ConfigError;
use crate::domain::conversation::length;
use crate::domain::lead::{Document, LeadId, LeadRead};
use crate::domain::mapping::Mapping;
use crate::domain::record::{OrgFields, Record};
use crate::domain::reject_reason::RejectReason;
use crate::sanity::{RawDocument, Read};

const SAMPLES: Check = Check(Group::Leads, "samples");
const LEAD: Check = Check(Group::Leads, "lead");

/// The findings, and what would be sent for the lead in `actions`.
pub(super) async fn check(
    installation: &Installation,
    actions: &Actions,
    samples: Vec<LeadId>,
    fields: Option<&OrgFields>,
) -> (Vec<Finding>, Option<ShownLead>) {
    if let Some(skipped) = installation.skipped(SAMPLES, &NEEDED) {
        return (vec![skipped], None);
    }
    if installation
        .errors
        .iter()
        .any(|error| matches!(error, ConfigError::Mapping(_)))
    {
        let skipped = SAMPLES.skipped("the mapping is invalid", "fix the settings first");
        return (vec![skipped], None);
    }
    let mapping = &installation.settings.mapping;
    let own = installation.settings.bigin.lead_id_field.as_deref();
    let record_of = |id: &LeadId, document: Document| render(mapping, own, id, document, fields);
    let rendered = |id: &LeadId, _: LeadRead, document: Option<RawDocument<'_>>| {
        document?.parse().map(|document| record_of(id, document))
    };
    let read = installation.sanity.read(&samples, CALL_TIMEOUT, rendered).await;
    let read = read.unwrap_or_default().into_iter();
    let read: Vec<(LeadId, Rendered)> = read.filter_map(|(id, read)| Some((id, read.answered()??))).collect();
    let mut findings = match read.is_empty() {
        true => Vec::new(),
        false => samples_of(read, fields),
    };
    let Some(id) = &actions.lead else {
        return (findings, None);
    };
    match one(installation, id, record_of).await {
        Err(finding) => {
            findings.push(finding);
            (findings, None)
        }
        Ok((is_requested, record)) => {
            let status = match is_requested {
                true => "its crmStatus is REQUESTED",
                false => "its crmStatus is not REQUESTED",
            };
            findings.push(LEAD.ok(format!("{id} can be sent; {status}")));
            (findings, Some(shown(id, &record, actions.show_values)))
        }
    }
}

type Rendered = Result<Record, RejectReason>;

/// The record, as the upsert stage renders it.
fn render(
    mapping: &Mapping,
    own: Option<&str>,
    id: &LeadId,
    document: Document,
    fields: Option<&OrgFields>,
) -> Rendered {
    let mut record = mapping.render(document, fields)?;
    if let Some(own) = own.filter(|own| fields.is_none_or(|fields| fields.writable(own).is_some())) {
        record.set(own, id.as_str().into());
    }
    Ok(record)
}

fn samples_of(leads: Vec<(LeadId, Rendered)>, fields: Option<&OrgFields>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut filled: BTreeMap<String, usize> = BTreeMap::new();
    let all = leads.len();
    for (id, rendered) in leads {
        match rendered {
            Ok(record) => {
                for (field, value) in record.fields() {
                    *filled.entry(field.to_owned()).or_default() += 1;
                    findings.extend(too_long(&id, field, value, fields));
                }
            }
            Err(reason) => findings.push(Check(Group::Leads, "sample").warning(
                format!("{id} would be rejected: {reason}"),
                "nothing would be sent for it",
                reason.advice(),
            )),
        }
    }
    let filled: Vec<String> = filled
        .iter()
        .map(|(field, count)| format!("{field} {count}/{all}"))
        .collect();
    let what = format!("fields filled in the {}: {}", recent(all), filled.join(", "));
    findings.insert(0, SAMPLES.ok(what));
    findings
}

fn recent(all: usize) -> String {
    match all {
        1 => "most recent lead".to_owned(),
        all => format!("{all} most recent leads"),
    }
}

/// Bigin rejects a value that is too long.
fn too_long(lead: &LeadId, field: &str, value: &Value, fields: Option<&OrgFields>) -> Option<Finding> {
    let max = fields?.0.get(field)?.length?;
    let long = length(value.as_str()?);
    (long > max).then(|| {
        Check(Group::Leads, "length").warning(
            format!(
                "{lead} has {} in {field}, which accepts {max}",
                count(long, "character")
            ),
            "Bigin rejects the lead; it does not shorten values",
            format!("shorten it in the mapping: {{{{ (… or '')[:{max}] }}}}, or make the field longer in Bigin"),
        )
    })
}

/// Whether a lead is requested, and its record.
async fn one(
    installation: &Installation,
    id: &LeadId,
    record_of: impl Fn(&LeadId, Document) -> Rendered + Sync,
) -> Result<(bool, Record), Finding> {
    let rendered = |id: &LeadId, lead: LeadRead, document: Option<RawDocument<'_>>| {
        let document = document.and_then(|document| document.parse());
        (lead, document.map(|document| record_of(id, document)))
    };
    let ids = std::slice::from_ref(id);
    let read = installation.sanity.read(ids, CALL_TIMEOUT, rendered).await;
    let mut read =
        read.map_err(|error| LEAD.failed(sentence(&error), "the lead cannot be read", "see the checks of Sanity"))?;
    let rejected = |reason: &RejectReason| {
        let what = format!("{id} would be rejected: {reason}");
        LEAD.failed(what, "nothing would be sent for it", reason.advice())
    };
    let read = read.remove(id);
    match &read {
        Some(Read::TooLarge) => return Err(rejected(&RejectReason::LeadTooLarge)),
        Some(Read::Denied) => return Err(rejected(&RejectReason::LeadUnreadable)),
        _ => {}
    }
    let (lead, rendered) = read.and_then(Read::answered).unwrap_or_default();
    let Some((published, rendered)) = lead.published.zip(rendered) else {
        let todo = match lead.drafts_and_versions.is_empty() {
            true => "copy the ID from the Studio; the document must have the type in SANITY_LEAD_TYPE",
            false => "publish it: there is only a draft",
        };
        let what = format!("{id} is not a published lead");
        return Err(LEAD.failed(what, "only published leads are sent", todo));
    };
    let record = rendered.map_err(|reason| rejected(&reason))?;
    Ok((published.is_requested(), record))
}

fn shown(id: &LeadId, record: &Record, show_values: bool) -> ShownLead {
    let shown = |value: &Value| {
        let (kind, text) = match value {
            Value::String(text) => ("text", text.clone()),
            Value::Bool(_) => ("boolean", value.to_string()),
            _ => ("number", value.to_string()),
        };
        ShownField {
            kind,
            length: length(&text),
            value: show_values.then_some(text),
        }
    };
    let fields = record.fields().map(|(name, value)| (name.to_owned(), shown(value)));
    ShownLead {
        id: id.clone(),
        fields: fields.collect(),
    }
}
