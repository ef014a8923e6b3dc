//! Access to the API and the pages: by the admin token as a bearer, or for the length of a session as a
//! signed cookie that a login with the token has set.
//!
//! Nothing of a session is stored: the cookie says until when it is good, and is signed with a key made from the admin
//! token, so that another token ends all sessions.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::body::MessageBody;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderValue, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, web};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::{AppState, connections, problem};
use crate::clock::{after, until};
use crate::crypto::{self, MacKey};

/// The cookie that a login sets.
const COOKIE: &str = "bigin_sync_session";

/// Long enough for a working day, short enough for a browser that was left open.
pub(super) const SESSION: Duration = Duration::from_secs(12 * 60 * 60);

/// Logins that may fail at once, and how long until one more may.
const FAILURES: u32 = 10;
const FAILURE_EVERY: Duration = Duration::from_secs(6);

/// The admin token, and what depends on it.
pub struct Admin {
    token: SecretString,
    key: MacKey,
    failures: Mutex<Failures>,
}

/// The limit on failed logins, for all addresses together: addresses mean nothing behind a proxy.
struct Failures {
    /// How many more may fail now.
    left: u32,
    /// When one was last given back.
    at: Timestamp,
}

/// A session that is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    /// Until when.
    pub(super) ends: Timestamp,
    /// Random; ties the forms of its pages to it.
    nonce: String,
}

/// Why there is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoginError {
    /// It is not the admin token.
    Wrong,
    /// It is not either, and too many have failed: come again after this.
    TooMany(Duration),
}

impl Admin {
    /// Derives the sessions' key from the token.
    pub fn new(token: SecretString, now: Timestamp) -> Self {
        let key = MacKey::derive(&token, "bigin-sync session v1");
        let failures = Mutex::new(Failures {
            left: FAILURES,
            at: now,
        });
        Self { token, key, failures }
    }

    /// Compares hashes, which are as long as each other: the time tells nothing of the token, nor of its length.
    fn is_token(&self, given: &[u8]) -> bool {
        let hash = |text: &[u8]| self.key.mac(&[text]);
        crypto::is_equal(&hash(given), &hash(self.token.expose_secret().as_bytes()))
    }

    /// Begins a session where the token is right, however many logins have failed: a stranger must not be able to lock the
    /// operator out. The limit answers those that are wrong, and slows guessing down no further than the token's length does.
    pub(super) fn log_in(&self, given: &str, now: Timestamp) -> Result<Session, LoginError> {
        if !self.is_token(given.as_bytes()) {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            return Err(failures.count(now));
        }
        Ok(Session {
            ends: after(now, SESSION),
            nonce: crypto::random_token::<16>(),
        })
    }

    /// The cookie of a session. `secure` where the pages are served by HTTPS.
    pub(super) fn cookie(&self, session: &Session, secure: bool) -> Cookie<'static> {
        let value = format!("{}.{}", session.ends.as_second(), session.nonce);
        let value = format!("{value}.{}", self.sign("session", &value));
        let seconds = i64::try_from(SESSION.as_secs()).unwrap_or(i64::MAX);
        Cookie::build(COOKIE, value)
            .path("/")
            .http_only(true)
            .same_site(SameSite::Strict)
            .secure(secure)
            .max_age(actix_web::cookie::time::Duration::seconds(seconds))
            .finish()
    }

    /// The session of a request, if it has one that is good.
    pub(super) fn session(&self, request: &HttpRequest, now: Timestamp) -> Option<Session> {
        let cookie = request.cookie(COOKIE)?;
        let (value, signature) = cookie.value().rsplit_once('.')?;
        let (ends, nonce) = value.split_once('.')?;
        let good = crypto::is_equal(self.sign("session", value).as_bytes(), signature.as_bytes());
        let ends = Timestamp::from_second(ends.parse().ok()?).ok()?;
        let session = Session {
            ends,
            nonce: nonce.to_owned(),
        };
        (good && ends > now).then_some(session)
    }

    /// What every form of a session's pages carries, so that another site's form is worth nothing.
    pub(super) fn form_token(&self, session: &Session) -> String {
        self.sign("form", &session.nonce)
    }

    /// Whether a form is of this session's pages.
    pub(super) fn is_own_form(&self, session: &Session, given: &str) -> bool {
        crypto::is_equal(self.form_token(session).as_bytes(), given.as_bytes())
    }

    fn sign(&self, what: &str, text: &str) -> String {
        crypto::base64url(&self.key.mac(&[what.as_bytes(), b"\0", text.as_bytes()]))
    }
}

