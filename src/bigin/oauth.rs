//! Zoho's token endpoint (official docs, self-client-get-access-token, self-client-refresh-token-usage, revoke-tokens). It
//! answers errors with HTTP 200, so that only the body says what happened.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::domain::failure::{Remote, ServiceError, ServiceErrorKind, TransportError};
use crate::http_client::{self, Answer, Call, Calls, Operation, is_loopback, word};

/// An operator waits for the answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// An access token lasts an hour (official docs, self-client-refresh-token-usage). A longer time in the answer is a mix-up of
/// units that others have met.
const MAX_TOKEN_AGE: Duration = Duration::from_secs(3600);

/// The scopes that the program needs (official docs, scopes; endpoint pages): contacts are upserted, tagged and looked up,
/// the organisation's fields and tags are read, a missing tag is made, and the organisation's name is shown.
pub const SCOPES: &str = "ZohoBigin.modules.contacts.ALL,ZohoBigin.settings.fields.READ,ZohoBigin.settings.tags.READ,ZohoBigin.settings.tags.CREATE,ZohoBigin.org.READ,ZohoBigin.coql.READ";

/// A self client, at the accounts server of its data center.
#[derive(Clone, Copy)]
pub struct SelfClient<'a> {
    /// Like `https://accounts.zoho.eu`.
    pub accounts_url: &'a Url,
    /// `1000.…`
    pub id: &'a str,
    pub secret: &'a SecretString,
}

/// What an access token is requested with.
#[derive(Clone, Copy)]
pub enum Credential<'a> {
    /// From the API console: valid once and for a few minutes.
    Code(&'a str),
    /// Counts as one of ten in ten minutes.
    RefreshToken(&'a SecretString),
}

/// What a code or a refresh token was exchanged for.
pub struct Granted {
    /// Lasts an hour.
    pub access_token: SecretString,
    /// Lasts until it is revoked; only a code brings one, and not every code.
    pub refresh_token: Option<SecretString>,
    /// `https`, or `http` on this machine; anything else in the answer counts as absent, for the token must not travel there.
    pub api_domain: Option<Url>,
    /// How long the access token lasts, counted from the request.
    pub(super) lasts: Duration,
}

/// Why there is no token.
#[derive(Debug)]
pub(super) struct NoGrant {
    pub(super) service_error: ServiceError,
    /// Zoho may have granted a token all the same, which counts against its limit.
    pub(super) may_be_granted: bool,
}

impl SelfClient<'_> {
    /// Requests an access token for an operator: `POST {accounts}/oauth/v2/token`.
    ///
    /// # Errors
    /// A [`ServiceError`] whose code is `invalid_code` (used, expired, mistyped, revoked, or of another client),
    /// `invalid_client` (not of this data center), `invalid_client_secret`, or `access_denied` (ten codes in ten minutes:
    /// docs of Zoho CRM, token-validity).
    pub async fn exchange(&self, http: &Client, credential: Credential<'_>) -> Result<Granted, ServiceError> {
        let answer = http_client::send(self.request(http, credential), TIMEOUT).await;
        judge(
            &answer.map_err(|error| no_answer(error, self.accounts_url))?,
            self.accounts_url,
        )
    }

    /// Requests an access token for the service.
    pub(super) async fn refresh(
        &self,
        http: &Client,
        calls: &Calls,
        refresh_token: &SecretString,
        deadline: Duration,
    ) -> Result<Granted, NoGrant> {
        let call = Call {
            operation: Operation::Grant,
            of: 0,
        };
        let label = |answer: &Answer| match judge(answer, self.accounts_url) {
            Ok(_) => http_client::OK,
            Err(service_error) => service_error.kind.label(),
        };
        let request = self.request(http, Credential::RefreshToken(refresh_token));
        let answer = calls.send(call, request, deadline, label).await;
        let answer = answer.map_err(|none| NoGrant {
            may_be_granted: !none.never_sent(),
            service_error: no_answer(none, self.accounts_url),
        })?;
        judge(&answer, self.accounts_url).map_err(|service_error| NoGrant {
            // A success whose body says nothing, cut short on its way for one.
            may_be_granted: service_error.kind == ServiceErrorKind::Unavailable && answer.status.is_success(),
            service_error,
        })
    }

    fn request(&self, http: &Client, credential: Credential<'_>) -> RequestBuilder {
        let (grant_type, name, value) = match credential {
            Credential::Code(code) => ("authorization_code", "code", code),
            Credential::RefreshToken(token) => ("refresh_token", "refresh_token", token.expose_secret()),
        };
        let url = format!("{}/oauth/v2/token", http_client::base_text(self.accounts_url));
        http.post(url).form(&[
            ("grant_type", grant_type),
            ("client_id", self.id),
            ("client_secret", self.secret.expose_secret()),
            (name, value),
        ])
    }
}

