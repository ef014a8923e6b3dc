//! The webhooks of a project, as its management API lists them: for who checks or makes them, with a token of theirs. The
//! service itself neither has that token nor needs it.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::API_VERSION;
use crate::domain::lead::REQUESTED;
use crate::http_client::{self, base_text};

/// What a webhook tells of each lead: enough to know what to read, and nothing about a person.
pub const PROJECTION: &str = "{_id, _type, _rev, _updatedAt, crmStatus}";

/// Which changes a webhook tells of: those of leads into `REQUESTED`, so that our own write-back sets off none.
pub fn filter(lead_type: &str) -> String {
    format!("_type == \"{lead_type}\" && crmStatus == \"{REQUESTED}\" && delta::changedAny(crmStatus)")
}

/// A webhook as it should be, in the shape that it is made with (working scripts of others; source of Sanity's own CLI).
pub fn definition(url: &str, dataset: &str, lead_type: &str, secret: &SecretString) -> Value {
    json!({
        "type": "document",
        "name": "bigin-sync",
        "description": "Leads that are to be sent to Bigin",
        "url": url,
        "dataset": dataset,
        "apiVersion": API_VERSION,
        "httpMethod": "POST",
        "includeDrafts": false,
        "includeAllVersions": false,
        "secret": secret.expose_secret(),
        "rule": { "on": ["create", "update"], "filter": filter(lead_type), "projection": PROJECTION },
    })
}

/// Where the API is, and who asks.
pub struct Hooks<'a> {
    /// From [`crate::http_client::client`].
    pub http: &'a Client,
    /// `https://{project}.api.sanity.io`: the global host refuses what the project's own takes.
    pub api_url: &'a Url,
    pub project_id: &'a str,
    /// Of the role Developer or Administrator; the Editor's of the service is not enough.
    pub token: &'a SecretString,
}

/// A webhook (types of Sanity's own CLI).
#[derive(Debug, Clone)]
pub struct Webhook {
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Where it goes.
    pub url: String,
    /// Which dataset it looks at, `*` for all.
    pub dataset: String,
    /// `document`, or `transaction` where it is of the old kind that knows no filter.
    pub kind: String,
    /// `POST`, unless another was chosen.
    pub method: String,
    /// A person has disabled it, or Sanity has.
    pub is_disabled: bool,
    /// It tells of drafts too.
    pub includes_drafts: bool,
    /// It tells of the versions in releases too.
    pub includes_versions: bool,
    /// `create`, `update`, `delete`.
    pub on: Vec<String>,
    /// GROQ; none lets everything pass.
    pub filter: Option<String>,
    /// GROQ; none is the whole document.
    pub projection: Option<String>,
    /// What deliveries are signed with.
    pub secret: Option<SecretString>,
}

/// An attempt to deliver (types of Sanity's own CLI). What the receiver answered is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When it was made.
    pub at: Option<Timestamp>,
    /// The receiver's HTTP status.
    pub status: Option<u16>,
    /// Whether it failed.
    pub is_failure: bool,
    /// `http`, `timeout`, `network`, `other`.
    pub reason: Option<String>,
}

/// Why the webhooks are not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HooksError {
    /// The token is none.
    #[error("Sanity rejected the management token")]
    Token,
    /// It is one, and not for this.
    #[error("the management token may not see or change webhooks")]
    Right,
    /// There is no such project.
    #[error("there is no Sanity project with this ID")]
    Project,
    /// What was to be made or changed is not to Sanity's liking, in its own words.
    #[error("Sanity rejected the webhook: {0}")]
    Refused(String),
    /// Nothing that makes sense.
    #[error("Sanity did not answer properly ({0})")]
    NoAnswer(String),
}

