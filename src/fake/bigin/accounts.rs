//! The accounts server: grants and revokes tokens. Almost every refusal is an HTTP 200 with `{"error": …}`.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::model::Model;
use super::options::throttled;
use super::reply::Reply;
use super::request::Request;
use crate::clock::after;

/// Life of an access token (official docs).
const TOKEN_LIFE: Duration = Duration::from_secs(3600);
/// Access tokens that one refresh token is granted within [`GRANT_WINDOW`] (Zoho CRM docs, token-validity).
const MAX_GRANTS: usize = 10;
const GRANT_WINDOW: Duration = Duration::from_secs(600);
/// Access tokens of one refresh token that are valid at once; one more ends the oldest (Zoho CRM docs, token-validity).
const MAX_ACTIVE: usize = 15;
/// Refresh tokens of a user; one more ends the oldest and its access tokens (Zoho CRM docs, token-validity).
const MAX_REFRESH_TOKENS: usize = 20;
/// Life of a self client's code: 3, 5, 7 or 10 minutes are on offer (official docs, self-client-generate-code).
const CODE_LIFE: Duration = Duration::from_secs(180);

const CLIENT_ID: &str = "1000.FAKECLIENTFAKECLIENTFAKECLIENT";
const CLIENT_SECRET: &str = "fake-client-secret";
const REFRESH_TOKEN: &str = "1000.fake.refresh-token";

/// Tokens, and who may have them.
pub(super) struct Accounts {
    pub(super) client_id: String,
    pub(super) client_secret: String,
    refresh_tokens: Vec<RefreshToken>,
    /// Unused codes, and when they expire.
    codes: BTreeMap<String, Timestamp>,
    access_tokens: Vec<AccessToken>,
    pub(super) granted: usize,
    made: u64,
}

struct RefreshToken {
    text: String,
    grants: Vec<Timestamp>,
    throttled_until: Option<Timestamp>,
}

impl RefreshToken {
    fn new(text: String) -> Self {
        Self {
            text,
            grants: Vec::new(),
            throttled_until: None,
        }
    }

    /// Whether one more access token is refused now. Asking while it is refused prolongs the refusal.
    fn is_throttled(&mut self, now: Timestamp) -> bool {
        self.grants.retain(|at| after(*at, GRANT_WINDOW) > now);
        let still = self.throttled_until.is_some_and(|until| until > now);
        let throttled = still || self.grants.len() >= MAX_GRANTS;
        self.throttled_until = throttled.then(|| after(now, GRANT_WINDOW));
        throttled
    }
}

struct AccessToken {
    text: String,
    refresh_token: String,
    expires_at: Timestamp,
}

impl Accounts {
    pub(super) fn new() -> Self {
        Self {
            client_id: CLIENT_ID.to_owned(),
            client_secret: CLIENT_SECRET.to_owned(),
            refresh_tokens: vec![RefreshToken::new(REFRESH_TOKEN.to_owned())],
            codes: BTreeMap::new(),
            access_tokens: Vec::new(),
            granted: 0,
            made: 0,
        }
    }

    /// The refresh token that is valid from the start.
    pub(super) fn first_refresh_token() -> &'static str {
        REFRESH_TOKEN
    }

    /// When an access token expires; `None` where it is not valid.
    pub(super) fn expiry(&self, access_token: &str, now: Timestamp) -> Option<Timestamp> {
        let token = self.access_tokens.iter().find(|token| token.text == access_token)?;
        (token.expires_at > now).then_some(token.expires_at)
    }

    fn made(&mut self, what: &str) -> String {
        self.made += 1;
        format!("1000.{what}{:08x}.{:08x}", self.made, !self.made & 0xffff_ffff)
    }

    fn grant(&mut self, refresh_token: &str, now: Timestamp) -> String {
        self.access_tokens.retain(|token| token.expires_at > now);
        let text = self.made("a");
        self.access_tokens.push(AccessToken {
            text: text.clone(),
            refresh_token: refresh_token.to_owned(),
            expires_at: after(now, TOKEN_LIFE),
        });
        let of_this = |token: &AccessToken| token.refresh_token == refresh_token;
        if self.access_tokens.iter().filter(|token| of_this(token)).count() > MAX_ACTIVE
            && let Some(oldest) = self.access_tokens.iter().position(of_this)
        {
            self.access_tokens.remove(oldest);
        }
        self.granted += 1;
        text
    }

    fn revoke(&mut self, refresh_token: &str) {
        self.refresh_tokens.retain(|token| token.text != refresh_token);
        self.access_tokens.retain(|token| token.refresh_token != refresh_token);
    }

    fn new_refresh_token(&mut self) -> String {
        if self.refresh_tokens.len() >= MAX_REFRESH_TOKENS {
            let oldest = self.refresh_tokens.remove(0).text;
            self.revoke(&oldest);
        }
        let text = self.made("r");
        self.refresh_tokens.push(RefreshToken::new(text.clone()));
        text
    }
}

impl Model {
    /// The access tokens that were granted and have not been taken back.
    pub fn access_tokens(&self) -> Vec<String> {
        let tokens = self.accounts.access_tokens.iter();
        tokens.map(|token| token.text.clone()).collect()
    }

    /// Makes every access token invalid at once.
    pub fn invalidate_access_tokens(&mut self) {
        self.accounts.access_tokens.clear();
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
        let code = self.accounts.made("c");
        let expires_at = after(self.clock.now(), life);
        self.accounts.codes.insert(code.clone(), expires_at);
        code
    }

    /// Whether a code has not been exchanged yet.
    pub fn is_unused(&self, code: &str) -> bool {
        self.accounts.codes.contains_key(code)
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
    let tokens = &mut model.accounts.refresh_tokens;
    let Some(known) = tokens.iter_mut().find(|token| token.text == refresh_token) else {
        return error("invalid_code");
    };
    if known.is_throttled(now) {
        return throttled(&model.switches);
    }
    known.grants.push(now);
    granted(model, refresh_token, false)
}

fn exchange(model: &mut Model, code: &str) -> Reply {
    let now = model.clock.now();
    match model.accounts.codes.remove(code) {
        Some(expires_at) if expires_at > now => {
            let refresh_token = model.accounts.new_refresh_token();
            granted(model, &refresh_token, true)
        }
        _ => error("invalid_code"),
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
    if !model.accounts.refresh_tokens.iter().any(|known| known.text == token) {
        return error("invalid_code");
    }
    model.accounts.revoke(token);
    Reply::json(200, json!({"status": "success"}))
}

fn error(word: &str) -> Reply {
    Reply::json(200, json!({ "error": word }))
}
