//! The webhook: which changes it reports, the queue of its messages, and their delivery over HTTP.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::document::{Change, Document, stamp};
use super::ids::is_draft_or_version;
use super::project::{DATASET, LEAD_TYPE, PROJECT_ID, REQUESTED, WEBHOOK_SECRET};
use super::signature::sign;
use crate::clock::after;

/// Its id, as `sanity-webhook-id` carries it.
pub const WEBHOOK_ID: &str = "Hk3vXq1Zt9LmYb2C";

/// Its filter: only the change into REQUESTED, so that our own write-back cannot set it off.
pub const FILTER: &str = r#"_type == "dbrLead" && crmStatus == "REQUESTED" && delta::changedAny(crmStatus)"#;

/// Its projection: enough to know what to read, and nothing about a person.
pub const PROJECTION: &str = "{_id, _type, _rev, _updatedAt, crmStatus}";

/// Since 2026-04-29 a failed delivery is tried again twice, 30 seconds apart (official docs, changelog of that day).
const RETRIES: usize = 2;
const RETRY_DELAY: Duration = Duration::from_secs(30);

/// The webhook, its queue and its switches.
pub struct Webhooks {
    /// Where messages are sent; while there is no address there is no webhook.
    pub url: Option<String>,
    /// The secret messages are signed with.
    pub secret: String,
    /// The document type its filter asks for.
    pub lead_type: String,
    /// How long a receiver may take, in real time: 30 s (official docs, webhooks).
    pub timeout: Duration,
    /// Every message since the start, oldest first.
    pub messages: Vec<Message>,
    /// The documents whose messages were lost on request, oldest first.
    pub lost: Vec<String>,
    /// While set, what is due is delivered newest first (official docs, webhook best practices: order is not guaranteed).
    pub reorder: bool,
    /// What the list of webhooks says of it in place of the truth: to show how others have set theirs up.
    pub listed: Map<String, Value>,
    pub(super) quiet: bool,
    enabled: bool,
    lose: usize,
    repeat: usize,
}

impl Default for Webhooks {
    fn default() -> Self {
        Self {
            url: None,
            secret: WEBHOOK_SECRET.to_owned(),
            lead_type: LEAD_TYPE.to_owned(),
            timeout: Duration::from_secs(30),
            messages: Vec::new(),
            lost: Vec::new(),
            reorder: false,
            listed: Map::new(),
            quiet: false,
            enabled: true,
            lose: 0,
            repeat: 0,
        }
    }
}

/// A message to the receiver.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its `idempotency-key`, the same for every attempt.
    pub id: String,
    /// The document it is about.
    pub document: String,
    /// The transaction that set it off.
    pub transaction: String,
    /// When that was committed.
    pub transaction_time: Timestamp,
    /// `create` or `update`.
    pub operation: &'static str,
    /// The body, byte for byte.
    pub body: String,
    /// Where it is.
    pub state: MessageState,
    /// How many attempts failed so far.
    pub failures: usize,
    /// When it is to be sent.
    pub due: Timestamp,
}

/// Where a message is (source of the CLI, `@sanity/cli`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageState {
    /// To be sent, for the first time or again.
    Queued,
    /// On its way.
    Sending,
    /// Answered with 2xx.
    Success,
    /// Given up.
    Failure,
}

/// An attempt to deliver a message.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The message's id.
    pub message: String,
    /// The document it is about.
    pub document: String,
    /// When it was sent.
    pub at: Timestamp,
    /// The receiver's status; `None` where there was no answer.
    pub status: Option<u16>,
    /// The receiver's answer, where it is JSON: Sanity keeps it in its log, so nothing about a person may be in it.
    pub answer: Option<Value>,
}

impl Webhooks {
    /// Loses the next `times` messages: they are never sent.
    pub fn lose_next(&mut self, times: usize) {
        self.lose += times;
    }

    /// Sends the next `times` messages twice, with the same key (official docs: delivery is at least once).
    pub fn repeat_next(&mut self, times: usize) {
        self.repeat += times;
    }

    /// Disables the webhook, which cancels all pending messages (official docs, webhooks).
    pub fn disable(&mut self) {
        self.enabled = false;
        self.messages.retain(|message| !message.is_pending());
    }

    /// Enables it again: what changed in between is not reported.
    pub fn enable(&mut self) {
        self.enabled = true;
    }

    /// Whether it is enabled.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// The messages that are still to be delivered.
    pub fn pending(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(|message| message.is_pending())
    }

    /// Queues a message where the filter wants one; says whether it used the key.
    pub(super) fn notice(&mut self, change: &Change, transaction: &str, at: Timestamp, key: String) -> bool {
        let Some(after) = change.after.as_ref().filter(|after| self.wants(change, after)) else {
            return false;
        };
        if self.lose > 0 {
            self.lose -= 1;
            self.lost.push(change.id.clone());
            return false;
        }
        let message = Message {
            id: key,
            document: change.id.clone(),
            transaction: transaction.to_owned(),
            transaction_time: at,
            operation: if change.before.is_some() { "update" } else { "create" },
            body: project(after),
            state: MessageState::Queued,
            failures: 0,
            due: at,
        };
        if self.repeat > 0 {
            self.repeat -= 1;
            self.messages.push(message.clone());
        }
        self.messages.push(message);
        true
    }

