//! What would be sent for some leads, without sending it: names of fields, kinds and lengths, and no value.

use std::collections::BTreeMap;

use serde_json::Value;

use super::bigin::sentence;
use super::finding::{Finding, Group};
use super::sanity::NEEDED;
use super::{FieldShown, LeadShown, PATIENCE, Patient, Wishes};
use crate::domain::conversation::length;
use crate::domain::lead::{Document, LeadId, LeadRead};
use crate::domain::mapping::Mapping;
use crate::domain::record::{OrgFields, Record};
use crate::domain::reject_reason::RejectReason;
use crate::sanity::{RawDocument, Read};

/// What is found, and what would be sent for the lead that was asked for.
pub(super) async fn look(
    patient: &Patient,
    wishes: &Wishes,
    samples: Vec<LeadId>,
    fields: Option<&OrgFields>,
) -> (Vec<Finding>, Option<LeadShown>) {
    if let Some(blocked) = patient.blocked(Group::Leads, "samples", &NEEDED) {
        return (vec![blocked], None);
    }
    let Some(mapping) = &patient.mapping else {
        let what = "not looked at, since the mapping has a fault";
        return (
            vec![Finding::skipped(
                Group::Leads,
                "samples",
                what,
                "mend the settings first",
            )],
            None,
        );
    };
    let own = patient.settings.bigin.lead_id_field.as_deref();
    let record_of = |id: &LeadId, document: Document| render(mapping, own, id, document, fields);
    let mut findings = Vec::new();
    let rendered = |id: &LeadId, _: LeadRead, document: Option<RawDocument<'_>>| {
        document?.parse().map(|document| record_of(id, document))
    };
    let read = patient
        .sanity
        .read(&samples, PATIENCE, rendered)
        .await
        .unwrap_or_default();
    let read: Vec<(LeadId, Rendered)> = read
        .into_iter()
        .filter_map(|(id, read)| Some((id, read.made()??)))
        .collect();
    if !read.is_empty() {
        findings.extend(samples_of(read, fields));
    }
    let Some(id) = &wishes.lead else {
        return (findings, None);
    };
    let (finding, shown) = one(patient, id, record_of, wishes.show_values).await;
    findings.push(finding);
    (findings, shown)
}

type Rendered = Result<Record, RejectReason>;

/// As the worker does it.
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
    let count = leads.len();
    for (id, rendered) in leads {
        let record = match rendered {
            Ok(record) => record,
            Err(rejection) => {
                findings.push(Finding::warning(
                    Group::Leads,
                    "sample",
                    format!("{id} would end FAILED: {rejection}"),
                    "it is refused before anything is sent",
                    "fill it in in the Studio, or change the mapping",
                ));
                continue;
            }
        };
        for (field, value) in record.fields() {
            *filled.entry(field.to_owned()).or_default() += 1;
            findings.extend(too_long(&id, field, value, fields));
        }
    }
    let filled: Vec<String> = filled.iter().map(|(field, count)| format!("{field} {count}")).collect();
    let what = format!(
        "of the {count} changed last, this many would have: {}",
        filled.join(", ")
    );
    findings.insert(0, Finding::ok(Group::Leads, "samples", what));
    findings
}

/// Bigin refuses what is too long, and cuts nothing.
fn too_long(lead: &LeadId, field: &str, value: &Value, fields: Option<&OrgFields>) -> Option<Finding> {
    let most = fields?.0.get(field)?.length?;
    let long = length(value.as_str()?);
    (long > most).then(|| {
        Finding::warning(
            Group::Leads,
            "length",
            format!("{lead} would have {long} characters in {field}, which takes {most}"),
            "Bigin refuses the lead, and cuts nothing",
            format!("shorten it in the mapping: {{{{ (… or '')[:{most}] }}}}, or make the field longer in Bigin"),
        )
    })
}

async fn one(
    patient: &Patient,
    id: &LeadId,
    record_of: impl Fn(&LeadId, Document) -> Rendered + Sync,
    show_values: bool,
) -> (Finding, Option<LeadShown>) {
    let failed = |what: String, why: &str, todo: &str| (Finding::failed(Group::Leads, "lead", what, why, todo), None);
    let rendered = |id: &LeadId, lead: LeadRead, document: Option<RawDocument<'_>>| {
        let document = document.and_then(|document| document.parse());
        (lead, document.map(|document| record_of(id, document)))
    };
    let read = match patient.sanity.read(std::slice::from_ref(id), PATIENCE, rendered).await {
        Ok(mut read) => read.remove(id),
        Err(error) => {
            return failed(
                sentence(&error),
                "the lead cannot be read",
                "see what the checks of Sanity say",
            );
        }
    };
    let unfit = match &read {
        Some(Read::TooLarge) => Some(RejectReason::LeadTooLarge),
        Some(Read::Denied) => Some(RejectReason::LeadUnreadable),
        _ => None,
    };
    if let Some(unfit) = unfit {
        return failed(
            format!("{id} would end FAILED: {}", unfit),
            "nothing is sent for it",
            unfit.advice(),
        );
    }
    let (lead, rendered) = read.and_then(Read::made).unwrap_or_default();
    let Some((published, rendered)) = lead.published.zip(rendered) else {
        let todo = match lead.copies.is_empty() {
            true => "copy the id from the Studio; it has to be of the type that SANITY_LEAD_TYPE names",
            false => "publish it: it is a draft so far",
        };
        return failed(
            format!("{id} is no published lead"),
            "only published leads are sent",
            todo,
        );
    };
    let record = match rendered {
        Ok(record) => record,
        Err(rejection) => {
            let todo = "fill it in in the Studio, or change the mapping";
            return failed(
                format!("{id} would end FAILED: {rejection}"),
                "nothing is sent for it",
                todo,
            );
        }
    };
    let shown = |value: &Value| {
        let (kind, text) = match value {
            Value::String(text) => ("text", text.clone()),
            Value::Bool(_) => ("truth value", value.to_string()),
            _ => ("number", value.to_string()),
        };
        FieldShown {
            kind,
            length: length(&text),
            value: show_values.then_some(text),
        }
    };
    let fields = record.fields().map(|(name, value)| (name.to_owned(), shown(value)));
    let asks = match published.is_requested() {
        true => "asks to be sent",
        false => "does not ask to be sent: its crmStatus is not REQUESTED",
    };
    let what = format!("{id} can be sent, and {asks}");
    let shown = LeadShown {
        id: id.clone(),
        fields: fields.collect(),
    };
    (Finding::ok(Group::Leads, "lead", what), Some(shown))
}
