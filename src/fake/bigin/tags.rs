//! Tags: adding them to contacts, and the module's list of them.

use serde_json::{Value, json};

use super::fault::Fault;
use super::model::Model;
use super::reply::{Item, Reply, error_object, invalid_id};
use super::request::Request;
use super::request_log::Change;

/// Records of one call (official docs, api-limits).
const MAX_IDS: usize = 500;
/// Zoho CRM docs, create-tag; Bigin's own numbers are not published.
pub(super) const MAX_TAGS_OF_RECORD: usize = 10;
const MAX_TAGS_OF_MODULE: usize = 100;
const MAX_TAG_NAME: usize = 25;

/// What a call to `add_tags` asks for.
pub(super) struct TagOrder {
    pub(super) ids: Vec<String>,
    names: Vec<String>,
    over_write: bool,
}

impl TagOrder {
    /// Reads the call: v1 takes everything from the query (official docs, v1 add-tags-records), v2 from a JSON body (as
    /// Zoho CRM does from v3 on; Bigin's page shows no query string). `id` is the contact in the path, if there is one.
    pub(super) fn read(request: &Request, version: &str, id: Option<&str>) -> Result<Self, Reply> {
        let order = match version {
            "v1" => Self::from_query(request, id)?,
            _ => Self::from_body(request, id)?,
        };
        if order.ids.len() > MAX_IDS {
            return Err(Reply::refusal(
                400,
                "LIMIT_EXCEEDED",
                json!({"limit": MAX_IDS, "param": "ids"}),
            ));
        }
        if order.names.is_empty() {
            return Err(required("tag_names"));
        }
        if order.ids.is_empty() {
            return Err(required("ids"));
        }
        match order.names.iter().find_map(|name| fault_of(name)) {
            Some((code, details)) => Err(Reply::refusal(400, code, details)),
            None => Ok(order),
        }
    }

    fn from_query(request: &Request, id: Option<&str>) -> Result<Self, Reply> {
        let list = |text: String| {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            items.map(str::to_owned).collect::<Vec<_>>()
        };
        let over_write = match request.query("over_write").as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(pattern("over_write")),
        };
        let ids = match id {
            Some(id) => vec![id.to_owned()],
            None => list(request.query("ids").ok_or_else(|| required("ids"))?),
        };
        let names = list(request.query("tag_names").ok_or_else(|| required("tag_names"))?);
        Ok(Self { ids, names, over_write })
    }

    fn from_body(request: &Request, id: Option<&str>) -> Result<Self, Reply> {
        let body = request
            .json()
            .filter(Value::is_object)
            .ok_or_else(|| required("tags"))?;
        let array = |key: &str| match body.get(key) {
            Some(value) => value.as_array().ok_or_else(|| pattern(key)),
            None => Err(required(key)),
        };
        let texts = |key: &str, items: Vec<Option<&str>>| {
            let texts = items.into_iter().map(|item| item.map(str::to_owned));
            texts.collect::<Option<Vec<_>>>().ok_or_else(|| pattern(key))
        };
        let names = array("tags")?.iter().map(|tag| tag.get("name").and_then(Value::as_str));
        let names = texts("tags", names.collect())?;
        let ids = match id {
            Some(id) => vec![id.to_owned()],
            None => texts("ids", array("ids")?.iter().map(Value::as_str).collect())?,
        };
        let over_write = body.get("over_write").is_some_and(|value| value == &json!(true));
        Ok(Self { ids, names, over_write })
    }
}

fn required(param: &str) -> Reply {
    Reply::refusal(400, "REQUIRED_PARAM_MISSING", json!({ "param": param }))
}

fn pattern(param: &str) -> Reply {
    Reply::refusal(400, "PATTERN_NOT_MATCHED", json!({ "param": param }))
}

/// Why a text cannot be the name of a tag (Zoho CRM docs, create-tag): code and details.
pub(super) fn fault_of(name: &str) -> Option<(&'static str, Value)> {
    if name.encode_utf16().count() > MAX_TAG_NAME {
        let details = json!({"api_name": "Tag", "maximum_length": MAX_TAG_NAME});
        return Some(("INVALID_DATA", details));
    }
    // Emoji are refused; nearly all of them lie beyond U+FFFF.
    let illegal = |c: char| matches!(c, '<' | '>' | ',' | ';') || c > '\u{ffff}';
    let bad = name.trim().is_empty() || name.contains(illegal);
    bad.then(|| ("PATTERN_NOT_MATCHED", json!({"api_name": "Tag"})))
}

/// `before` and whatever of `named` it lacks.
pub(super) fn union(before: &[String], named: &[String]) -> Vec<String> {
    let mut tags = before.to_vec();
    for name in named {
        if !tags.contains(name) {
            tags.push(name.clone());
        }
    }
    tags
}