/// Revokes a refresh token, and with it its access tokens: `POST {accounts}/oauth/v2/token/revoke`.
///
/// # Errors
/// A [`ServiceError`] with the code `invalid_code` where it is no token any more.
pub async fn revoke(http: &Client, accounts_url: &Url, refresh_token: &SecretString) -> Result<(), ServiceError> {
    let url = format!("{}/oauth/v2/token/revoke", http_client::base_text(accounts_url));
    // In the address, as it is documented; whether the body would do is not known.
    let query = [("token", refresh_token.expose_secret())];
    let answer = http_client::send(http.post(url).query(&query), TIMEOUT).await;
    let answer = answer.map_err(|none| no_answer(none, accounts_url))?;
    let said = |key: &str| answer.json.as_ref()?.get(key)?.as_str();
    match (said("status"), said("error")) {
        (Some("success"), _) => Ok(()),
        (_, Some(_)) => Err(unauthorized("invalid_code", &host(accounts_url))),
        _ => Err(down(&answer, accounts_url)),
    }
}

fn no_answer(none: TransportError, accounts_url: &Url) -> ServiceError {
    let what = format!("{} did not answer", host(accounts_url));
    ServiceError::new(Remote::ZohoAccounts, ServiceErrorKind::Unavailable, none.code(), what)
}

/// Judges an answer of the token endpoint: an `access_token` in the body is success, whatever the status.
///
/// `invalid_*` means that the credentials are refused. Any other JSON is a rate limit: its text is localised ("Access
/// Denied", or the like in Chinese) and its status is 200 or 400 (docs of Zoho CRM, token-validity; integrators' reports).
/// What is not JSON, or comes with 5xx, is no answer of the endpoint.
fn judge(answer: &Answer, accounts_url: &Url) -> Result<Granted, ServiceError> {
    let body = answer.json.as_ref().filter(|body| body.is_object());
    if let Some(body) = body
        && let Some(access_token) = token(body, "access_token")
    {
        return Ok(Granted {
            access_token,
            refresh_token: token(body, "refresh_token"),
            api_domain: body.get("api_domain").and_then(Value::as_str).and_then(api_domain),
            lasts: lasts(body),
        });
    }
    let error = body.and_then(|body| body.get("error")).and_then(Value::as_str);
    match error.and_then(invalid) {
        Some(code) => Err(unauthorized(code, &host(accounts_url))),
        None if is_rate_limit(answer.status, body) => Err(rate_limited(answer, error)),
        None => Err(down(answer, accounts_url)),
    }
}

fn is_rate_limit(status: StatusCode, body: Option<&Value>) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || (body.is_some() && !status.is_server_error())
}

/// A token that fits into a header; anything else is none.
fn token(body: &Value, key: &str) -> Option<SecretString> {
    let token = word(body.get(key)?.as_str()?, 2000, |c| c.is_ascii_graphic())?;
    Some(SecretString::from(token.to_owned()))
}

fn invalid(error: &str) -> Option<&str> {
    let code = word(error, 40, |c| c.is_ascii_lowercase() || c == b'_')?;
    code.starts_with("invalid_").then_some(code)
}

/// The credentials that `host` rejected with this code.
fn unauthorized(code: &str, host: &str) -> ServiceError {
    let (what, action) = match code {
        "invalid_code" => (
            "the refresh token was rejected: it was revoked, mistyped, or replaced by the user's newer ones".to_owned(),
            "create a new one with `bigin-sync auth` and set BIGIN_REFRESH_TOKEN",
        ),
        "invalid_client" => (
            format!("{host} rejected the client ID"),
            "check BIGIN_CLIENT_ID and BIGIN_DATA_CENTER",
        ),
        "invalid_client_secret" => (
            format!("{host} rejected the client secret"),
            "check BIGIN_CLIENT_SECRET, which differs per data center",
        ),
        _ => (
            format!("{host} rejected the credentials"),
            "check BIGIN_CLIENT_ID, BIGIN_CLIENT_SECRET and BIGIN_REFRESH_TOKEN",
        ),
    };
    ServiceError::new(Remote::ZohoAccounts, ServiceErrorKind::Unauthorized, code, what).with_action(action)
}

