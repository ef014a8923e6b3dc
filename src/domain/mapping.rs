//! The mapping: which fields of a Bigin contact are made from what of a lead. Configuration, rendered by pure templates.

mod org_fields;
mod templates;

use std::collections::BTreeMap;
use std::fmt;

use jiff::tz::TimeZone;
use minijinja::Value;
use serde_json::Value as Json;

use super::conversation::{self, fits, length};
use super::lead::Document;
use super::phone;
use super::record::{OrgFields, PHONE, Record};
use super::reject_reason::RejectReason;
use org_fields::{DESCRIPTION, Description, LAST_NAME};
use templates::{Rendered, Templates, Variables};

/// Templates of Bigin's fields, checked and ready to render leads.
pub struct Mapping {
    templates: Templates,
    region: String,
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mapping")
            .field(&self.fields().collect::<Vec<_>>())
            .finish()
    }
}

/// A problem of the configured mapping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct MappingError {
    /// The field, as it is spelled in the configuration.
    pub field: String,
    pub problem: MappingProblem,
}

/// The kinds of problems of a mapping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingProblem {
    /// The required field has no template.
    #[error("not mapped, and Bigin takes no contact without it")]
    Required,
    /// No field can have this name.
    #[error("not the API name of a field: a letter, then letters, digits and '_'")]
    FieldName,
    /// The template uses what does not exist.
    #[error("there is no {kind} {name:?}")]
    Unknown {
        /// `filter`, `test`, `function` or `method`.
        kind: &'static str,
        /// As the template spells it.
        name: String,
    },
    /// The template cannot be parsed, or fails on every lead.
    #[error("{message}{}", .line.map(|line| format!(" (line {line})")).unwrap_or_default())]
    Template {
        /// The line of the template.
        line: Option<usize>,
        /// The template engine's own words.
        message: String,
    },
}

impl Mapping {
    /// Takes the templates by the API name of their Bigin field, and returns all their problems. A mapping with a problem is
    /// for diagnosis only.
    ///
    /// A template sees the lead's fields as variables, and the whole lead as `lead`. What a lead lacks is empty, at any
    /// depth. Besides minijinja's own filters there are `e164` (optionally the region of numbers without a country
    /// code, in place of `phone_region`), `date` (optionally a strftime format) and `conversation`; times are those of
    /// `time_zone`.
    pub fn new(
        templates: &BTreeMap<String, String>,
        time_zone: TimeZone,
        phone_region: &str,
    ) -> (Self, Vec<MappingError>) {
        let mut errors = Vec::new();
        let mut add = |field: &str, problems: Vec<MappingProblem>| {
            let field = field.to_owned();
            errors.extend(problems.into_iter().map(|problem| MappingError {
                field: field.clone(),
                problem,
            }));
        };
        if !templates.contains_key(LAST_NAME) {
            add(LAST_NAME, vec![MappingProblem::Required]);
        }
        let mut ready = Templates::new(time_zone, phone_region);
        for (field, template) in templates {
            match is_api_name(field) {
                true => add(field, ready.add(field, template).err().unwrap_or_default()),
                false => add(field, vec![MappingProblem::FieldName]),
            }
        }
        let mapping = Self {
            templates: ready,
            region: phone_region.to_owned(),
        };
        (mapping, errors)
    }

    /// The names of the mapped fields, in their order.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.templates.fields()
    }

    /// The region of phone numbers without a country code.
    pub fn phone_region(&self) -> &str {
        &self.region
    }

    /// The record of a lead's document: every field with something in it, as far as the organisation has the field.
    ///
    /// What the organisation's Contacts lack, or do not let us write, goes to the end of Description, a line each.
    /// Without `fields` everything is sent as it is. The same lead and fields make the same record.
    pub fn render(&self, lead: Document, fields: Option<&OrgFields>) -> Result<Record, RejectReason> {
        let variables = Variables::of(lead);
        let everything = variables.with_limit(conversation::LIMIT);
        let mut record = Record::default();
        let mut extras = Vec::new();
        for field in self.fields().filter(|field| *field != DESCRIPTION) {
            let rendered = self.rendered(field, &everything)?;
            let text = rendered.text.trim().to_owned();
            match text.as_str() {
                "" => {}
                _ if org_fields::takes(fields, field) => {
                    record.set(
                        field,
                        org_fields::convert(fields.and_then(|fields| fields.writable(field)), text),
                    );
                    if field == PHONE && rendered.is_canonical_phone {
                        record.mark_phone_canonical();
                    }
                }
                _ => extras.push((field, org_fields::extra(field, &text))),
            }
        }
        if record.text(LAST_NAME).is_none() {
            return Err(RejectReason::NameMissing);
        }
        if org_fields::takes(fields, DESCRIPTION) {
            let description = Description::new(fields, &extras)?;
            let text = self.description(&variables, &everything, description.room)?;
            record.set(DESCRIPTION, Json::String(description.complete(&text)));
        }
        Ok(record)
    }

    /// The text of Description without the extras. Where it is longer than `room`, the conversation in it gives way:
    /// it is rendered again, with what the text around it leaves as its limit.
    fn description(&self, variables: &Variables, everything: &Value, room: usize) -> Result<String, RejectReason> {
        if !self.fields().any(|field| field == DESCRIPTION) {
            return Ok(String::new());
        }
        let text = self.text(DESCRIPTION, everything)?;
        if fits(text.trim(), room) {
            return Ok(text);
        }
        let around = self.text(DESCRIPTION, &variables.with_limit(0))?;
        match room.checked_sub(length(&around)) {
            Some(rest) if rest > 0 => self.text(DESCRIPTION, &variables.with_limit(rest)),
            _ => Ok(text),
        }
    }

    fn text(&self, field: &str, variables: &Value) -> Result<String, RejectReason> {
        self.rendered(field, variables).map(|rendered| rendered.text)
    }

    fn rendered(&self, field: &str, variables: &Value) -> Result<Rendered, RejectReason> {
        let rendered = self.templates.render(field, variables);
        rendered.map_err(|error| RejectReason::TemplateFailed {
            field: field.to_owned(),
            error,
        })
    }
}

/// The record's phone number in canonical form, read as one of `region`, the mapping's, where it has no country code.
pub fn canonical_phone(record: &Record, region: &str) -> Option<String> {
    match record.canonical_phone() {
        Some(number) => Some(number.to_owned()),
        None => phone::canonical(record.text(PHONE)?, region),
    }
}

fn is_api_name(field: &str) -> bool {
    field.starts_with(|c: char| c.is_ascii_alphabetic())
        && field.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

#[cfg(test)]
mod tests;
