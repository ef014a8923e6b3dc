//! The management API of webhooks: the one webhook is listed, made and changed here, by the token of a developer alone.

use actix_web::web::{Bytes, Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

use super::document::stamp;
use super::fault::Kind;
use super::gate::{Caller, Gate, serve};
use super::model::Shared;
use super::project::{DATASET, LEAD_TYPE, PROJECT_ID};
use super::reply::Reply;
use super::webhook::{Attempt, FILTER, PROJECTION, WEBHOOK_ID, Webhooks};

/// What a webhook is made of (working scripts of others: anything else is refused field by field).
const KEYS: [&str; 13] = [
    "type",
    "name",
    "description",
    "url",
    "dataset",
    "apiVersion",
    "httpMethod",
    "headers",
    "secret",
    "includeDrafts",
    "includeAllVersions",
    "isDisabledByUser",
    "rule",
];

pub(super) async fn list(shared: Data<Shared>, request: HttpRequest, path: Path<(String, String)>) -> HttpResponse {
    let (version, project) = path.into_inner();
    let gate = Gate::new(Kind::Hooks, &Caller::of(&request), &version, None, 0);
    serve(&shared, gate, |model| match project == PROJECT_ID {
        true => Reply::json(200, model.webhooks.listing().into_iter().collect()),
        false => Reply::boom(404, "Project not found"),
    })
    .await
}

pub(super) async fn create(
    shared: Data<Shared>,
    request: HttpRequest,
    path: Path<(String, String)>,
    body: Bytes,
) -> HttpResponse {
    let (version, project) = path.into_inner();
    let gate = Gate::new(Kind::Hooks, &Caller::of(&request), &version, None, 0);
    serve(&shared, gate, |model| {
        if project != PROJECT_ID {
            return Reply::boom(404, "Project not found");
        }
        if model.webhooks.url.is_some() {
            // How Sanity words its quota is not known; here one webhook is the most.
            return Reply::boom(403, "The project has as many webhooks as its plan allows");
        }
        let needed = ["type", "name", "url", "dataset", "rule"];
        taken(&mut model.webhooks, &body, &needed, 201)
    })
    .await
}

pub(super) async fn change(
    shared: Data<Shared>,
    request: HttpRequest,
    path: Path<(String, String, String)>,
    body: Bytes,
) -> HttpResponse {
    let (version, project, hook) = path.into_inner();
    let gate = Gate::new(Kind::Hooks, &Caller::of(&request), &version, None, 0);
    serve(&shared, gate, |model| {
        if (project.as_str(), hook.as_str()) != (PROJECT_ID, WEBHOOK_ID) || model.webhooks.url.is_none() {
            return Reply::boom(404, "Hook not found");
        }
        taken(&mut model.webhooks, &body, &[], 200)
    })
    .await
}

/// The attempts to deliver, newest first (types of Sanity's own CLI; their order is an assumption).
pub(super) async fn attempts(
    shared: Data<Shared>,
    request: HttpRequest,
    path: Path<(String, String, String)>,
) -> HttpResponse {
    let (version, project, hook) = path.into_inner();
    let gate = Gate::new(Kind::Hooks, &Caller::of(&request), &version, None, 0);
    serve(&shared, gate, |model| match (project.as_str(), hook.as_str()) {
        (PROJECT_ID, WEBHOOK_ID) => {
            let attempts = model.deliveries.iter().rev().map(Attempt::listing);
            Reply::json(200, attempts.collect())
        }
        (PROJECT_ID, _) => Reply::boom(404, "Hook not found"),
        _ => Reply::boom(404, "Project not found"),
    })
    .await
}

/// Takes over what is asked for, and answers with the webhook as it is then, or with what is wrong.
fn taken(webhooks: &mut Webhooks, body: &[u8], needed: &[&str], status: u16) -> Reply {
    match take(webhooks, body, needed) {
        Ok(()) => Reply::json(status, webhooks.listing().unwrap_or_default()),
        Err(message) => Reply::boom(400, &message),
    }
}

/// Takes over what is asked for, or says what is wrong with it and changes nothing.
fn take(webhooks: &mut Webhooks, body: &[u8], needed: &[&str]) -> Result<(), String> {
    let body: Map<String, Value> = serde_json::from_slice(body).map_err(|_| "the body is no JSON object".to_owned())?;
    if let Some(missing) = needed.iter().find(|key| !body.contains_key(**key)) {
        return Err(format!("{missing:?} is required"));
    }
    if let Some(unknown) = body.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!("{unknown:?} is not allowed"));
    }
    let text = |key: &str| body.get(key).map(|value| value.as_str().unwrap_or_default());
    for (key, only) in [("type", "document"), ("dataset", DATASET), ("httpMethod", "POST")] {
        if text(key).is_some_and(|value| value != only) {
            return Err(format!("{key:?} can only be {only:?} here"));
        }
    }
    let lead_type = body.get("rule").map(rule).transpose()?;
    if let Some(url) = text("url") {
        webhooks.url = Some(url.to_owned());
    }
    if let Some(secret) = text("secret") {
        secret.clone_into(&mut webhooks.secret);
    }
    if let Some(lead_type) = lead_type {
        webhooks.lead_type = lead_type;
        for key in ["on", "filter", "projection"] {
            webhooks.listed.remove(key);
        }
    }
    match body.get("isDisabledByUser").and_then(Value::as_bool) {
        Some(true) => webhooks.disable(),
        Some(false) => webhooks.enable(),
        None => {}
    }
    // The rest is listed as it was given; what is kept elsewhere is listed from there.
    for (key, value) in body {
        match key.as_str() {
            "url" | "secret" | "rule" | "isDisabledByUser" => webhooks.listed.remove(&key),
            _ => webhooks.listed.insert(key, value),
        };
    }
    Ok(())
}

