//! The access token of the checks: the service's own if it can be read, so that doctor does not use one of the ten tokens that
//! Zoho grants in ten minutes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::app::TOKEN;
use crate::bigin::{TokenVault, VaultError};
use crate::clock::SharedClock;
use crate::database::Database;
use crate::domain::failure::ServiceError;
use crate::store::inspect::{self, Tokens};

/// A sealed token that could not be stored in the database, shared by all checks of this process.
pub(in crate::cli) type SharedToken = Arc<Mutex<Option<String>>>;

/// Reads and stores tokens in a database that a running service may be using.
pub(super) struct TokenCache {
    database: Database,
    clock: SharedClock,
    shared: SharedToken,
    /// A token was granted that could not be stored.
    used_one: AtomicBool,
}

impl TokenCache {
    pub(super) fn new(database: Database, clock: SharedClock, shared: SharedToken) -> Self {
        Self {
            database,
            clock,
            shared,
            used_one: AtomicBool::new(false),
        }
    }

    /// Whether this run used one of the tokens that Zoho grants, so that the next one will use another.
    pub(super) fn used_one(&self) -> bool {
        self.used_one.load(Ordering::Relaxed)
    }

    pub(super) async fn tokens(&self, since: Timestamp) -> Result<Option<Tokens>, VaultError> {
        let database = self.database.clone();
        blocking(move || inspect::tokens(&database, TOKEN, since)).await
    }

    async fn store(&self, sealed: Option<&str>, granted_at: Option<Timestamp>) -> Result<(), VaultError> {
        let (database, now) = (self.database.clone(), self.clock.now());
        let text = sealed.map(str::to_owned);
        let sealed = sealed.map(|sealed| sealed.as_bytes().to_vec());
        let store = move || inspect::keep_token(&database, TOKEN, sealed.as_deref(), granted_at, now);
        let stored = blocking(store).await;
        if !matches!(stored, Ok(true)) {
            if let Some(sealed) = text {
                *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(sealed);
            }
            self.used_one.store(true, Ordering::Relaxed);
        }
        stored.map(|_| ())
    }
}

/// Runs database work on a thread for blocking calls.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, VaultError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err("reading the database panicked".to_owned()))
        .map_err(VaultError)
}

#[async_trait]
impl TokenVault for TokenCache {
    async fn load(&self) -> Result<Option<String>, VaultError> {
        let tokens = self.tokens(self.clock.now()).await?;
        let stored = tokens.and_then(|tokens| String::from_utf8(tokens.sealed?).ok());
        let shared = || self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(stored.or_else(shared))
    }

    async fn save(&self, sealed: &str) -> Result<(), VaultError> {
        self.store(Some(sealed), None).await
    }

    /// The service drops an invalid token itself.
    async fn forget(&self, _: &str) -> Result<(), VaultError> {
        Ok(())
    }

    async fn note_grant(&self, at: Timestamp) -> Result<(), VaultError> {
        self.store(None, Some(at)).await
    }

    /// The service records what its own requests are answered.
    async fn note_rate_limit(&self, _: ServiceError) -> Result<(), VaultError> {
        Ok(())
    }

    async fn recent_grants(&self, since: Timestamp) -> Result<Vec<Timestamp>, VaultError> {
        Ok(self
            .tokens(since)
            .await?
            .map(|tokens| tokens.grants)
            .unwrap_or_default())
    }

    async fn claim_refresh(&self, _: &str, _: Duration) -> Result<bool, VaultError> {
        Ok(true)
    }

    async fn release_refresh(&self, _: &str) -> Result<(), VaultError> {
        Ok(())
    }
}
