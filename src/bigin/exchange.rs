//! What is done once, by a person, before anything is sent: a self client's code becomes a refresh token, the token is looked
//! at, or revoked.

use std::time::Duration;

use reqwest::{Client, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;

use super::grant::{api_domain, token};
use crate::http_client::{self, Answer};

/// A person waits for the answer.
const DEADLINE: Duration = Duration::from_secs(20);

/// The scopes that the program needs (official docs, scopes; endpoint pages): contacts are upserted, tagged and looked up,
/// the organisation's fields and tags are read, a missing tag is made, and the organisation's name is shown.
pub const SCOPES: &str = "ZohoBigin.modules.contacts.ALL,ZohoBigin.settings.fields.READ,ZohoBigin.settings.tags.READ,ZohoBigin.settings.tags.CREATE,ZohoBigin.org.READ,ZohoBigin.coql.READ";

/// Who asks.
pub struct SelfClient<'a> {
    /// `1000.…`
    pub id: &'a str,
    /// Its secret.
    pub secret: &'a SecretString,
}

/// What a code or a refresh token was exchanged for.
pub struct Granted {
    /// Lasts an hour.
    pub access_token: SecretString,
    /// Lasts until it is revoked; only a code brings one, and not every code.
    pub refresh_token: Option<SecretString>,
    /// Where the organisation is, if the answer says so.
    pub api_domain: Option<Url>,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// `invalid_code`: used, expired, mistyped, of another data centre or client; or a refresh token that was revoked.
    #[error("the code is refused (invalid_code)")]
    Code,
    /// `invalid_client`: there is no such client in this data centre.
    #[error("the client id is refused (invalid_client)")]
    Client,
    /// `invalid_client_secret`.
    #[error("the client secret is refused (invalid_client_secret)")]
    Secret,
    /// `access_denied`: ten codes in ten minutes (docs of Zoho CRM, token-validity).
    #[error("too many codes were generated (access_denied)")]
    TooManyCodes,
    /// Any other JSON: a throttle, whose text is localised.
    #[error("Zoho grants no more tokens for now")]
    Throttled,
    /// Nothing that makes sense.
    #[error("{host} did not answer properly ({code})")]
    NoAnswer {
        /// Who did not.
        host: String,
        /// `HTTP 502`, `timeout`.
        code: String,
    },
}

#[derive(Serialize)]
struct Form<'a> {
    grant_type: &'static str,
    client_id: &'a str,
    client_secret: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
}

/// Exchanges a code, which can be done once and within its few minutes: `POST {accounts}/oauth/v2/token`, without a redirect
/// address (official docs, self-client-get-access-token).
///
/// # Errors
/// [`Refused`].
pub async fn code(http: &Client, accounts: &Url, client: &SelfClient<'_>, code: &str) -> Result<Granted, Refused> {
    ask(http, accounts, client, Some(code), None).await
}

/// Asks for an access token, which counts as one of ten in ten minutes.
///
/// # Errors
/// [`Refused`].
pub async fn refresh(
    http: &Client,
    accounts: &Url,
    client: &SelfClient<'_>,
    refresh_token: &SecretString,
) -> Result<Granted, Refused> {
    ask(http, accounts, client, None, Some(refresh_token.expose_secret())).await
}

async fn ask(
    http: &Client,
    accounts: &Url,
    client: &SelfClient<'_>,
    code: Option<&str>,
    refresh_token: Option<&str>,
) -> Result<Granted, Refused> {
    let form = Form {
        grant_type: if code.is_some() {
            "authorization_code"
        } else {
            "refresh_token"
        },
        client_id: client.id,
        client_secret: client.secret.expose_secret(),
        code,
        refresh_token,
    };
    let url = format!("{}/oauth/v2/token", http_client::base_text(accounts));
    let answer = http_client::send(http.post(url).form(&form), DEADLINE).await;
    judge(&answer.map_err(|error| no_answer(accounts, error.code()))?, accounts)
}