fn rate_limited(answer: &Answer, error: Option<&str>) -> ServiceError {
    let code = error.and_then(|error| word(error, 40, |c| c.is_ascii_alphabetic() || matches!(c, b'_' | b' ')));
    ServiceError::new(
        Remote::ZohoAccounts,
        ServiceErrorKind::TokenRateLimited,
        code.unwrap_or("rate_limited"),
        "Zoho Accounts grants no more access tokens for now",
    )
    .with_action("request no token for ten minutes; sending then resumes by itself")
    .with_retry_after(answer.retry_after)
}

fn down(answer: &Answer, accounts_url: &Url) -> ServiceError {
    let code = format!("HTTP {}", answer.status.as_u16());
    let what = format!("{} did not answer as a token endpoint", host(accounts_url));
    ServiceError::new(Remote::ZohoAccounts, ServiceErrorKind::Unavailable, code, what)
        .with_retry_after(answer.retry_after)
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or("the accounts server").to_owned()
}

/// `expires_in` is seconds as a number. Where `expires_in_sec` stands beside it, that is the seconds, and `expires_in`
/// milliseconds (an older form that some data centres gave).
fn lasts(body: &Value) -> Duration {
    let number = |key: &str| {
        let value = body.get(key)?;
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        // A token that never lasted would be asked for twice with every call.
        number.filter(|number| *number > 0)
    };
    number("expires_in_sec")
        .or_else(|| number("expires_in"))
        .map_or(MAX_TOKEN_AGE, Duration::from_secs)
        .min(MAX_TOKEN_AGE)
}

