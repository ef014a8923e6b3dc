//! Tests of the Bigin client against a server that answers canned text.

mod answers;
mod arbitrary_json;
mod calls;
mod malformed;
mod tokens;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::json;

use super::{Bigin, BiginSettings, TokenVault, VaultError};
use crate::clock::{ManualClock, SharedClock};
use crate::domain::failure::ServiceError;
use crate::http_client::Calls;
use crate::testing::stub_server::{Reply, Request, StubServer};

const DEADLINE: Duration = Duration::from_secs(10);

/// A vault in memory that can be made to fail.
#[derive(Default)]
struct MemoryVault {
    sealed: Mutex<Option<String>>,
    grants: Mutex<Vec<Timestamp>>,
    rate_limits: Mutex<Vec<ServiceError>>,
    broken: AtomicBool,
    /// What it is told to forget it keeps all the same.
    keeps: AtomicBool,
    /// Another replica refreshes.
    claimed: AtomicBool,
    /// Loading waits while a test holds this.
    gate: tokio::sync::Mutex<()>,
}

impl MemoryVault {
    fn check(&self) -> Result<(), VaultError> {
        match self.broken.load(Ordering::SeqCst) {
            true => Err(VaultError("disk full".to_owned())),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl TokenVault for MemoryVault {
    async fn load(&self) -> Result<Option<String>, VaultError> {
        drop(self.gate.lock().await);
        self.check().map(|()| self.sealed.lock().unwrap().clone())
    }

    async fn save(&self, sealed: &str) -> Result<(), VaultError> {
        self.check()?;
        *self.sealed.lock().unwrap() = Some(sealed.to_owned());
        Ok(())
    }

    async fn forget(&self, sealed: &str) -> Result<(), VaultError> {
        self.check()?;
        if !self.keeps.load(Ordering::SeqCst) {
            self.sealed.lock().unwrap().take_if(|held| held == sealed);
        }
        Ok(())
    }

    async fn note_grant(&self, at: Timestamp) -> Result<(), VaultError> {
        self.check()?;
        self.grants.lock().unwrap().push(at);
        Ok(())
    }

    async fn recent_grants(&self, since: Timestamp) -> Result<Vec<Timestamp>, VaultError> {
        self.check()?;
        let grants = self.grants.lock().unwrap();
        Ok(grants.iter().copied().filter(|at| *at >= since).collect())
    }

    async fn note_rate_limit(&self, error: ServiceError) -> Result<(), VaultError> {
        self.check()?;
        self.rate_limits.lock().unwrap().push(error);
        Ok(())
    }

    async fn claim_refresh(&self, _holder: &str, _lasting: Duration) -> Result<bool, VaultError> {
        self.check().map(|()| !self.claimed.load(Ordering::SeqCst))
    }

    async fn release_refresh(&self, _holder: &str) -> Result<(), VaultError> {
        self.check()
    }
}

/// What the accounts server has granted, and what Bigin still takes.
#[derive(Default)]
struct Zoho {
    grants: AtomicUsize,
    refused: Mutex<BTreeSet<String>>,
    refuses_all: AtomicBool,
}

impl Zoho {
    fn refuse(&self, token: usize) {
        self.refused
            .lock()
            .unwrap()
            .insert(format!("Zoho-oauthtoken token-{token}"));
    }

    /// Answers a token request, or a call whose token is refused.
    fn answer(&self, request: &Request) -> Option<Reply> {
        if request.path() == "/oauth/v2/token" {
            let grant = self.grants.fetch_add(1, Ordering::SeqCst) + 1;
            let body = json!({"access_token": format!("token-{grant}"), "api_domain": "https://api.invalid",
                "token_type": "Bearer", "expires_in": 3600});
            return Some(Reply::Json(200, body));
        }
        let token = request.header("authorization").unwrap_or_default();
        let refused = self.refuses_all.load(Ordering::SeqCst) || self.refused.lock().unwrap().contains(token);
        let body = json!({"code": "INVALID_TOKEN", "details": {}, "message": "invalid oauth token", "status": "error"});
        refused.then_some(Reply::Json(401, body))
    }
}

/// A client, the server it calls, and everything around them.
struct World {
    server: StubServer,
    zoho: Arc<Zoho>,
    clock: Arc<ManualClock>,
    vault: Arc<MemoryVault>,
}

impl World {
    async fn new(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let zoho = Arc::new(Zoho::default());
        let also = Arc::clone(&zoho);
        Self {
            server: StubServer::start(move |request| also.answer(request).unwrap_or_else(|| answer(request))).await,
            zoho,
            clock: Arc::new(ManualClock::new("2026-11-22T10:00:00Z".parse().unwrap())),
            vault: Arc::default(),
        }
    }

    /// One whose calls all find nothing.
    async fn of_tokens() -> Self {
        Self::new(|_| Reply::Text(204, "")).await
    }

    fn settings(&self) -> BiginSettings {
        BiginSettings {
            accounts_url: self.server.url.clone(),
            api_domain: Some(self.server.url.clone()),
            client_id: "client".to_owned(),
            client_secret: SecretString::from("client-secret".to_owned()),
            refresh_token: SecretString::from("refresh-token".to_owned()),
            tags: vec!["DBR_Dashboard_Import".to_owned(), "Two words".to_owned()],
            lead_id_field: None,
            max_concurrency: 4,
            web_url: String::new(),
        }
    }

    fn bigin(&self) -> Bigin {
        self.bigin_with(self.settings())
    }

    fn bigin_with(&self, settings: BiginSettings) -> Bigin {
        let http = crate::http_client::client("test", &[&self.server.url]).unwrap();
        let clock: SharedClock = self.clock.clone();
        let calls = Calls::new(clock.clone(), Arc::default());
        Bigin::new(settings, http, calls, clock, self.vault.clone())
    }

    fn grants(&self) -> usize {
        self.zoho.grants.load(Ordering::SeqCst)
    }
}

/// The simplest of calls.
async fn call(bigin: &Bigin) -> Result<(), crate::domain::failure::CallError> {
    bigin
        .find_by_phone(&["+447700900123".to_owned()], DEADLINE)
        .await
        .map(|_| ())
}
