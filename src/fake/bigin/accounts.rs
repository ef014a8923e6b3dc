//! The accounts server: its codes and tokens.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::after;

/// Life of an access token (official docs).
pub(super) const TOKEN_LIFE: Duration = Duration::from_secs(3600);
/// Access tokens that one refresh token is granted within [`GRANT_WINDOW`] (Zoho CRM docs, token-validity).
const MAX_GRANTS: usize = 10;
const GRANT_WINDOW: Duration = Duration::from_secs(600);
/// Access tokens of one refresh token that are valid at once; one more ends the oldest (Zoho CRM docs, token-validity).
const MAX_ACTIVE: usize = 15;
/// Refresh tokens of a user; one more ends the oldest and its access tokens (Zoho CRM docs, token-validity).
const MAX_REFRESH_TOKENS: usize = 20;
/// Life of a self client's code: 3, 5, 7 or 10 minutes are on offer (official docs, self-client-generate-code).
pub(super) const CODE_LIFE: Duration = Duration::from_secs(180);

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

    /// Those that were granted and have not been taken back.
    pub(super) fn access_tokens(&self) -> impl Iterator<Item = &str> {
        self.access_tokens.iter().map(|token| token.text.as_str())
    }

    pub(super) fn invalidate_access_tokens(&mut self) {
        self.access_tokens.clear();
    }

    /// A code that can be exchanged once, until then.
    pub(super) fn new_code(&mut self, expires_at: Timestamp) -> String {
        let code = self.made("c");
        self.codes.insert(code.clone(), expires_at);
        code
    }

    pub(super) fn is_unused(&self, code: &str) -> bool {
        self.codes.contains_key(code)
    }

    /// The refresh token that a code is exchanged for; `None` where the code is not valid.
    pub(super) fn exchange(&mut self, code: &str, now: Timestamp) -> Option<String> {
        let expires_at = self.codes.remove(code)?;
        (expires_at > now).then(|| self.new_refresh_token())
    }

    /// Whether one more access token may be granted for a refresh token, and counts it; `None` where the token is unknown.
    pub(super) fn may_refresh(&mut self, refresh_token: &str, now: Timestamp) -> Option<bool> {
        let mut tokens = self.refresh_tokens.iter_mut();
        let known = tokens.find(|token| token.text == refresh_token)?;
        let may = !known.is_throttled(now);
        if may {
            known.grants.push(now);
        }
        Some(may)
    }

    fn made(&mut self, what: &str) -> String {
        self.made += 1;
        format!("1000.{what}{:08x}.{:08x}", self.made, !self.made & 0xffff_ffff)
    }

    pub(super) fn grant(&mut self, refresh_token: &str, now: Timestamp) -> String {
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

    /// Says whether there was such a refresh token.
    pub(super) fn revoke(&mut self, refresh_token: &str) -> bool {
        let before = self.refresh_tokens.len();
        self.refresh_tokens.retain(|token| token.text != refresh_token);
        self.access_tokens.retain(|token| token.refresh_token != refresh_token);
        self.refresh_tokens.len() < before
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
