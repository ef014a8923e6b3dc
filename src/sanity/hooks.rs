//! The webhooks of a project, as its management API lists them: for who checks or makes them, with a token of theirs. The
//! service itself neither has that token nor needs it.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::API_VERSION;
use crate::outbound::{self, base_text};

/// Where the API is, and who asks.
pub struct Hooks<'a> {
    /// From [`crate::outbound::client`].
    pub http: &'a Client,
    /// `https://{project}.api.sanity.io`: the global host refuses what the project's own takes.
    pub api_url: &'a Url,
    /// The project's id.
    pub project_id: &'a str,
    /// Of the role Developer or Administrator; the Editor's of the service is not enough.
    pub token: &'a SecretString,
}

/// A webhook (types of Sanity's own CLI).
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Where it goes.
    pub url: String,
    /// Which dataset it looks at, `*` for all.
    pub dataset: String,
    /// `document`, or `transaction` where it is of the old kind that knows no filter.
    pub kind: String,
    /// `POST`, unless somebody has chosen another.
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

/// An attempt to deliver (types of Sanity's own CLI). What the receiver answered is not read: it is nobody's business.
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
    #[error("Sanity does not know the management token")]
    Token,
    /// It is one, and not for this.
    #[error("the management token may not read webhooks")]
    Right,
    /// There is no such project.
    #[error("Sanity knows no project of this id")]
    Project,
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
        let found = self.get("", within).await?;
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
        let found = self.get(&format!("/{webhook}/attempts"), within).await?;
        let is_over = |attempt: &&Value| attempt.get("inProgress") != Some(&Value::Bool(true));
        let mut attempts: Vec<Attempt> = found.iter().filter(is_over).map(attempt).collect();
        attempts.sort_by_key(|attempt| std::cmp::Reverse(attempt.at));
        Ok(attempts)
    }

    async fn get(&self, path: &str, within: Duration) -> Result<Vec<Value>, HooksError> {
        let base = base_text(self.api_url);
        let url = format!("{base}/{API_VERSION}/hooks/projects/{}{path}", self.project_id);
        let request = self.http.get(url).bearer_auth(self.token.expose_secret());
        let answer = outbound::send(request, within).await;
        let answer = answer.map_err(|none| HooksError::NoAnswer(none.code.to_owned()))?;
        match (answer.status, answer.json) {
            (status, Some(Value::Array(found))) if status.is_success() => Ok(found),
            (StatusCode::UNAUTHORIZED, _) => Err(HooksError::Token),
            (StatusCode::FORBIDDEN, _) => Err(HooksError::Right),
            (StatusCode::NOT_FOUND, Some(_)) => Err(HooksError::Project),
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
    let reason = text("failureReason").and_then(|reason| outbound::word(reason, 20, |c| c.is_ascii_lowercase()));
    Attempt {
        at: text("createdAt").and_then(|at| at.parse().ok()),
        status: status
            .and_then(|status| u16::try_from(status).ok())
            .filter(|status| *status > 0),
        is_failure: attempt.get("isFailure").and_then(Value::as_bool).unwrap_or(false),
        reason: reason.map(str::to_owned),
    }
}
