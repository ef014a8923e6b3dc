//! `/data/doc`: documents by id.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::document::Document;
use super::ids::{draft_of, published};
use super::model::Model;
use super::options::{DocSwitches, WithoutContent};
use super::reply::Reply;

/// What is asked for.
pub(super) struct Wanted<'a> {
    pub(super) ids: &'a [&'a str],
    /// Drafts and versions as well.
    pub(super) all: bool,
    /// The version of the API has releases.
    pub(super) versions: bool,
    pub(super) without_content: bool,
}

/// In the order of their ids, not in that of the request: results must be looked up by `_id`. `omitted` names the very ids
/// that were asked for and are not there, also where a draft of one is (assumption). Also returns how long it takes.
pub(super) fn documents(model: &Model, wanted: &Wanted<'_>) -> (Reply, Duration) {
    let Wanted { ids, all, versions, .. } = *wanted;
    let switches = &model.doc;
    if switches.empty {
        return (
            Reply::json(200, json!({"documents": [], "omitted": []})),
            Duration::ZERO,
        );
    }
    let mut found: BTreeMap<&str, &Document> = BTreeMap::new();
    let drafts: Vec<String> = ids.iter().map(|id| draft_of(id)).collect();
    let asked = ids
        .iter()
        .copied()
        .filter(|id| versions || !id.starts_with("versions."));
    let drafts = drafts.iter().map(String::as_str).filter(|_| all);
    found.extend(asked.chain(drafts).filter_map(|id| Some((id, model.document(id)?))));
    if all && versions {
        let of_releases = model.documents.range("versions.".to_owned().."versions/".to_owned());
        let of_releases = of_releases.filter(|(id, _)| ids.contains(&published(id)));
        found.extend(of_releases.map(|(id, document)| (id.as_str(), document)));
    }
    let missing = ids.iter().filter(|id| !found.contains_key(**id));
    let missing = missing.map(|id| json!({"id": id, "reason": "existence"}));
    let denied = found.keys().filter(|id| switches.denied.contains(**id));
    let denied = denied.map(|id| json!({"id": id, "reason": "permission"}));
    let mut omitted: Vec<Value> = missing.chain(denied).collect();
    let is_mentioned = |id: &str| !switches.unmentioned.contains(id);
    omitted.retain(|entry| entry["id"].as_str().is_none_or(is_mentioned));
    found.retain(|id, _| is_mentioned(id) && !switches.denied.contains(*id));
    let count = u32::try_from(found.len()).unwrap_or(u32::MAX);
    let hang = found.keys().filter_map(|id| switches.hangs.get(*id)).max().copied();
    let took = switches.latency_per_document.saturating_mul(count) + hang.unwrap_or_default();
    let reply = match switches.without_content {
        WithoutContent::Revisions if wanted.without_content => {
            let found: Vec<Document> = found.into_values().map(own_fields).collect();
            Reply::json(200, json!({"documents": found, "omitted": omitted}))
        }
        WithoutContent::OmittedOnly if wanted.without_content => Reply::json(200, json!({ "omitted": omitted })),
        _ => whole(switches, &found, &omitted),
    };
    (reply, took)
}

/// The fields that every document has.
fn own_fields(document: &Document) -> Document {
    let own = document.iter().filter(|(name, _)| name.starts_with('_'));
    own.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn whole(switches: &DocSwitches, found: &BTreeMap<&str, &Document>, omitted: &[Value]) -> Reply {
    let mut body = String::from("{\"documents\":[");
    for (place, (id, document)) in found.iter().enumerate() {
        if place > 0 {
            body.push(',');
        }
        match switches.bulk.get(*id) {
            None => body.push_str(&json!(document).to_string()),
            Some(bytes) => heavy(&mut body, document, *bytes),
        }
    }
    let omitted = json!(omitted);
    // Writing to a String cannot fail.
    let _ = write!(body, "],\"omitted\":{omitted}}}");
    Reply::text(200, body)
}

/// The document with a conversation of short messages, of which JSON takes the most memory.
fn heavy(body: &mut String, document: &Document, bytes: usize) {
    let mut light: Map<String, Value> = document.clone();
    light.remove("conversationHistory");
    let light = json!(light).to_string();
    body.push_str(light.strip_suffix('}').unwrap_or(&light));
    body.push_str(",\"conversationHistory\":[");
    let end = body.len() + bytes;
    let mut place = 0;
    while body.len() < end {
        let comma = if place > 0 { "," } else { "" };
        let minute = place % 60;
        // Writing to a String cannot fail.
        let _ = write!(
            body,
            "{comma}{{\"timestamp\":\"2026-07-01T09:{minute:02}:00Z\",\"from\":\"ai\",\"message\":\"Tell me more\"}}"
        );
        place += 1;
    }
    body.push_str("]}");
}
