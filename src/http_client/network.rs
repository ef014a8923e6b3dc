//! Where calls leave. The program sends them over real connections; the simulator answers them in the same thread.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::header::HeaderMap;
use reqwest::{Client, Request, RequestBuilder, Response, StatusCode, Url};

use super::{Answer, MAX_ANSWER, RawAnswer, build, parse_retry_after};
use crate::domain::failure::TransportError;

/// What answers requests in place of the network.
pub trait Transport: Send + Sync {
    /// Answers a request, at any time or never: the caller stops waiting at its deadline.
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Delivered, TransportError>>;
}

/// An answer of a [`Transport`].
#[derive(Debug, Clone)]
pub struct Delivered {
    /// HTTP status.
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// All of its body.
    pub body: Vec<u8>,
}

/// The network, or what is in its place.
#[derive(Clone, Default)]
pub struct Network(Option<Arc<dyn Transport>>);

impl Network {
    /// No request leaves the process: `transport` answers all of them.
    pub fn simulated(transport: Arc<dyn Transport>) -> Self {
        Self(Some(transport))
    }

    /// The client for the service at `bases`, as [`super::client`] builds it.
    ///
    /// # Errors
    /// Where the TLS backend cannot be set up, which only a broken build does.
    pub fn client(&self, user_agent: &str, bases: &[&Url]) -> Result<Client, reqwest::Error> {
        static SIMULATED: OnceLock<Client> = OnceLock::new();
        match (&self.0, SIMULATED.get()) {
            (None, _) => super::client(user_agent, bases),
            (Some(_), Some(client)) => Ok(client.clone()),
            // It makes requests and sends none, so that one does for all. To build one takes milliseconds.
            (Some(_), None) => Ok(SIMULATED.get_or_init(|| client_of_none(user_agent)).clone()),
        }
    }

    /// Sends a request and reads the whole answer, within `deadline` and [`MAX_ANSWER`].
    ///
    /// # Errors
    /// [`TransportError`] for everything short of a complete HTTP answer.
    pub async fn send(&self, request: RequestBuilder, deadline: Duration) -> Result<Answer, TransportError> {
        self.exchange(request, deadline, MAX_ANSWER).await.map(Answer::from)
    }

    /// Sends a request and reads the whole answer, of at most `max_answer` bytes, within `deadline`.
    pub(super) async fn exchange(
        &self,
        request: RequestBuilder,
        deadline: Duration,
        max_answer: usize,
    ) -> Result<RawAnswer, TransportError> {
        let Some(transport) = &self.0 else {
            let response = request.timeout(deadline).send().await?;
            let (status, retry_after) = (response.status(), retry_after(response.headers()));
            let body = read(response, max_answer).await?;
            return Ok(RawAnswer {
                status,
                retry_after,
                body,
            });
        };
        let sent = transport.send(request.build()?);
        let Delivered { status, headers, body } = tokio::time::timeout(deadline, sent)
            .await
            .map_err(|_| TransportError::Timeout)??;
        if body.len() > max_answer {
            return Err(TransportError::TooLarge);
        }
        Ok(RawAnswer {
            status,
            retry_after: retry_after(&headers),
            body,
        })
    }
}

fn client_of_none(user_agent: &str) -> Client {
    build(user_agent, false).unwrap_or_default()
}

async fn read(mut response: Response, most: usize) -> Result<Vec<u8>, TransportError> {
    // A vector that doubles would take up to half as much again.
    let announced = response
        .content_length()
        .and_then(|length| usize::try_from(length).ok());
    // An announced size is believed at once: a large answer that is read slowly would end as a timeout.
    if announced.is_some_and(|length| length > most) {
        return Err(TransportError::TooLarge);
    }
    let mut body = Vec::with_capacity(announced.unwrap_or_default());
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > most {
            return Err(TransportError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let header = |name: &str| headers.get(name)?.to_str().ok();
    parse_retry_after(header("retry-after")?, header("date"))
}
