//! The access token of a check: the service's own where it can be read, so that a check costs no grant. Zoho grants ten in ten
//! minutes, and the service wants some of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::app::TOKEN;
use crate::bigin::{TokenVault, VaultError};
use crate::clock::SharedClock;
use crate::database::Database;
use crate::store::inspect::{self, Tokens};

/// A sealed token that no database could keep, for as long as this process runs: several looks in a row cost one.
pub(in crate::cli) type Remembered = Arc<Mutex<Option<String>>>;

/// The tokens that are kept in a database which may be a running service's.
pub(super) struct Borrowed {
    database: Database,
    clock: SharedClock,
    remembered: Remembered,
    /// A token was granted that could not be kept.
    spent: AtomicBool,
}

impl Borrowed {
    pub(super) fn new(database: Database, clock: SharedClock, remembered: Remembered) -> Self {
        Self {
            database,
            clock,
            remembered,
            spent: AtomicBool::new(false),
        }
    }

    /// Whether this check has cost one of the tokens that Zoho grants, and the next one will cost another.
    pub(super) fn has_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }

    /// What the database knows of tokens.
    pub(super) async fn tokens(&self, since: Timestamp) -> Result<Option<Tokens>, VaultError> {
        let database = self.database.clone();
        waiting(move || inspect::tokens(&database, TOKEN, since)).await
    }

    async fn keep(&self, sealed: Option<&str>, granted_at: Option<Timestamp>) -> Result<(), VaultError> {
        let (database, now) = (self.database.clone(), self.clock.now());
        let text = sealed.map(str::to_owned);
        let sealed = sealed.map(|sealed| sealed.as_bytes().to_vec());
        let keep = move || inspect::keep_token(&database, TOKEN, sealed.as_deref(), granted_at, now);
        let kept = waiting(keep).await;
        if !matches!(kept, Ok(true)) {
            if let Some(sealed) = text {
                *self.remembered.lock().unwrap_or_else(PoisonError::into_inner) = Some(sealed);
            }
            self.spent.store(true, Ordering::Relaxed);
        }
        kept.map(|_| ())
    }
}

/// Databases are waited for on a thread of their own.
pub(super) async fn waiting<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, VaultError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err("looking at the database panicked".to_owned()))
        .map_err(VaultError)
}

#[async_trait]
impl TokenVault for Borrowed {
    async fn load(&self) -> Result<Option<String>, VaultError> {
        let tokens = self.tokens(self.clock.now()).await?;
        let kept = tokens.and_then(|tokens| String::from_utf8(tokens.sealed?).ok());
        let remembered = || self.remembered.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(kept.or_else(remembered))
    }

    async fn save(&self, sealed: &str) -> Result<(), VaultError> {
        self.keep(Some(sealed), None).await
    }

    /// The service finds out by itself.
    async fn forget(&self, _: &str) -> Result<(), VaultError> {
        Ok(())
    }

    async fn note_grant(&self, at: Timestamp) -> Result<(), VaultError> {
        self.keep(None, Some(at)).await
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