/// Gives a contact the tags `after`, of which `named` were asked for.
pub(super) fn put_on(model: &mut Model, id: &str, named: &[String], after: Vec<String>) {
    let before = model.live(id).map(|contact| contact.tags.clone()).unwrap_or_default();
    let at = model.clock.now();
    model.set_tags(id, after);
    model.changes.extend(named.iter().map(|tag| Change::Tagged {
        contact: id.to_owned(),
        tag: tag.clone(),
        at,
        added: !before.contains(tag),
    }));
}

/// `POST …/actions/add_tags`
pub(super) fn add(model: &mut Model, order: &TagOrder, fault: Option<&Fault>) -> Reply {
    let new = order
        .names
        .iter()
        .filter(|name| !model.tags.contains_key(*name))
        .count();
    if model.tags.len() + new > MAX_TAGS_OF_MODULE {
        return Reply::refusal(400, "LIMIT_EXCEEDED", json!({"limit": MAX_TAGS_OF_MODULE}));
    }
    let mut items = Vec::with_capacity(order.ids.len());
    for (index, id) in order.ids.iter().enumerate() {
        let outcome = match fault.and_then(|fault| fault.record_error(index)) {
            Some(error) => Err(error),
            None => add_to_one(model, order, id),
        };
        items.push(outcome.unwrap_or_else(Item::Failed));
    }
    Reply::items(items, &model.switches)
}

fn add_to_one(model: &mut Model, order: &TagOrder, id: &str) -> Result<Item, Value> {
    let contact = model.live(id).ok_or_else(|| invalid_id(json!({ "id": id })))?;
    let kept = if order.over_write { &[][..] } else { &contact.tags };
    let after = union(kept, &order.names);
    if after.len() > MAX_TAGS_OF_RECORD {
        let details = json!({"id": id, "limit": MAX_TAGS_OF_RECORD});
        return Err(error_object("LIMIT_EXCEEDED", details));
    }
    put_on(model, id, &order.names, after.clone());
    let tags: Vec<Value> = match model.switches.tags_as_objects {
        true => after.iter().map(|name| object(model, name)).collect(),
        false => after.iter().map(|name| json!(name)).collect(),
    };
    Ok(Item::Done(json!({
        "code": "SUCCESS",
        "details": {"id": id, "tags": tags},
        "message": "tags updated successfully",
        "status": "success",
    })))
}

/// A tag as records and newer answers show it.
pub(super) fn object(model: &Model, name: &str) -> Value {
    json!({"name": name, "id": model.tags.get(name), "color_code": null})
}

/// `GET settings/tags`
pub(super) fn list(model: &Model) -> Reply {
    let tags: Vec<Value> = model.tags.keys().map(|name| object(model, name)).collect();
    let info = json!({"count": tags.len(), "allowed_count": MAX_TAGS_OF_MODULE});
    Reply::json(200, json!({"tags": tags, "info": info}))
}

/// `POST settings/tags`
pub(super) fn create(model: &mut Model, request: &Request) -> Reply {
    let body = request.json();
    let named = body
        .as_ref()
        .and_then(|body| body.get("tags"))
        .and_then(Value::as_array);
    let Some(named) = named.filter(|named| !named.is_empty()) else {
        return required("tags");
    };
    let outcomes: Vec<Result<Value, Value>> = named.iter().map(|tag| create_one(model, tag)).collect();
    let status = if outcomes.iter().any(Result::is_ok) { 201 } else { 400 };
    let tags: Vec<Value> = outcomes
        .into_iter()
        .map(|outcome| outcome.unwrap_or_else(|error| error))
        .collect();
    Reply::json(status, json!({ "tags": tags }))
}

fn create_one(model: &mut Model, tag: &Value) -> Result<Value, Value> {
    let Some(name) = tag.get("name").and_then(Value::as_str) else {
        return Err(error_object("MANDATORY_NOT_FOUND", json!({"api_name": "name"})));
    };
    if let Some((code, details)) = fault_of(name) {
        return Err(error_object(code, details));
    }
    if let Some(id) = model.tags.get(name) {
        return Err(error_object("DUPLICATE_DATA", json!({ "id": id })));
    }
    if model.tags.len() >= MAX_TAGS_OF_MODULE {
        return Err(error_object("LIMIT_EXCEEDED", json!({"limit": MAX_TAGS_OF_MODULE})));
    }
    let id = model.make_tag(name);
    let message = "tags created successfully";
    Ok(json!({"code": "SUCCESS", "details": {"id": id}, "message": message, "status": "success"}))
}
