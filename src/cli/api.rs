//! The API of a running service, as its own commands call it: where it is, what it answers, and in which words a failure
//! is told.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Sources, Usage};
use crate::config::{Layers, ServiceSettings, environment};
use crate::domain::problem::Problem;
use crate::http_client::{self, Answer, NoAnswer, base_text, is_loopback};

pub(super) use self::events::Event;

mod events;

/// Within which a service answers that answers at all.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

pub(super) const USER_AGENT: &str = concat!("bigin-sync/", env!("CARGO_PKG_VERSION"));

/// Which service is meant.
#[derive(clap::Args)]
pub(super) struct Target {
    /// Where the service answers [default: BIGIN_SYNC_URL, else where these settings would start it]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    sources: Sources,
}

impl Target {
    /// The settings' layers; an address that was given as a flag has the last word.
    pub(super) fn layers(&self) -> Layers {
        let mut environment = environment();
        if let Some(url) = &self.url {
            environment.insert("BIGIN_SYNC_URL".to_owned(), url.clone());
        }
        Layers::read(
            self.sources.config.as_deref(),
            self.sources.env_file.as_deref(),
            environment,
        )
    }

    /// The service, for a caller with the admin token.
    ///
    /// # Errors
    /// The address or the token is missing or wrong.
    pub(super) fn api(&self) -> anyhow::Result<Api> {
        let service = ServiceSettings::load(&self.layers()).map_err(|faults| self.wrong(&faults))?;
        let Some(token) = service.admin_token else {
            let message = "ADMIN_TOKEN is missing: it must be the one that the service was started with, in the environment, in .env, or in a file that ADMIN_TOKEN_FILE names";
            return Err(Usage(message.to_owned()).into());
        };
        if service.url.scheme() == "http" && !is_loopback(&service.url) {
            let host = service.url.host_str().unwrap_or_default();
            let _ = writeln!(
                std::io::stderr(),
                "bigin-sync: the admin token goes to {host} by plain http, for everybody on the way to read: use https where you can"
            );
        }
        Api::new(&service.url, Some(token))
    }

    /// The service, for a caller who needs no token.
    ///
    /// # Errors
    /// The address is wrong.
    pub(super) fn open_api(&self) -> anyhow::Result<Api> {
        let url = ServiceSettings::address(&self.layers()).map_err(|faults| self.wrong(&faults))?;
        Api::new(&url, None)
    }

    fn wrong(&self, faults: &impl ToString) -> Usage {
        let faults = faults.to_string();
        Usage(match self.url {
            Some(_) => faults.replace("BIGIN_SYNC_URL", "--url"),
            None => faults,
        })
    }
}

/// A caller of a service's API.
pub(super) struct Api {
    http: Client,
    /// Without a slash at the end.
    pub(super) url: String,
    token: Option<SecretString>,
}

/// Why there is no answer to go on with.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub(super) struct ApiError {
    /// What is wrong, and what to do.
    sentence: String,
    /// It may be well in a moment: the service is being started, or another answer gets through.
    pub(super) passing: bool,
}

impl Api {
    fn new(url: &reqwest::Url, token: Option<SecretString>) -> anyhow::Result<Self> {
        let http = http_client::client(USER_AGENT, &[url]).context("no HTTP client can be made")?;
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

    /// What is found at a path of the API.
    ///
    /// # Errors
    /// [`ApiError`], also where the answer is not what this service would say.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.call(self.request(Method::GET, path), PATIENCE).await
    }

    /// The same, with parameters.
    ///
    /// # Errors
    /// As for [`Api::get`].
    pub(super) async fn find<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, ApiError> {
        self.call(self.request(Method::GET, path).query(query), PATIENCE).await
    }

