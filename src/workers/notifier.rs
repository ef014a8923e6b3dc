//! An address outside that is told something. It is a secret, so that nothing of it is ever logged; it is slow or away at
//! times, so that nobody waits for it for long.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Url};
use serde_json::Value;

use crate::http_client::Network;

/// A chat takes a message in less. Shorter than the time the program gets to stop.
const DEADLINE: Duration = Duration::from_secs(5);

/// The address, with a client of its own.
pub struct Hook {
    network: Network,
    http: Client,
    url: Url,
}

/// It was not taken, or nobody knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTaken {
    /// A short stable word: `HTTP 404`, `timeout`.
    pub code: String,
    /// The least time it asks us to wait.
    pub retry_after: Option<Duration>,
}

impl Hook {
    /// An address that is reached over `network`.
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
    /// [`NotTaken`] unless it is answered 2xx.
    pub async fn post(&self, body: &Value) -> Result<(), NotTaken> {
        self.send(self.http.post(self.url.clone()).json(body)).await
    }

    /// Gets, and has no use for the answer.
    ///
    /// # Errors
    /// [`NotTaken`] unless it is answered 2xx.
    pub async fn get(&self) -> Result<(), NotTaken> {
        self.send(self.http.get(self.url.clone())).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<(), NotTaken> {
        match self.network.send(request, DEADLINE).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => Err(NotTaken {
                code: format!("HTTP {}", answer.status.as_u16()),
                retry_after: answer.retry_after,
            }),
            Err(none) => Err(NotTaken {
                code: none.code.to_owned(),
                retry_after: None,
            }),
        }
    }
}
