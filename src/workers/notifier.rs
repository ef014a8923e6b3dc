//! Calls ALERT_URL and HEARTBEAT_URL. The URL is a secret and never logged. It may be slow or down, so calls are short.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Url};
use serde_json::Value;

use crate::http_client::Network;

/// Shorter than the time the process has to stop.
const DEADLINE: Duration = Duration::from_secs(5);

/// A URL, with a client of its own.
pub struct Notifier {
    network: Network,
    http: Client,
    url: Url,
}

/// The call was not accepted, or had no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotSent {
    /// Stable: `HTTP 404`, `timeout`.
    pub code: String,
    /// The least time it asks us to wait.
    pub retry_after: Option<Duration>,
}

impl Notifier {
    /// A URL that is called over `network`.
    ///
    /// # Errors
    /// As for [`Network::client`].
    pub fn new(network: Network, user_agent: &str, url: Url) -> Result<Self, reqwest::Error> {
        let http = network.client(user_agent, &[&url])?;
        Ok(Self { network, http, url })
    }

    /// Posts JSON.
    ///
    /// # Errors
    /// [`NotSent`] unless it is answered 2xx.
    pub async fn post(&self, body: &Value) -> Result<(), NotSent> {
        self.send(self.http.post(self.url.clone()).json(body)).await
    }

    /// Sends a GET, and ignores the body of the answer.
    ///
    /// # Errors
    /// [`NotSent`] unless it is answered 2xx.
    pub async fn get(&self) -> Result<(), NotSent> {
        self.send(self.http.get(self.url.clone())).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<(), NotSent> {
        match self.network.send(request, DEADLINE).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => Err(NotSent {
                code: format!("HTTP {}", answer.status.as_u16()),
                retry_after: answer.retry_after,
            }),
            Err(none) => Err(NotSent {
                code: none.code().to_owned(),
                retry_after: None,
            }),
        }
    }
}