/// The lead type that a rule asks for: of all rules this stand-in can follow only the one.
fn rule(rule: &Value) -> Result<String, String> {
    let text = |key: &str| rule.get(key).and_then(Value::as_str);
    let (start, end) = FILTER.split_once(LEAD_TYPE).unwrap_or_default();
    let filter = text("filter").and_then(|filter| filter.strip_prefix(start)?.strip_suffix(end));
    match (filter, text("projection"), rule.get("on")) {
        (Some(lead_type), Some(PROJECTION), Some(on)) if *on == json!(["create", "update"]) => Ok(lead_type.to_owned()),
        _ => Err("this stand-in can only follow the rule that deploy/sanity/webhook.json has".to_owned()),
    }
}

impl Webhooks {
    /// The webhook as the management API lists it (source of the CLI, `@sanity/cli`), once it has an address.
    fn listing(&self) -> Option<Value> {
        self.url.as_ref()?;
        let mut hook = json!({
            "id": WEBHOOK_ID, "type": "document", "name": "bigin-sync", "description": null,
            "projectId": PROJECT_ID, "dataset": DATASET, "apiVersion": "v2021-03-25",
            "url": self.url, "httpMethod": "POST", "headers": {}, "secret": self.secret,
            "includeDrafts": false, "includeAllVersions": false,
            "isDisabled": !self.is_enabled(), "isDisabledByUser": !self.is_enabled(),
            "createdAt": "2026-01-05T09:00:00Z", "createdByUserId": "pInvented1", "deletedAt": null,
            "rule": {"on": ["create", "update"], "filter": FILTER.replace(LEAD_TYPE, &self.lead_type), "projection": PROJECTION},
        });
        for (key, value) in &self.listed {
            match hook.get_mut("rule").and_then(|rule| rule.get_mut(key)) {
                Some(of_rule) => *of_rule = value.clone(),
                None => hook[key] = value.clone(),
            }
        }
        Some(hook)
    }
}

impl Attempt {
    /// The attempt as the management API lists it (types of the CLI, `@sanity/cli`).
    fn listing(&self) -> Value {
        let is_failure = !matches!(self.status, Some(200..=299));
        let reason = match (is_failure, self.status) {
            (false, _) => Value::Null,
            (true, Some(_)) => json!("http"),
            (true, None) => json!("network"),
        };
        json!({
            "id": format!("{}-{}", self.message, self.at.as_millisecond()), "projectId": PROJECT_ID, "hookId": WEBHOOK_ID,
            "messageId": self.message, "createdAt": stamp(self.at), "updatedAt": stamp(self.at),
            "inProgress": false, "isFailure": is_failure, "failureReason": reason,
            "resultCode": self.status.unwrap_or(0), "resultBody": self.answer.as_ref().map(Value::to_string), "duration": 12,
        })
    }
}
