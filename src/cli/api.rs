//! A client of a running service's API, for the commands that need one.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::text::plain;
use super::{Sources, Usage};
use crate::api_types::Readiness;
use crate::config::{ConfigError, ConfigErrors, Layers, ServiceSettings, environment};
use crate::domain::failure::TransportError;
use crate::http_client::{self, Answer, base_text, is_loopback};

mod events;

pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) const USER_AGENT: &str = concat!("bigin-sync/", env!("CARGO_PKG_VERSION"));

#[derive(clap::Args)]
pub(super) struct Target {
    /// The service's URL [default: BIGIN_SYNC_URL, or the address that these settings listen on]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    sources: Sources,
}

impl Target {
    /// The settings' layers; --url overrides them.
    pub(super) fn layers(&self) -> Layers {
        let mut environment = environment();
        if let Some(url) = &self.url {
            environment.insert("BIGIN_SYNC_URL".to_owned(), url.clone());
        }
        self.sources.layers(environment)
    }

    /// # Errors
    /// The URL or the admin token is missing or invalid.
    pub(super) fn api(&self) -> anyhow::Result<Api> {
        let service = ServiceSettings::load(&self.layers()).map_err(|errors| self.named(errors))?;
        let Some(token) = service.admin_token else {
            let message = "ADMIN_TOKEN is missing: set it to the service's token in the environment or .env, or name a file with ADMIN_TOKEN_FILE";
            return Err(Usage(message.to_owned()).into());
        };
        if service.url.scheme() == "http" && !is_loopback(&service.url) {
            let host = service.url.host_str().unwrap_or_default();
            let _ = writeln!(
                std::io::stderr(),
                "bigin-sync: warning: sending the admin token to {host} unencrypted; use https"
            );
        }
        Api::new(&service.url, Some(token))
    }

    /// # Errors
    /// The URL is invalid.
    pub(super) fn api_without_token(&self) -> anyhow::Result<Api> {
        let url = ServiceSettings::address(&self.layers()).map_err(|errors| self.named(errors))?;
        Api::new(&url, None)
    }

    /// With the option's name where the option was used.
    fn named(&self, mut errors: ConfigErrors) -> ConfigErrors {
        for error in &mut errors.0 {
            match error {
                ConfigError::Invalid { setting, .. } if self.url.is_some() && setting == "BIGIN_SYNC_URL" => {
                    "--url".clone_into(setting);
                }
                _ => {}
            }
        }
        errors
    }
}

pub(super) struct Api {
    http: Client,
    /// Without a slash at the end.
    pub(super) url: String,
    token: Option<SecretString>,
}

/// A call without a usable answer.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub(super) struct ApiError {
    /// What is wrong, and how to fix it.
    sentence: String,
    /// Worth a retry: the service is restarting, or limits requests.
    pub(super) is_temporary: bool,
}

impl Api {
    fn new(url: &reqwest::Url, token: Option<SecretString>) -> anyhow::Result<Self> {
        let http = http_client::client(USER_AGENT, &[url]).context("cannot create an HTTP client")?;
        Ok(Self {
            http,
            url: base_text(url).to_owned(),
            token,
        })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        }
    }

    /// # Errors
    /// [`ApiError`], also for an answer that is not bigin-sync's.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.call(self.request(Method::GET, path), REQUEST_TIMEOUT).await
    }

    /// # Errors
    /// As for [`Api::get`].
    pub(super) async fn get_with<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, ApiError> {
        self.call(self.request(Method::GET, path).query(query), REQUEST_TIMEOUT)
            .await
    }

    /// # Errors
    /// As for [`Api::get`].
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        timeout: Duration,
    ) -> Result<T, ApiError> {
        self.call(self.request(Method::POST, path).json(body), timeout).await
    }

    /// # Errors
    /// As for [`Api::get`].
    pub(super) async fn readiness(&self, timeout: Duration) -> Result<Readiness, ApiError> {
        let answer = http_client::send(self.request(Method::GET, "/readyz"), timeout).await;
        let answer = answer.map_err(|error| self.no_answer(error, timeout))?;
        // 503 means unavailable here, not that the call failed.
        let readiness = answer.json.as_ref().and_then(|body| Readiness::deserialize(body).ok());
        let has_readiness = answer.status.is_success() || answer.status == StatusCode::SERVICE_UNAVAILABLE;
        match readiness.filter(|_| has_readiness) {
            Some(readiness) => Ok(readiness),
            None => Err(self.body(answer).err().unwrap_or_else(|| self.not_bigin_sync(None))),
        }
    }

    async fn call<T: DeserializeOwned>(&self, request: RequestBuilder, timeout: Duration) -> Result<T, ApiError> {
        let answer = http_client::send(request, timeout).await;
        let answer = answer.map_err(|error| self.no_answer(error, timeout))?;
        let status = answer.status;
        let body = self.body(answer)?;
        serde_json::from_value(body).map_err(|_| self.not_bigin_sync(Some(status)))
    }

    fn no_answer(&self, error: TransportError, timeout: Duration) -> ApiError {
        let url = &self.url;
        ApiError {
            is_temporary: true,
            sentence: match error {
                TransportError::Connect => format!(
                    "no service answers at {url}: start it (`bigin-sync serve`), or set --url or BIGIN_SYNC_URL to its URL"
                ),
                TransportError::Timeout => {
                    format!("{url} did not answer within {timeout:?}: see the service's log")
                }
                _ => format!("{url} closed the connection before its answer was complete: is the service restarting?"),
            },
        }
    }

    fn body(&self, answer: Answer) -> Result<Value, ApiError> {
        let (url, status) = (&self.url, answer.status);
        let detail = answer.json.as_ref().and_then(problem_detail);
        let rejected = |sentence: String| ApiError {
            sentence,
            is_temporary: false,
        };
        match (status, detail) {
            (status, _) if status.is_success() => answer.json.ok_or_else(|| self.not_bigin_sync(Some(status))),
            (status, _) if status.is_redirection() => Err(rejected(format!(
                "{url} redirects (HTTP {}), and the admin token is not sent along: set --url or BIGIN_SYNC_URL to the target, often the same URL with https",
                status.as_u16()
            ))),
            (StatusCode::UNAUTHORIZED, Some(_)) => Err(rejected(format!(
                "the service at {url} rejected the admin token; use the same ADMIN_TOKEN as the service"
            ))),
            (StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS, Some(detail)) => Err(ApiError {
                sentence: format!("the service at {url} answered: {detail}"),
                is_temporary: true,
            }),
            (_, Some(detail)) => Err(rejected(format!("the service at {url} answered: {detail}"))),
            (StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT, None) => {
                Err(ApiError {
                    sentence: format!(
                        "the proxy at {url} cannot reach the service (HTTP {}): is it running?",
                        status.as_u16()
                    ),
                    is_temporary: true,
                })
            }
            (status, None) => Err(self.not_bigin_sync(Some(status))),
        }
    }

    /// The answer is another program's; without a status, it was HTTP 200.
    pub(super) fn not_bigin_sync(&self, status: Option<StatusCode>) -> ApiError {
        ApiError {
            sentence: format!(
                "the server at {} is not bigin-sync (HTTP {}): set --url or BIGIN_SYNC_URL to the service's URL",
                self.url,
                status.unwrap_or(StatusCode::OK).as_u16()
            ),
            is_temporary: false,
        }
    }
}

/// The detail of a problem document that is the service's own.
fn problem_detail(body: &Value) -> Option<String> {
    let is_own = body["type"] == "about:blank" && body["error"] == body["detail"];
    body["detail"].as_str().filter(|_| is_own).map(plain)
}
