//! Zoho's token endpoint. It answers errors with HTTP 200, so that only the body says what happened.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;

use crate::config::BiginSettings;
use crate::domain::failure::{Remote, ServiceError, ServiceErrorKind};
use crate::http_client::{self, Answer, Call, Calls, Operation, is_loopback, word};

/// An access token lasts an hour (official docs, self-client-refresh-token-usage). A longer time in the answer is a mix-up of
/// units that others have met.
const LONGEST: Duration = Duration::from_secs(3600);

/// An access token that was just granted.
pub(super) struct Grant {
    pub(super) access_token: SecretString,
    /// `https`, or `http` on this machine; anything else in the answer counts as absent, for the token must not travel there.
    pub(super) api_domain: Option<Url>,
    /// How long it lasts, counted from when it was asked for.
    pub(super) lasts: Duration,
}

/// Why there is no token.
#[derive(Debug)]
pub(super) struct NoGrant {
    pub(super) service_error: ServiceError,
    /// Zoho may have granted a token all the same, which counts against its limit.
    pub(super) may_be_granted: bool,
}

#[derive(Serialize)]
struct Form<'a> {
    grant_type: &'static str,
    client_id: &'a str,
    client_secret: &'a str,
    refresh_token: &'a str,
}

/// Asks for an access token: `POST {accounts}/oauth/v2/token` with a form (official docs, self-client-refresh-token-usage).
pub(super) async fn refresh(
    http: &Client,
    calls: &Calls,
    settings: &BiginSettings,
    deadline: Duration,
) -> Result<Grant, NoGrant> {
    let form = Form {
        grant_type: "refresh_token",
        client_id: &settings.client_id,
        client_secret: settings.client_secret.expose_secret(),
        refresh_token: settings.refresh_token.expose_secret(),
    };
    let url = format!("{}/oauth/v2/token", http_client::base_text(&settings.accounts_url));
    let answer = post(calls, http.post(url).form(&form), &settings.accounts_url, deadline).await?;
    judge(&answer, &settings.accounts_url).map_err(sure)
}

async fn post(
    calls: &Calls,
    request: RequestBuilder,
    accounts_url: &Url,
    deadline: Duration,
) -> Result<Answer, NoGrant> {
    let call = Call {
        operation: Operation::Grant,
        of: 0,
    };
    let label = |answer: &Answer| match judge(answer, accounts_url) {
        Ok(_) => http_client::OK,
        Err(service_error) => service_error.kind.label(),
    };
    let sent = calls.send(call, request, deadline, label).await;
    sent.map_err(|none| NoGrant {
        may_be_granted: !none.never_sent(),
        service_error: ServiceError {
            remote: Remote::ZohoAccounts,
            kind: ServiceErrorKind::Unavailable,
            code: none.code().to_owned(),
            what: format!("{} did not answer", host(accounts_url)),
            action: None,
            retry_after: None,
        },
    })
}

fn sure(service_error: ServiceError) -> NoGrant {
    NoGrant {
        service_error,
        may_be_granted: false,
    }
}

/// Judges an answer of the token endpoint: an `access_token` in the body is success, whatever the status.
///
/// `invalid_*` means that the credentials are refused. Any other JSON is a throttle: its text is localised ("Access
/// Denied", or the like in Chinese) and its status is 200 or 400 (docs of Zoho CRM, token-validity; integrators' reports).
/// What is not JSON, or comes with 5xx, is no answer of the endpoint.
fn judge(answer: &Answer, accounts_url: &Url) -> Result<Grant, ServiceError> {
    let body = answer.json.as_ref().filter(|body| body.is_object());
    if let Some(body) = body
        && let Some(token) = token(body, "access_token")
    {
        return Ok(Grant {
            access_token: SecretString::from(token.to_owned()),
            api_domain: body.get("api_domain").and_then(Value::as_str).and_then(api_domain),
            lasts: lasts(body),
        });
    }
    let error = body.and_then(|body| body.get("error")).and_then(Value::as_str);
    match error.and_then(invalid) {
        Some(code) => Err(unauthorized(code, &host(accounts_url))),
        None if is_throttle(answer.status, body) => Err(throttled(answer, error)),
        None => Err(down(answer, accounts_url)),
    }
}

fn is_throttle(status: StatusCode, body: Option<&Value>) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || (body.is_some() && !status.is_server_error())
}

/// A token that fits into a header; anything else is none.
pub(super) fn token<'a>(body: &'a Value, key: &str) -> Option<&'a str> {
    word(body.get(key)?.as_str()?, 2000, |c| c.is_ascii_graphic())
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
    ServiceError {
        remote: Remote::ZohoAccounts,
        kind: ServiceErrorKind::Unauthorized,
        code: code.to_owned(),
        what,
        action: Some(action.to_owned()),
        retry_after: None,
    }
}

fn throttled(answer: &Answer, error: Option<&str>) -> ServiceError {
    let code = error.and_then(|error| word(error, 40, |c| c.is_ascii_alphabetic() || matches!(c, b'_' | b' ')));
    ServiceError {
        remote: Remote::ZohoAccounts,
        kind: ServiceErrorKind::TokenRateLimited,
        code: code.unwrap_or("rate_limited").to_owned(),
        what: "Zoho Accounts grants no more access tokens for now".to_owned(),
        action: Some("request no token for ten minutes; the service recovers by itself".to_owned()),
        retry_after: answer.retry_after,
    }
}

fn down(answer: &Answer, accounts_url: &Url) -> ServiceError {
    let code = format!("HTTP {}", answer.status.as_u16());
    ServiceError {
        remote: Remote::ZohoAccounts,
        kind: ServiceErrorKind::Unavailable,
        what: format!("{} did not answer as a token endpoint", host(accounts_url)),
        action: None,
        code,
        retry_after: answer.retry_after,
    }
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
        .map_or(LONGEST, Duration::from_secs)
        .min(LONGEST)
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
