//! The client of Sanity's Content Lake: reads leads, writes results back, and finds leads that still wait.
//!
//! All calls go to the live API, never to its CDN, and are over by their deadline. Every lead is read through `/data/doc`,
//! which is consistent; the query only finds candidates, since its index may lag.

mod answer;
mod commit;
mod documents;
pub mod hooks;
#[cfg(test)]
mod malformed_tests;
mod outline;
mod probe;
mod read;
#[cfg(test)]
mod tests;

use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Interval;

use crate::clock::SharedClock;
use crate::config::SanitySettings;
use crate::domain::failure::CallError;
use crate::domain::lead::{LeadId, REQUESTED};
use crate::http_client::{Answer, Call, Calls, Deadline, Operation, base_text};

pub use answer::CommitError;
pub use commit::WriteBack;
pub use documents::{RawDocument, Read, RevisionRead};
pub use read::{MAX_ANSWER, ReadError};

/// Since this version queries see published documents by default, and `versions.` documents exist (Sanity's changelog).
const API_VERSION: &str = "v2025-02-19";

/// The client. Cheap to share behind an `Arc`.
pub struct Sanity {
    http: Client,
    calls: Calls,
    clock: SharedClock,
    /// Address, version and `/data`, without a trailing slash.
    base: String,
    dataset: String,
    token: SecretString,
    lead_type: String,
    reading: read::Reading,
    /// Spaces the commits; made by the first, since it needs the runtime.
    pace: Mutex<Option<Interval>>,
}

/// Published leads that still ask for a sync, in the order of their ids. `now()` is the Content Lake's own, so that a clock
/// of ours that is wrong neither hides leads nor shows them early.
pub const REQUESTED_LEADS: &str = "*[_type == $type && crmStatus == $status && _id > $after \
     && dateTime(_updatedAt) <= dateTime(now()) - $age]|order(_id asc)";

impl Sanity {
    /// `http` comes from [`crate::http_client::client`].
    pub fn new(settings: SanitySettings, http: Client, calls: Calls, clock: SharedClock) -> Self {
        Self {
            http,
            calls,
            clock,
            base: format!("{}/{API_VERSION}/data", base_text(&settings.api_url)),
            dataset: settings.dataset,
            token: settings.token,
            lead_type: settings.lead_type,
            reading: read::Reading::new(settings.max_answer.unwrap_or(MAX_ANSWER)),
            pace: Mutex::new(None),
        }
    }

    /// The ids of at most `limit` published leads that say REQUESTED, that come after `after` in the order of ids, and that
    /// were last written at least `min_age` ago by Sanity's clock: `GET /data/query/{dataset}` (Sanity's docs, HTTP query).
    /// A page of fewer than `limit` is the last. The index behind it may lag: each is to be read before it is believed.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn requested(
        &self,
        after: Option<&LeadId>,
        min_age: Duration,
        limit: usize,
        deadline: Duration,
    ) -> Result<Vec<LeadId>, CallError> {
        let text = |text: &str| Value::from(text).to_string();
        // Every id is greater than the empty text.
        let parameters = [
            ("query", format!("{REQUESTED_LEADS}[0...{limit}]{{_id}}")),
            ("$type", text(&self.lead_type)),
            ("$status", text(REQUESTED)),
            ("$after", text(after.map_or("", LeadId::as_str))),
            ("$age", Value::from(min_age.as_secs_f64()).to_string()),
            ("perspective", "published".to_owned()),
            ("returnQuery", "false".to_owned()),
        ];
        let url = format!("{}/query/{}", self.base, self.dataset);
        let deadline = Deadline::new(&self.clock, deadline);
        let request = self.http.get(url).query(&parameters);
        let label = |answer: &Answer| answer::label(answer, &self.dataset);
        let answer = self.send(Operation::Query, 0, request, &deadline, label).await?;
        let body = answer::judge(&answer, &self.dataset)?;
        let ids = body.get("result").and_then(Value::as_array);
        let ids = ids.ok_or_else(|| CallError::unreadable("Sanity's answer to a query has no result"))?;
        let ids = ids.iter().filter_map(|lead| lead.get("_id")?.as_str());
        Ok(ids.filter_map(|id| LeadId::parse(id).ok()).collect())
    }

    /// The ids of what a person's query finds among the published documents, in its order; `None` where it finds something
    /// else than ids (texts, or documents with their `_id`). `$type` stands for the leads' document type in it.
    ///
    /// # Errors
    /// [`CallError`]; it is [`CallError::Rejected`] where Sanity does not understand the query.
    pub async fn ids(&self, query: &str, deadline: Duration) -> Result<Option<Vec<String>>, CallError> {
        // In the body, since a query may be too long for an address.
        let body = json!({ "query": query, "params": { "type": self.lead_type } });
        let url = format!("{}/query/{}", self.base, self.dataset);
        let request = self.http.post(url).json(&body);
        let request = request.query(&[("perspective", "published"), ("returnQuery", "false")]);
        let deadline = Deadline::new(&self.clock, deadline);
        let label = |answer: &Answer| answer::label(answer, &self.dataset);
        let answer = self.send(Operation::Query, 0, request, &deadline, label).await?;
        let found = answer::judge(&answer, &self.dataset)?.get("result");
        let found = found.ok_or_else(|| CallError::unreadable("Sanity's answer to a query has no result"))?;
        let found = match found {
            Value::Null => &[],
            Value::Array(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        };
        let id = |item: &Value| item.as_str().or_else(|| item.get("_id")?.as_str()).map(str::to_owned);
        Ok(found.iter().map(id).collect())
    }

    async fn send(
        &self,
        operation: Operation,
        of: usize,
        request: RequestBuilder,
        deadline: &Deadline,
        label: impl FnOnce(&Answer) -> &'static str,
    ) -> Result<Answer, CallError> {
        let call = Call { operation, of };
        self.calls
            .send_by(call, self.authorised(request), deadline, label)
            .await
    }

    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(self.token.expose_secret())
    }
}