impl Failures {
    /// Counts one more.
    fn count(&mut self, now: Timestamp) -> LoginError {
        self.refill(now);
        if self.left == 0 {
            let wait = until(now, after(self.at, FAILURE_EVERY));
            return LoginError::TooMany(wait.max(Duration::from_secs(1)));
        }
        self.left -= 1;
        LoginError::Wrong
    }

    fn refill(&mut self, now: Timestamp) {
        while self.left < FAILURES && until(self.at, now) >= FAILURE_EVERY {
            self.left += 1;
            self.at = after(self.at, FAILURE_EVERY);
        }
        if self.left == FAILURES {
            self.at = now;
        }
    }
}

/// The cookie that ends a session in the browser.
pub(super) fn no_cookie() -> Cookie<'static> {
    let mut cookie = Cookie::build(COOKIE, "")
        .path("/")
        .http_only(true)
        .same_site(SameSite::Strict)
        .finish();
    cookie.make_removal();
    cookie
}

/// Lets a request to the API pass that carries the admin token, or a session's cookie.
pub(super) async fn authorize(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let state = request.app_data::<web::Data<AppState>>().cloned();
    let Some((state, admin)) = state.as_ref().and_then(|state| Some((state, state.admin.as_ref()?))) else {
        let response = problem::answer(404, "The API is off: set ADMIN_TOKEN to turn it on.");
        return Ok(request.into_response(response).map_into_right_body());
    };
    if bearer(request.request()).is_some_and(|given| admin.is_token(given)) {
        connections::authenticated(request.request());
        return next.call(request).await.map(ServiceResponse::map_into_left_body);
    }
    if bearer(request.request()).is_some() {
        state.metrics.logins_failed.add();
    }
    let now = state.clock.now();
    if let Some(session) = admin.session(request.request(), now) {
        if request.method().is_safe() || is_same_origin(request.request()) {
            request.extensions_mut().insert(session);
            connections::authenticated(request.request());
            return next.call(request).await.map(ServiceResponse::map_into_left_body);
        }
        let response = problem::answer(
            403,
            "A browser's session may only be used from the service's own pages.",
        );
        return Ok(request.into_response(response).map_into_right_body());
    }
    let mut response = problem::answer(401, "Send the admin token: `Authorization: Bearer …`.");
    response
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    Ok(request.into_response(response).map_into_right_body())
}

fn bearer(request: &HttpRequest) -> Option<&[u8]> {
    let value = request.headers().get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// Whether a request of a browser comes from a page of this service: the cookie's SameSite says nothing of other services
/// on the same domain.
pub(super) fn is_same_origin(request: &HttpRequest) -> bool {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = header("sec-fetch-site") {
        return site == "same-origin";
    }
    let origin = header(ORIGIN.as_str()).and_then(|origin| origin.split_once("://"));
    origin.is_some_and(|(_, host)| Some(host) == header(HOST.as_str()))
}

/// The `Retry-After` of [`LoginError::TooMany`], in whole seconds.
pub(super) fn retry_after(wait: Duration) -> (actix_web::http::header::HeaderName, String) {
    (RETRY_AFTER, wait.as_secs_f64().ceil().to_string())
}

#[cfg(test)]
mod tests;
