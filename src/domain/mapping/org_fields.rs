//! What the organisation's fields take of a rendered lead, and the Description that takes up the rest.

use serde_json::{Number, Value};

use crate::domain::conversation::{end, length};
use crate::domain::record::{Field, OrgFields};
use crate::domain::reject_reason::RejectReason;

/// The field that takes the conversation, and what no other field takes.
pub(super) const DESCRIPTION: &str = "Description";

/// The one field Bigin creates no contact without.
pub(super) const LAST_NAME: &str = "Last_Name";

/// Longest Description, where the organisation's metadata does not say.
const DESCRIPTION_LENGTH: usize = 32_000;

/// Between the conversation and the extras.
const SEPARATOR: &str = "\n\n";

/// Whether a field is sent under its own name.
///
/// Last_Name always is: Bigin does not take a contact without it, so metadata that lacks it cannot be right.
pub(super) fn takes(fields: Option<&OrgFields>, field: &str) -> bool {
    fields.is_none_or(|fields| field == LAST_NAME || fields.writable(field).is_some())
}

/// A text as JSON of the field's type. What does not parse stays text: Bigin refuses it and says of which field.
pub(super) fn convert(field: Option<&Field>, text: String) -> Value {
    let converted = match field.map_or("", |field| field.data_type.as_str()) {
        "boolean" => boolean(&text).map(Value::Bool),
        "integer" => integer(&text),
        "double" | "currency" => integer(&text).or_else(|| double(&text)),
        _ => None,
    };
    converted.unwrap_or(Value::String(text))
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Some(true),
        "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

fn integer(text: &str) -> Option<Value> {
    text.parse::<i64>().ok().map(Value::from)
}

fn double(text: &str) -> Option<Value> {
    // Infinity and NaN parse, and are no JSON.
    Number::from_f64(text.parse().ok()?).map(Value::Number)
}

/// The line that says what a field would have said: `Lead Source: DBR Dashboard`.
pub(super) fn extra(field: &str, text: &str) -> String {
    let one_line: Vec<_> = text.split_whitespace().collect();
    format!("{}: {}", label(field), one_line.join(" "))
}

fn label(field: &str) -> String {
    field.replace('_', " ")
}

/// The room of a Description and the extras that go to its end.
pub(super) struct Description {
    extras: String,
    /// What is left for the text before the extras.
    pub(super) room: usize,
}

impl Description {
    /// # Errors
    /// The first extra that there is no room for: leaving it out would say less of the lead than it says itself.
    pub(super) fn new(fields: Option<&OrgFields>, lines: &[(&str, String)]) -> Result<Self, RejectReason> {
        let field = fields.and_then(|fields| fields.writable(DESCRIPTION));
        let limit = field.and_then(|field| field.length).unwrap_or(DESCRIPTION_LENGTH);
        let mut extras = String::new();
        for (name, line) in lines {
            let gap = if extras.is_empty() { "" } else { "\n" };
            if length(&extras) + gap.len() + length(line) > limit {
                return Err(RejectReason::NoRoom { field: label(name) });
            }
            extras.extend([gap, line]);
        }
        let taken = if extras.is_empty() {
            0
        } else {
            length(&extras) + SEPARATOR.len()
        };
        Ok(Self {
            extras,
            room: limit.saturating_sub(taken),
        })
    }

    /// The whole Description. A text that is still too long loses its beginning, where the oldest is.
    pub(super) fn complete(self, text: &str) -> String {
        let text = end(text.trim(), self.room);
        match (text.is_empty(), self.extras.is_empty()) {
            (true, _) => self.extras,
            (false, true) => text,
            (false, false) => text + SEPARATOR + &self.extras,
        }
    }
}

#[cfg(test)]
mod tests;