/// An API address that a token may be sent to.
pub(super) fn api_domain(text: &str) -> Option<Url> {
    let url = http_client::base_url(text)?;
    (url.scheme() == "https" || is_loopback(&url)).then_some(url)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::json;

    use super::*;
    use crate::testing::arbitrary_json::{answers, tells};

    const KEYS: &[&str] = &[
        "access_token",
        "error",
        "api_domain",
        "expires_in",
        "expires_in_sec",
        "status",
    ];

    const TEXTS: &[&str] = &[
        "1000.invented",
        "invalid_code",
        "invalid_client",
        "Access Denied",
        "https://www.zohoapis.eu",
        "http://www.zohoapis.eu",
        "http://127.0.0.1:1",
        "3600",
        "",
    ];

    fn answer(status: u16, json: Option<Value>) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: None,
            json,
        }
    }

    fn accounts() -> Url {
        "https://accounts.zoho.eu".parse().unwrap()
    }

    #[test]
    fn every_refusal_of_the_token_endpoint_is_told_apart_by_its_body() {
        use ServiceErrorKind::{TokenRateLimited, Unauthorized, Unavailable};
        let denied = json!({"error_description": "You have made too many requests continuously. Please try again after some time.",
            "error": "Access Denied", "status": "failure"});
        let chinese = json!({"error_description": "请求次数过多", "error": "访问被拒绝", "status": "failure"});
        let cases = [
            (
                200,
                Some(json!({"error": "invalid_code"})),
                Unauthorized,
                "invalid_code",
            ),
            (
                400,
                Some(json!({"error": "invalid_code"})),
                Unauthorized,
                "invalid_code",
            ),
            (
                200,
                Some(json!({"error": "invalid_client"})),
                Unauthorized,
                "invalid_client",
            ),
            (
                200,
                Some(json!({"error": "invalid_client_secret"})),
                Unauthorized,
                "invalid_client_secret",
            ),
            (200, Some(denied.clone()), TokenRateLimited, "Access Denied"),
            (400, Some(denied), TokenRateLimited, "Access Denied"),
            (200, Some(chinese), TokenRateLimited, "rate_limited"),
            (
                200,
                Some(json!({"error": "access_denied"})),
                TokenRateLimited,
                "access_denied",
            ),
            (200, Some(json!({})), TokenRateLimited, "rate_limited"),
            (200, Some(json!({"access_token": ""})), TokenRateLimited, "rate_limited"),
            (
                200,
                Some(json!({"access_token": "two\nlines"})),
                TokenRateLimited,
                "rate_limited",
            ),
            (429, None, TokenRateLimited, "rate_limited"),
            (500, Some(json!({"error": "general_error"})), Unavailable, "HTTP 500"),
            (502, None, Unavailable, "HTTP 502"),
            (200, None, Unavailable, "HTTP 200"),
            (200, Some(json!("ok")), Unavailable, "HTTP 200"),
        ];
        for (status, body, kind, code) in cases {
            let label = format!("{status} {body:?}");
            let service_error = judge(&answer(status, body), &accounts()).err().expect(&label);
            assert_eq!(
                (service_error.remote, service_error.kind, service_error.code.as_str()),
                (Remote::ZohoAccounts, kind, code),
                "{label}"
            );
        }
    }

    #[test]
    fn a_refused_credential_is_named_with_what_to_do() {
        let cases = [
            ("invalid_code", "set BIGIN_REFRESH_TOKEN"),
            ("invalid_client", "check BIGIN_CLIENT_ID"),
            ("invalid_client_secret", "check BIGIN_CLIENT_SECRET"),
            ("invalid_scope", "and BIGIN_REFRESH_TOKEN"),
        ];
        for (code, said) in cases {
            let action = unauthorized(code, "accounts.zoho.eu").action.unwrap();
            assert!(action.contains(said), "{code}: {action}");
        }
    }

    #[test]
    fn a_grant_is_read_whatever_its_status_and_units() {
        let cases = [
            (
                json!({"access_token": "1000.a", "api_domain": "https://www.zohoapis.eu", "expires_in": 3600}),
                3600,
            ),
            (json!({"access_token": "1000.a", "expires_in": 60}), 60),
            (json!({"access_token": "1000.a", "expires_in": "1800"}), 1800),
            (json!({"access_token": "1000.a", "expires_in": 3_600_000}), 3600),
            (
                json!({"access_token": "1000.a", "expires_in": 3_600_000, "expires_in_sec": 1200}),
                1200,
            ),
            (json!({"access_token": "1000.a"}), 3600),
            (json!({"access_token": "1000.a", "expires_in": 0}), 3600),
            (
                json!({"access_token": "1000.a", "expires_in": 1800, "expires_in_sec": 0}),
                1800,
            ),
            (json!({"access_token": "1000.a", "expires_in": "soon"}), 3600),
        ];
        for (body, seconds) in cases {
            let label = body.to_string();
            let Ok(grant) = judge(&answer(200, Some(body)), &accounts()) else {
                panic!("{label}");
            };
            assert_eq!(grant.lasts, Duration::from_secs(seconds), "{label}");
        }
    }

    #[test]
    fn a_token_travels_to_https_or_this_machine_only() {
        let cases = [
            ("https://www.zohoapis.com", true),
            ("http://127.0.0.1:8080", true),
            ("http://localhost:1/", true),
            ("http://www.zohoapis.com", false),
            ("ftp://www.zohoapis.com", false),
            ("www.zohoapis.com", false),
            ("", false),
        ];
        for (text, usable) in cases {
            assert_eq!(api_domain(text).is_some(), usable, "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(crate::testing::arbitrary_json::config())]

        #[test]
        fn there_is_a_grant_only_where_there_is_a_token((status, json) in answers(KEYS, TEXTS), domain in select(TEXTS)) {
            let mut json = json;
            if let Some(Value::Object(parts)) = &mut json {
                parts.insert("api_domain".to_owned(), domain.into());
            }
            let said = json.clone().unwrap_or_default();
            let token = said.get("access_token").and_then(Value::as_str);
            let fits = token.filter(|token| !token.is_empty() && token.bytes().all(|c| c.is_ascii_graphic()));
            match judge(&answer(status, json), &accounts()) {
                Ok(grant) => {
                    prop_assert_eq!(Some(grant.access_token.expose_secret()), fits);
                    prop_assert!(grant.lasts <= Duration::from_secs(3600));
                    prop_assert!(grant.api_domain.is_none_or(|url| url.scheme() == "https" || is_loopback(&url)));
                }
                Err(service_error) => {
                    prop_assert!(fits.is_none());
                    prop_assert_eq!(service_error.remote, Remote::ZohoAccounts);
                    let shown = format!("{service_error:?}");
                    prop_assert!(!tells(&shown) && !shown.contains("1000."));
                }
            }
        }
    }
}