    fn wants(&self, change: &Change, after: &Document) -> bool {
        let status = |document: &Document| document.get("crmStatus").cloned().unwrap_or(Value::Null);
        let before = change.before.as_ref().map_or(Value::Null, status);
        let active = self.enabled && !self.quiet && self.url.is_some();
        let of_type = after.get("_type").and_then(Value::as_str) == Some(self.lead_type.as_str());
        active && of_type && !is_draft_or_version(&change.id) && status(after) == REQUESTED && before != REQUESTED
    }

    /// The places of the messages due at `now`, in the order they are to be sent.
    pub(super) fn due(&self, now: Timestamp) -> Vec<usize> {
        let is_due = |message: &Message| message.is_pending() && message.due <= now;
        let due = self.messages.iter().enumerate().filter(|(_, message)| is_due(message));
        let mut due: Vec<_> = due.map(|(place, message)| (message.due, place)).collect();
        due.sort_unstable();
        if self.reorder {
            due.reverse();
        }
        due.into_iter().map(|(_, place)| place).collect()
    }

    /// Takes a message out to send it; `None` where it is not there any more.
    pub(super) fn start(&mut self, id: &str, now: Timestamp) -> Option<Delivery> {
        let is_due = |message: &Message| message.is_pending() && message.due <= now && message.id == id;
        let place = self.messages.iter().position(is_due)?;
        self.start_at(place, now)
    }

    /// Takes out the message at this place.
    pub(super) fn start_at(&mut self, place: usize, now: Timestamp) -> Option<Delivery> {
        let url = self.url.clone()?;
        let message = self.messages.get_mut(place)?;
        message.state = MessageState::Sending;
        Some(Delivery {
            message: message.clone(),
            url,
            secret: self.secret.clone(),
            timeout: self.timeout,
            at: now,
        })
    }

    /// Records how an attempt ended, at `now`.
    pub(super) fn finish(&mut self, delivery: &Delivery, status: Option<u16>, now: Timestamp) {
        let sent = |message: &&mut Message| message.state == MessageState::Sending && message.id == delivery.message.id;
        let Some(message) = self.messages.iter_mut().find(sent) else {
            return;
        };
        if matches!(status, Some(200..=299)) {
            message.state = MessageState::Success;
            return;
        }
        message.failures += 1;
        if is_retryable(status) && message.failures <= RETRIES {
            message.state = MessageState::Queued;
            message.due = after(now, RETRY_DELAY);
        } else {
            message.state = MessageState::Failure;
        }
    }
}

impl Message {
    /// Whether it is still to be delivered.
    pub fn is_pending(&self) -> bool {
        matches!(self.state, MessageState::Queued | MessageState::Sending)
    }
}

/// The client that delivers messages, to this machine alone. A redirect is not followed (assumption).
#[expect(clippy::disallowed_methods, reason = "the fakes share no code with the product")]
pub(super) fn client() -> reqwest::Result<reqwest::Client> {
    // A second call finds the provider installed, which is what we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent("Sanity.io webhook delivery")
        .tls_certs_only([])
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

/// 429 and 5xx are tried again, other statuses are final (official docs, webhooks). That a timeout or a network error is
/// tried again as well is an assumption, and so is that a redirect is final: neither is documented.
fn is_retryable(status: Option<u16>) -> bool {
    matches!(status, None | Some(429 | 500..=599))
}

/// The body: the projection, with `&`, `<` and `>` escaped as Go's encoder does (so that a receiver that verifies the signature over
/// anything but the raw bytes notices).
fn project(document: &Document) -> String {
    let fields = ["_id", "_type", "_rev", "_updatedAt", "crmStatus"];
    let field = |name: &str| (name.to_owned(), document.get(name).cloned().unwrap_or(Value::Null));
    let body = Value::Object(fields.into_iter().map(field).collect()).to_string();
    body.replace('&', "\\u0026")
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
}

/// A message on its way.
pub struct Delivery {
    /// Which one.
    pub message: Message,
    url: String,
    secret: String,
    timeout: Duration,
    at: Timestamp,
}

impl Delivery {
    /// The headers of a real one (official docs, webhooks). Every attempt is signed afresh (assumption).
    pub fn headers(&self) -> [(&'static str, String); 11] {
        let message = &self.message;
        let text = str::to_owned;
        [
            ("accept-encoding", text("gzip")),
            ("content-type", text("application/json")),
            ("idempotency-key", message.id.clone()),
            ("sanity-transaction-id", message.transaction.clone()),
            ("sanity-transaction-time", stamp(message.transaction_time)),
            ("sanity-dataset", text(DATASET)),
            ("sanity-document-id", message.document.clone()),
            ("sanity-project-id", text(PROJECT_ID)),
            ("sanity-webhook-id", text(WEBHOOK_ID)),
            ("sanity-operation", text(message.operation)),
            ("sanity-webhook-signature", sign(&message.body, self.at, &self.secret)),
        ]
    }

    /// The status of the answer, and its body where it is JSON.
    pub(super) async fn send(&self, client: &reqwest::Client) -> reqwest::Result<(u16, Option<Value>)> {
        let request = client.post(&self.url).header("connection", "close");
        let request = self
            .headers()
            .into_iter()
            .fold(request, |request, (name, value)| request.header(name, value));
        let request = request.body(self.message.body.clone()).timeout(self.timeout);
        let response = request.send().await?;
        let status = response.status().as_u16();
        Ok((status, serde_json::from_slice(&response.bytes().await?).ok()))
    }

    /// The record of it.
    pub(super) fn attempt(&self, status: Option<u16>, answer: Option<Value>) -> Attempt {
        Attempt {
            message: self.message.id.clone(),
            document: self.message.document.clone(),
            at: self.at,
            status,
            answer,
        }
    }
}
