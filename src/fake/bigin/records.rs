//! Upsert, insert and update of contacts.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::fault::Fault;
use super::fields::{FieldMeta, Unique};
use super::model::{Model, SYSTEM_CHECK};
use super::reply::{Item, Reply, bigin_time, error_object, invalid_id};
use super::request::Request;
use super::request_log::{Action, Change};
use super::tags::{self, MAX_TAGS_OF_RECORD};
use super::validate::{self, Accepted};

/// Records of one call (official docs, api-limits).
const MAX_RECORDS: usize = 100;

/// The body of a call that writes records.
pub(super) struct Batch {
    pub(super) records: Vec<Map<String, Value>>,
    /// `duplicate_check_fields`; empty where none are listed.
    listed: Vec<String>,
    trigger: Option<Vec<String>>,
}

impl Batch {
    pub(super) fn names_no_check(&self) -> bool {
        self.listed.is_empty()
    }

    /// Reads the body; else the answer that refuses it as a whole.
    pub(super) fn read(request: &Request) -> Result<Self, Reply> {
        let wrong_type = |api_name: &str, expected: &str| {
            let details = json!({"expected_data_type": expected, "api_name": api_name});
            Reply::refusal(400, "INVALID_DATA", details)
        };
        let body = request.json();
        let Some(body) = body.as_ref().and_then(Value::as_object) else {
            return Err(wrong_type("body", "jsonobject"));
        };
        let names = |key: &str| match body.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => texts(value).map(Some).ok_or_else(|| wrong_type(key, "jsonarray")),
        };
        let listed = names("duplicate_check_fields")?.unwrap_or_default();
        let trigger = names("trigger")?;
        let records = match body.get("data") {
            None => return Err(missing("data")),
            Some(data) => data.as_array().ok_or_else(|| wrong_type("data", "jsonarray"))?,
        };
        if records.is_empty() {
            return Err(missing("data"));
        }
        if records.len() > MAX_RECORDS {
            let details = json!({"maximum_length": MAX_RECORDS, "api_name": "data"});
            return Err(Reply::refusal(400, "INVALID_DATA", details));
        }
        let records = records.iter().map(|record| record.as_object().cloned());
        let records = records.collect::<Option<_>>();
        Ok(Self {
            records: records.ok_or_else(|| wrong_type("data", "jsonobject"))?,
            listed,
            trigger,
        })
    }

    /// Gives every record the id that stood in the path.
    pub(super) fn with_id(mut self, id: &str) -> Self {
        self.records.truncate(1);
        for record in &mut self.records {
            record.insert("id".to_owned(), json!(id));
        }
        self
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let texts = value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned));
    texts.collect()
}

fn missing(api_name: &str) -> Reply {
    Reply::refusal(400, "MANDATORY_NOT_FOUND", json!({ "api_name": api_name }))
}

/// How the records of a call find their contacts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// By unique values.
    Upsert,
    /// By the id in the record.
    Update,
    /// Not at all: each is new.
    Insert,
}

/// Carries the records out in their order, each by itself: the second of two with one email updates the first.
pub(super) fn write(model: &mut Model, batch: &Batch, mode: Mode, fault: Option<&Fault>) -> Reply {
    let mut items = Vec::with_capacity(batch.records.len());
    for (index, record) in batch.records.iter().enumerate() {
        let outcome = match fault.and_then(|fault| fault.record_error(index)) {
            Some(error) => Err(error),
            None => write_one(model, batch, record, mode),
        };
        items.push(outcome.unwrap_or_else(Item::Failed));
    }
    Reply::items(items, &model.switches)
}

fn write_one(model: &mut Model, batch: &Batch, record: &Map<String, Value>, mode: Mode) -> Result<Item, Value> {
    let named = match mode {
        Mode::Update => Some(id_of(model, record)?),
        Mode::Upsert | Mode::Insert => None,
    };
    let accepted = validate::record(model, record)?;
    let matched = match mode {
        Mode::Upsert => find(model, &batch.listed, &accepted.fields),
        Mode::Update | Mode::Insert => None,
    };
    let found = named.as_ref().or(matched.as_ref().map(|(id, _)| id));
    let action = if found.is_some() {
        Action::Update
    } else {
        Action::Insert
    };
    validate::mandatory(model, &accepted.fields, action)?;
    let email_counts = mode != Mode::Upsert
        || batch.listed.is_empty()
        || batch.listed.iter().any(|name| name == SYSTEM_CHECK)
        || model.switches.email_always_unique;
    conflict(model, found, &accepted.fields, email_counts)?;
    let tags = tags_after(model, found, accepted.tags.as_deref())?;
    let id = store(model, found.cloned(), accepted, tags, batch.trigger.clone());
    Ok(success(model, &id, action, mode, matched.map(|(_, field)| field)))
}

