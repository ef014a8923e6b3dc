//! The accounts server's requests. Almost every refusal is an HTTP 200 with `{"error": …}`.

use std::time::Duration;

use serde_json::json;

use super::accounts::{CODE_LIFE, TOKEN_LIFE};
use super::fault::throttled;
use super::model::Model;
use super::reply::Reply;
use super::request::Request;
use crate::clock::after;

impl Model {
    /// The access tokens that were granted and have not been taken back.
    pub fn access_tokens(&self) -> Vec<String> {
        self.accounts.access_tokens().map(str::to_owned).collect()
    }

    /// Makes every access token invalid at once.
    pub fn invalidate_access_tokens(&mut self) {
        self.accounts.invalidate_access_tokens();
    }

    /// Makes a refresh token and its access tokens invalid.
    pub fn revoke_refresh_token(&mut self, refresh_token: &str) {
        self.accounts.revoke(refresh_token);
    }

    /// Generates a code as the API console does; it can be exchanged once within three minutes.
    pub fn generate_code(&mut self) -> String {
        self.generate_code_for(CODE_LIFE)
    }

    /// The same, for as long as a user of the demo needs.
    pub fn generate_code_for(&mut self, life: Duration) -> String {
        self.accounts.new_code(after(self.clock.now(), life))
    }

    /// Whether a code has not been exchanged yet.
    pub fn is_unused(&self, code: &str) -> bool {
        self.accounts.is_unused(code)
    }
}

/// `POST /oauth/v2/token`
pub(super) fn token(model: &mut Model, request: &Request) -> Reply {
    let params = request.params();
    let param = |name: &str| params.get(name).map(String::as_str).unwrap_or_default();
    if param("client_id") != model.accounts.client_id {
        return error("invalid_client");
    }
    if param("client_secret") != model.accounts.client_secret {
        return error("invalid_client_secret");
    }
    match param("grant_type") {
        "refresh_token" => refresh(model, param("refresh_token")),
        "authorization_code" => exchange(model, param("code")),
        // The word for this is an assumption.
        _ => error("invalid_request"),
    }
}

fn refresh(model: &mut Model, refresh_token: &str) -> Reply {
    let now = model.clock.now();
    match model.accounts.may_refresh(refresh_token, now) {
        Some(true) => granted(model, refresh_token, false),
        Some(false) => throttled(&model.switches),
        None => error("invalid_code"),
    }
}

fn exchange(model: &mut Model, code: &str) -> Reply {
    let now = model.clock.now();
    match model.accounts.exchange(code, now) {
        Some(refresh_token) => granted(model, &refresh_token, true),
        None => error("invalid_code"),
    }
}

fn granted(model: &mut Model, refresh_token: &str, show: bool) -> Reply {
    let now = model.clock.now();
    let access_token = model.accounts.grant(refresh_token, now);
    let mut body = json!({
        "access_token": access_token,
        "api_domain": model.api_domain,
        "token_type": "Bearer",
        "expires_in": TOKEN_LIFE.as_secs(),
    });
    if show {
        body["refresh_token"] = json!(refresh_token);
    }
    if model.switches.scope_in_token_answer {
        body["scope"] = json!("ZohoBigin.modules.contacts.ALL ZohoBigin.settings.fields.READ ZohoBigin.coql.READ");
    }
    Reply::json(200, body)
}

/// `POST /oauth/v2/token/revoke`
pub(super) fn revoke(model: &mut Model, request: &Request) -> Reply {
    let params = request.params();
    let token = params.get("token").map(String::as_str).unwrap_or_default();
    match model.accounts.revoke(token) {
        true => Reply::json(200, json!({"status": "success"})),
        false => error("invalid_code"),
    }
}

fn error(word: &str) -> Reply {
    Reply::json(200, json!({ "error": word }))
}