    /// Asks for something to be done, within `patience`.
    ///
    /// # Errors
    /// As for [`Api::get`].
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        patience: Duration,
    ) -> Result<T, ApiError> {
        self.call(self.request(Method::POST, path).json(body), patience).await
    }

    /// Whether the service can take webhooks, and what is in trouble.
    ///
    /// # Errors
    /// As for [`Api::get`].
    pub(super) async fn readiness(&self, patience: Duration) -> Result<Readiness, ApiError> {
        let answer = http_client::send(self.request(Method::GET, "/readyz"), patience).await;
        let answer = answer.map_err(|none| self.unanswered(&none, patience))?;
        // 503 is an answer like any other here.
        let said = answer.json.as_ref().and_then(|body| Readiness::deserialize(body).ok());
        let is_one = answer.status.is_success() || answer.status == StatusCode::SERVICE_UNAVAILABLE;
        match said.filter(|_| is_one) {
            Some(readiness) => Ok(readiness),
            None => Err(self.judge(answer).err().unwrap_or_else(|| self.not_this_service())),
        }
    }

    async fn call<T: DeserializeOwned>(&self, request: RequestBuilder, patience: Duration) -> Result<T, ApiError> {
        let answer = http_client::send(request, patience).await;
        let answer = answer.map_err(|none| self.unanswered(&none, patience))?;
        let status = answer.status;
        let body = self.judge(answer)?;
        serde_json::from_value(body).map_err(|_| self.stranger(status))
    }

    fn unanswered(&self, none: &NoAnswer, patience: Duration) -> ApiError {
        let url = &self.url;
        ApiError {
            passing: true,
            sentence: match none.code {
                "connect" => format!(
                    "nothing answers at {url}: start the service there (`bigin-sync serve`), or say with --url or BIGIN_SYNC_URL where it is"
                ),
                "timeout" => format!("{url} has not answered within {patience:?}: the service's log may say why"),
                _ => format!("{url} broke off before its answer was complete: is the service being started again?"),
            },
        }
    }

    /// The body of a good answer.
    fn judge(&self, answer: Answer) -> Result<Value, ApiError> {
        let (url, status) = (&self.url, answer.status);
        let detail = answer.json.as_ref().and_then(problem);
        let refused = |sentence: String| ApiError {
            sentence,
            passing: false,
        };
        match (status, detail) {
            (status, _) if status.is_success() => answer.json.ok_or_else(|| self.stranger(status)),
            (status, _) if status.is_redirection() => Err(refused(format!(
                "{url} answers with a redirect (HTTP {}), and the admin token does not go along: set --url or BIGIN_SYNC_URL to where it leads, often the same address with https",
                status.as_u16()
            ))),
            (StatusCode::UNAUTHORIZED, Some(_)) => Err(refused(format!(
                "the service at {url} refuses the admin token: ADMIN_TOKEN must be here what it is where the service runs"
            ))),
            (StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS, Some(detail)) => Err(ApiError {
                sentence: format!("the service at {url} says: {detail}"),
                passing: true,
            }),
            (_, Some(detail)) => Err(refused(format!("the service at {url} says: {detail}"))),
            (StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT, None) => {
                Err(ApiError {
                    sentence: format!(
                        "the proxy at {url} does not reach the service behind it (HTTP {}): is it running?",
                        status.as_u16()
                    ),
                    passing: true,
                })
            }
            (status, None) => Err(self.stranger(status)),
        }
    }

    /// The answer is JSON, and not what this service would say.
    pub(super) fn not_this_service(&self) -> ApiError {
        self.stranger(StatusCode::OK)
    }

    /// Somebody else answers.
    fn stranger(&self, status: StatusCode) -> ApiError {
        ApiError {
            sentence: format!(
                "what answers at {} is not bigin-sync (HTTP {}): set --url or BIGIN_SYNC_URL to where the service is",
                self.url,
                status.as_u16()
            ),
            passing: false,
        }
    }
}

/// What one of the service's own problems says.
fn problem(body: &Value) -> Option<String> {
    let is_own = body["type"] == "about:blank" && body["error"] == body["detail"];
    body["detail"].as_str().filter(|_| is_own).map(plain)
}

/// Text without what would move a terminal's cursor: not everybody who answers means well.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The answer of `/readyz`.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Readiness {
    /// ready, degraded or unavailable.
    pub(super) status: String,
    /// A sentence for each part in trouble.
    pub(super) degraded: Vec<Problem>,
}

/// A sync, as far as commands show it.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SyncJob {
    pub(super) id: i64,
    pub(super) lead_id: String,
    pub(super) state: String,
    pub(super) contact_id: Option<String>,
    pub(super) action: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) cancelled_by: Option<String>,
    pub(super) tag_not_before: Option<Timestamp>,
    pub(super) is_manual: bool,
    pub(super) attempts: u32,
    pub(super) last_error: Option<String>,
    pub(super) next_attempt_at: Option<Timestamp>,
    pub(super) created_at: Timestamp,
    pub(super) changed_at: Timestamp,
    pub(super) finished_at: Option<Timestamp>,
}

impl SyncJob {
    /// Whether the service has read the lead.
    pub(super) fn is_read(&self) -> bool {
        self.state != "requested"
    }

    /// Whether nothing will follow.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "sent" | "failed" | "lead_deleted" | "cancelled")
    }
}

/// A page of syncs, newest first.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) syncs: Vec<SyncJob>,
    pub(super) next: Option<i64>,
}

/// Why leads failed.
#[derive(Debug, Deserialize)]
pub(super) struct Failures {
    pub(super) failures: Vec<FailureGroup>,
}

/// Leads that failed for one reason.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct FailureGroup {
    pub(super) reason: String,
    pub(super) leads: u64,
}