/// The contact that the record names by its id.
fn id_of(model: &Model, record: &Map<String, Value>) -> Result<String, Value> {
    let details = json!({"api_name": "id"});
    match record.get("id") {
        None | Some(Value::Null) => Err(error_object("MANDATORY_NOT_FOUND", details)),
        Some(id) => id
            .as_str()
            .filter(|id| model.live(id).is_some())
            .map(str::to_owned)
            .ok_or_else(|| invalid_id(details)),
    }
}

/// The contact an upsert goes to, and the field it was found by. The order is that of the docs' table (Zoho CRM,
/// upsert-records): what is listed, in its order, then every other field that the organisation made unique; Email only
/// where it is listed or nothing is. A field that is not unique may be listed, and matches nothing.
fn find(model: &Model, listed: &[String], fields: &BTreeMap<String, Value>) -> Option<(String, String)> {
    let unique = |field: &&FieldMeta| field.unique != Unique::No;
    let named = listed.iter().filter_map(|name| model.field(name));
    let email = model.field(SYSTEM_CHECK).filter(|_| listed.is_empty());
    let others = model.fields.iter().filter(|field| field.api_name != SYSTEM_CHECK);
    let mut checks = named.chain(email).chain(others).filter(unique);
    checks.find_map(|field| {
        let value = fields.get(&field.api_name)?.as_str()?;
        let id = model.holders(field, value).next()?;
        Some((id.to_owned(), field.api_name.clone()))
    })
}

/// Refuses a record whose unique value belongs to another contact, and names that contact.
fn conflict(
    model: &Model,
    own: Option<&String>,
    fields: &BTreeMap<String, Value>,
    email_counts: bool,
) -> Result<(), Value> {
    let before = own.and_then(|id| model.live(id));
    let unique = model.fields.iter().filter(|field| field.unique != Unique::No);
    for field in unique.filter(|field| email_counts || field.api_name != SYSTEM_CHECK) {
        let Some(value) = fields.get(&field.api_name).and_then(Value::as_str) else {
            continue;
        };
        let key = field.unique.key(value);
        let kept = before.and_then(|contact| contact.text(&field.api_name));
        if kept.is_some_and(|kept| field.unique.key(kept) == key) {
            continue;
        }
        if let Some(other) = model.holders(field, value).find(|id| own.is_none_or(|own| own != id)) {
            let details = json!({"api_name": field.api_name, "duplicate_record": {"id": other}});
            return Err(error_object("DUPLICATE_DATA", details));
        }
    }
    Ok(())
}

/// The tags a contact will have, where the record has the key `Tag`.
fn tags_after(model: &Model, id: Option<&String>, named: Option<&[String]>) -> Result<Option<Vec<String>>, Value> {
    let Some(named) = named else { return Ok(None) };
    let before = id
        .and_then(|id| model.live(id))
        .map_or(&[][..], |contact| &contact.tags);
    let kept = if model.switches.tag_key_replaces { &[] } else { before };
    let tags = tags::union(kept, named);
    if tags.len() > MAX_TAGS_OF_RECORD {
        return Err(error_object("LIMIT_EXCEEDED", json!({"api_name": "Tag"})));
    }
    Ok(Some(tags))
}

fn store(
    model: &mut Model,
    id: Option<String>,
    accepted: Accepted,
    tags: Option<Vec<String>>,
    trigger: Option<Vec<String>>,
) -> String {
    let written = accepted.fields;
    let (id, action) = match id {
        Some(id) => {
            model.write(&id, written.clone());
            (id, Action::Update)
        }
        None => (model.add_contact(written.clone()), Action::Insert),
    };
    model.changes.push(Change::Upserted {
        contact: id.clone(),
        action,
        at: model.clock.now(),
        fields: written,
        trigger,
    });
    if let Some(tags) = tags {
        tags::put_on(model, &id, &accepted.tags.unwrap_or_default(), tags);
    }
    id
}

fn success(model: &Model, id: &str, action: Action, mode: Mode, duplicate_field: Option<String>) -> Item {
    let contact = model.live(id);
    let user = json!({"name": "Fake Owner", "id": "7618134000000627001"});
    let details = json!({
        "Modified_Time": contact.map(|contact| bigin_time(contact.modified_at)),
        "Modified_By": user,
        "Created_Time": contact.map(|contact| bigin_time(contact.created_at)),
        "id": id,
        "Created_By": user,
    });
    let (word, message) = match action {
        Action::Insert => ("insert", "record added"),
        Action::Update => ("update", "record updated"),
    };
    let mut item = json!({"code": "SUCCESS", "details": details, "message": message, "status": "success"});
    if mode == Mode::Upsert {
        // Both stand beside `details`, not in it (recorded live traffic, 2026-10-09).
        item["action"] = json!(word);
        item["duplicate_field"] = json!(duplicate_field);
    }
    match action {
        Action::Insert => Item::Inserted(item),
        Action::Update => Item::Done(item),
    }
}