impl Hooks<'_> {
    /// All webhooks of the project: `GET /hooks/projects/{project}` (source of Sanity's own CLI).
    ///
    /// # Errors
    /// [`HooksError`].
    pub async fn list(&self, within: Duration) -> Result<Vec<Webhook>, HooksError> {
        let found = self.get_all("", within).await?;
        // A deleted one may still be listed, with the time of its end.
        let is_there = |hook: &&Value| hook.get("deletedAt").is_none_or(Value::is_null);
        Ok(found.iter().filter(is_there).filter_map(webhook).collect())
    }

    /// The attempts to deliver of one webhook, newest first as far as they say when they were made: `GET
    /// /hooks/projects/{project}/{webhook}/attempts` (source of Sanity's own CLI).
    ///
    /// # Errors
    /// [`HooksError`].
    pub async fn attempts(&self, webhook: &str, within: Duration) -> Result<Vec<Attempt>, HooksError> {
        let found = self.get_all(&format!("/{webhook}/attempts"), within).await?;
        let is_over = |attempt: &&Value| attempt.get("inProgress") != Some(&Value::Bool(true));
        let mut attempts: Vec<Attempt> = found.iter().filter(is_over).map(attempt).collect();
        attempts.sort_by_key(|attempt| std::cmp::Reverse(attempt.at));
        Ok(attempts)
    }

    /// Makes a webhook of a [`definition`]: `POST /hooks/projects/{project}` (working scripts of others).
    ///
    /// # Errors
    /// [`HooksError`].
    pub async fn create(&self, definition: &Value, within: Duration) -> Result<(), HooksError> {
        self.call(Method::POST, "", Some(definition), within).await.map(drop)
    }

    /// Changes parts of a webhook, in the shape of a [`definition`]: `PATCH /hooks/projects/{project}/{webhook}` (working
    /// scripts of others).
    ///
    /// # Errors
    /// [`HooksError`].
    pub async fn change(&self, webhook: &str, changes: &Value, within: Duration) -> Result<(), HooksError> {
        let path = format!("/{webhook}");
        self.call(Method::PATCH, &path, Some(changes), within).await.map(drop)
    }

    async fn get_all(&self, path: &str, within: Duration) -> Result<Vec<Value>, HooksError> {
        match self.call(Method::GET, path, None, within).await? {
            Some(Value::Array(found)) => Ok(found),
            _ => Err(HooksError::NoAnswer("no list".to_owned())),
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<Option<Value>, HooksError> {
        let base = base_text(self.api_url);
        let url = format!("{base}/{API_VERSION}/hooks/projects/{}{path}", self.project_id);
        let is_change = method != Method::GET;
        let mut request = self.http.request(method, url).bearer_auth(self.token.expose_secret());
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = http_client::send(request, within).await;
        let answer = answer.map_err(|error| HooksError::NoAnswer(error.code().to_owned()))?;
        let message = answer.json.as_ref().and_then(|json| json.get("message")?.as_str());
        match (answer.status, message) {
            (status, _) if status.is_success() => Ok(answer.json),
            (StatusCode::UNAUTHORIZED, _) => Err(HooksError::Token),
            // Of what is made or changed, Sanity says why it may not be: the plan may have no more webhooks.
            (StatusCode::FORBIDDEN, Some(message)) if is_change => Err(HooksError::Refused(message.to_owned())),
            (StatusCode::FORBIDDEN, _) => Err(HooksError::Right),
            (StatusCode::NOT_FOUND, Some(_)) => Err(HooksError::Project),
            (status, Some(message)) if status.is_client_error() => Err(HooksError::Refused(message.to_owned())),
            (status, _) => Err(HooksError::NoAnswer(format!("HTTP {}", status.as_u16()))),
        }
    }
}

fn webhook(hook: &Value) -> Option<Webhook> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let flag = |key: &str| hook.get(key).and_then(Value::as_bool).unwrap_or(false);
    let rule = hook.get("rule");
    let of_rule = |key: &str| rule.and_then(|rule| rule.get(key));
    let filled = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let on = of_rule("on").and_then(Value::as_array);
    Some(Webhook {
        id: text(hook.get("id"))?,
        name: text(hook.get("name")).unwrap_or_default(),
        url: text(hook.get("url")).unwrap_or_default(),
        dataset: text(hook.get("dataset")).unwrap_or_default(),
        kind: text(hook.get("type")).unwrap_or_default(),
        method: text(hook.get("httpMethod")).unwrap_or_default(),
        is_disabled: flag("isDisabled") || flag("isDisabledByUser"),
        includes_drafts: flag("includeDrafts"),
        includes_versions: flag("includeAllVersions"),
        on: on.into_iter().flatten().filter_map(|on| text(Some(on))).collect(),
        filter: filled(text(of_rule("filter"))),
        projection: filled(text(of_rule("projection"))),
        secret: filled(text(hook.get("secret"))).map(SecretString::from),
    })
}

fn attempt(attempt: &Value) -> Attempt {
    let text = |key: &str| attempt.get(key).and_then(Value::as_str);
    let status = attempt.get("resultCode").and_then(Value::as_u64);
    let reason = text("failureReason").and_then(|reason| http_client::word(reason, 20, |c| c.is_ascii_lowercase()));
    Attempt {
        at: text("createdAt").and_then(|at| at.parse().ok()),
        status: status
            .and_then(|status| u16::try_from(status).ok())
            .filter(|status| *status > 0),
        is_failure: attempt.get("isFailure").and_then(Value::as_bool).unwrap_or(false),
        reason: reason.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_webhook_that_is_made_is_the_one_that_is_described() {
        let described = include_str!("../../deploy/sanity/webhook.json");
        let described: Value = serde_json::from_str(described).unwrap();
        let secret = SecretString::from("the value of SANITY_WEBHOOK_SECRET");
        let made = definition(
            "https://crm.example.org/webhooks/sanity",
            "production",
            "dbrLead",
            &secret,
        );
        assert_eq!(made, described);
    }
}
