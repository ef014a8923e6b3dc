//! Reading contacts: by id, and through the search index, which lags.

use serde_json::{Map, Value, json};

use super::model::{Contact, Model};
use super::reply::{Reply, bigin_time};
use super::request::Request;
use super::tags;
use crate::clock::after;

/// `GET Contacts/{id}`; 204 where there is no such contact (any more).
pub(super) fn by_id(model: &Model, id: &str) -> Reply {
    match model.live(id) {
        Some(contact) => Reply::json(200, json!({"data": [record(model, id, contact)]})),
        None => Reply::nothing(),
    }
}

/// `GET Contacts/search?email=` or `?phone=`. A contact that changed a moment ago is not in the index yet (Zoho CRM
/// docs, search-records: "you may face 204 due to a delay in indexing").
pub(super) fn search(model: &Model, request: &Request) -> Reply {
    let (fields, wanted) = match (request.query("email"), request.query("phone")) {
        (Some(email), _) => (&["Email"][..], email),
        (None, Some(phone)) => (&["Phone", "Home_Phone", "Mobile"][..], phone),
        (None, None) => return Reply::refusal(400, "REQUIRED_PARAM_MISSING", json!({"param": "email"})),
    };
    let wanted = wanted.to_lowercase();
    let now = model.clock.now();
    let indexed = |contact: &Contact| after(contact.modified_at, model.switches.search_lag) <= now;
    let has_it = |contact: &Contact| {
        let mut texts = fields.iter().filter_map(|field| contact.text(field));
        texts.any(|text| text.to_lowercase() == wanted)
    };
    let found = model
        .contacts()
        .filter(|(_, contact)| indexed(contact) && has_it(contact));
    let data: Vec<Value> = found
        .take(200)
        .map(|(id, contact)| record(model, id, contact))
        .collect();
    if data.is_empty() {
        return Reply::nothing();
    }
    let info = json!({"per_page": 200, "count": data.len(), "page": 1, "more_records": false});
    Reply::json(200, json!({"data": data, "info": info}))
}

/// A contact as the API shows it: every field, null where it is empty.
pub(super) fn record(model: &Model, id: &str, contact: &Contact) -> Value {
    let fields = model.fields.iter().map(|field| field.api_name.as_str());
    let mut shown: Map<String, Value> = fields
        .map(|name| (name.to_owned(), value_of(model, contact, name)))
        .collect();
    shown.insert("id".to_owned(), json!(id));
    Value::Object(shown)
}

/// One field of a contact; null where it is empty.
pub(super) fn value_of(model: &Model, contact: &Contact, field: &str) -> Value {
    match field {
        "Full_Name" => {
            let parts = ["First_Name", "Last_Name"].map(|name| contact.text(name));
            let parts: Vec<&str> = parts.into_iter().flatten().collect();
            json!(parts.join(" "))
        }
        "Tag" => contact.tags.iter().map(|name| tags::object(model, name)).collect(),
        "Created_Time" => json!(bigin_time(contact.created_at)),
        "Modified_Time" => json!(bigin_time(contact.modified_at)),
        _ => contact.fields.get(field).cloned().unwrap_or(Value::Null),
    }
}