fn judge(answer: &Answer, accounts: &Url) -> Result<Granted, Refused> {
    let http = || no_answer(accounts, &format!("HTTP {}", answer.status.as_u16()));
    let body = answer.json.as_ref().filter(|body| body.is_object()).ok_or_else(http)?;
    if let Some(access_token) = token(body, "access_token") {
        return Ok(Granted {
            access_token: SecretString::from(access_token.to_owned()),
            refresh_token: token(body, "refresh_token").map(|token| SecretString::from(token.to_owned())),
            api_domain: body.get("api_domain").and_then(Value::as_str).and_then(api_domain),
        });
    }
    Err(match body.get("error").and_then(Value::as_str) {
        Some("invalid_code") => Refused::Code,
        Some("invalid_client") => Refused::Client,
        Some("invalid_client_secret") => Refused::Secret,
        Some("access_denied") => Refused::TooManyCodes,
        _ if answer.status.is_server_error() => http(),
        _ => Refused::Throttled,
    })
}

fn no_answer(url: &Url, code: &str) -> Refused {
    Refused::NoAnswer {
        host: url.host_str().unwrap_or("the server").to_owned(),
        code: code.to_owned(),
    }
}

/// Revokes a refresh token, and with it its access tokens: `POST {accounts}/oauth/v2/token/revoke` (official docs,
/// revoke-tokens).
///
/// # Errors
/// [`Refused::Code`] where it is no token any more.
pub async fn revoke(http: &Client, accounts: &Url, refresh_token: &SecretString) -> Result<(), Refused> {
    let url = format!("{}/oauth/v2/token/revoke", http_client::base_text(accounts));
    // In the address, as it is documented; whether the body would do is not known.
    let query = [("token", refresh_token.expose_secret())];
    let answer = http_client::send(http.post(url).query(&query), DEADLINE).await;
    let answer = answer.map_err(|error| no_answer(accounts, error.code()))?;
    let said = |key: &str| answer.json.as_ref()?.get(key)?.as_str();
    match (said("status"), said("error")) {
        (Some("success"), _) => Ok(()),
        (_, Some(_)) => Err(Refused::Code),
        _ => Err(no_answer(accounts, &format!("HTTP {}", answer.status.as_u16()))),
    }
}

/// The organisation a token belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organisation {
    /// What it calls itself.
    pub name: String,
    /// Zoho's id of it.
    pub id: String,
}

/// Why the organisation is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoOrganisation {
    /// The token lacks `ZohoBigin.org.READ`.
    #[error("the token lacks the scope ZohoBigin.org.READ")]
    Scope,
    /// The token is of another data centre, or of no organisation of Bigin's.
    #[error("Bigin at {0} does not take the token")]
    Token(String),
    /// Nothing that makes sense.
    #[error("Bigin at {host} did not answer properly ({code})")]
    NoAnswer {
        /// Who did not.
        host: String,
        /// `HTTP 502`, `timeout`.
        code: String,
    },
}

/// The organisation that an answer names.
pub(super) fn named(body: &Value) -> Option<Organisation> {
    let org = body.get("org")?.as_array()?.first()?;
    let text = |key: &str| org.get(key).and_then(Value::as_str).unwrap_or("unnamed").to_owned();
    Some(Organisation {
        name: text("company_name"),
        id: text("zgid"),
    })
}

/// Asks which organisation an access token belongs to: `GET {api}/bigin/v2/org` (official docs, scopes; the answer's shape is
/// that of Zoho CRM's).
///
/// # Errors
/// [`NoOrganisation`].
pub async fn organisation(
    http: &Client,
    api_domain: &Url,
    access_token: &SecretString,
) -> Result<Organisation, NoOrganisation> {
    let host = || api_domain.host_str().unwrap_or("the server").to_owned();
    let url = format!("{}/bigin/v2/org", http_client::base_text(api_domain));
    let token = format!("Zoho-oauthtoken {}", access_token.expose_secret());
    let request = http.get(url).header("authorization", token);
    let answer = http_client::send(request, DEADLINE).await;
    let answer = answer.map_err(|error| NoOrganisation::NoAnswer {
        host: host(),
        code: error.code().to_owned(),
    })?;
    let body = answer.json.as_ref();
    if let Some(organisation) = body.and_then(named) {
        return Ok(organisation);
    }
    let code = body.and_then(|body| body.get("code")).and_then(Value::as_str);
    Err(match (answer.status, code) {
        (_, Some("OAUTH_SCOPE_MISMATCH" | "NO_PERMISSION")) => NoOrganisation::Scope,
        (StatusCode::UNAUTHORIZED, _) | (_, Some("INVALID_TOKEN")) => NoOrganisation::Token(host()),
        (status, _) => NoOrganisation::NoAnswer {
            host: host(),
            code: format!("HTTP {}", status.as_u16()),
        },
    })
}
