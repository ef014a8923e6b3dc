//! Whether Bigin takes a record: names, types, lengths, and what must not be missing.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::fields::FieldMeta;
use super::model::Model;
use super::options::UnknownKeys;
use super::reply::error_object;
use super::request_log::Action;
use super::tags;

/// A record that was found good.
pub(super) struct Accepted {
    /// API name → value; null clears.
    pub(super) fields: BTreeMap<String, Value>,
    /// The names under `Tag`, where the record has that key.
    pub(super) tags: Option<Vec<String>>,
}

/// Reads one record of a call; else the error that stands in its place in the answer.
pub(super) fn record(model: &Model, record: &Map<String, Value>) -> Result<Accepted, Value> {
    let mut accepted = Accepted {
        fields: BTreeMap::new(),
        tags: None,
    };
    for (name, value) in record.iter().filter(|(name, _)| *name != "id") {
        match model.field(name).filter(|field| !field.read_only) {
            Some(field) if field.api_name == "Tag" => accepted.tags = Some(tag_names(value)?),
            Some(field) => {
                let value = written(field, value)?;
                accepted.fields.insert(name.clone(), value);
            }
            None if model.switches.unknown_keys == UnknownKeys::Ignore => {}
            None => return Err(invalid(json!({ "api_name": name }))),
        }
    }
    Ok(accepted)
}

/// Refuses an insert that lacks a mandatory field, and an update that clears one.
pub(super) fn mandatory(model: &Model, fields: &BTreeMap<String, Value>, action: Action) -> Result<(), Value> {
    let missing = |field: &&FieldMeta| match fields.get(&field.api_name) {
        Some(value) => value.is_null(),
        None => action == Action::Insert,
    };
    let mut wanted = model.fields.iter().filter(|field| field.mandatory);
    match wanted.find(missing) {
        Some(field) => Err(error_object(
            "MANDATORY_NOT_FOUND",
            json!({ "api_name": field.api_name }),
        )),
        None => Ok(()),
    }
}

fn invalid(details: Value) -> Value {
    error_object("INVALID_DATA", details)
}

/// The value that is stored for a field: blank text clears, as null does.
fn written(field: &FieldMeta, value: &Value) -> Result<Value, Value> {
    if value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty()) {
        return Ok(Value::Null);
    }
    if !has_type(&field.data_type, value) {
        let details = json!({"expected_data_type": field.data_type, "api_name": field.api_name});
        return Err(invalid(details));
    }
    // Over-long text is refused and not cut (official docs, insert-records); like everything on this platform, which is
    // written in Java, it is counted in UTF-16.
    let length = value.as_str().map_or(0, |text| text.encode_utf16().count());
    if length > field.length {
        let details = json!({"maximum_length": field.length, "api_name": field.api_name});
        return Err(invalid(details));
    }
    Ok(value.clone())
}

fn has_type(data_type: &str, value: &Value) -> bool {
    let text = value.as_str();
    match data_type {
        "boolean" => value.is_boolean(),
        "integer" | "bigint" => value.is_i64() || value.is_u64(),
        "double" | "currency" | "percent" => value.is_number(),
        "date" => text.is_some_and(|text| text.parse::<jiff::civil::Date>().is_ok() && text.len() == 10),
        "datetime" => text.is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
        "email" => text.is_some_and(is_email),
        "phone" => text.is_some_and(is_phone),
        "lookup" | "ownerlookup" => value.get("id").is_some_and(Value::is_string) || value.is_string(),
        "multiselectpicklist" => value.as_array().is_some_and(|all| all.iter().all(Value::is_string)),
        _ => value.is_string(),
    }
}

/// The exact rule is not published; this one refuses what is plainly no address.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let in_local = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let local_is_good = !local.is_empty() && !local.starts_with('.') && !local.ends_with('.') && !local.contains("..");
    local_is_good && local.chars().all(in_local) && domain.contains('.') && domain.split('.').all(label)
}

/// Phones are checked (recorded by an integrator: `expected_data_type` phone), by which rule is not published.
fn is_phone(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_digit() || " +()-.".contains(c);
    text.chars().all(legal) && text.chars().any(|c| c.is_ascii_digit())
}

fn tag_names(value: &Value) -> Result<Vec<String>, Value> {
    let wrong_type = || invalid(json!({"expected_data_type": "jsonarray", "api_name": "Tag"}));
    if value.is_null() {
        return Ok(Vec::new());
    }
    let tags = value.as_array().ok_or_else(wrong_type)?;
    let names = tags.iter().map(|tag| tag.get("name")?.as_str().map(str::to_owned));
    let names: Vec<String> = names.collect::<Option<_>>().ok_or_else(wrong_type)?;
    match names.iter().find_map(|name| tags::fault_of(name)) {
        Some((code, details)) => Err(error_object(code, details)),
        None => Ok(names),
    }
}
