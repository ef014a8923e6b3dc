//! One access token for everybody, for its whole hour.
//!
//! Three levels: this process's memory (single flight), the store (sealed, shared by restarts and replicas), and Zoho's
//! token endpoint. Time here judges when a token expires: our own clock in memory, and the store's, which all replicas share,
//! in the store. A token is dropped early only when Bigin refuses it, and only that very token: calls that come late with an
//! older one find the newer in place.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use moka::future::Cache;
use moka::ops::compute::{CompResult, Op};
use reqwest::{Client, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tracing::{Instrument as _, warn};

use super::oauth::{self, SelfClient};
use crate::clock::{SharedClock, after, before, until};
use crate::config::BiginSettings;
use crate::crypto::{self, Cipher};
use crate::domain::failure::{CallError, Remote, ServiceError, ServiceErrorKind};
use crate::http_client::Calls;
use crate::random;

/// Zoho grants ten access tokens per refresh token in ten minutes (docs of Zoho CRM, token-validity); we stop one short,
/// since asking beyond it prolongs the silence.
const MAX_GRANTS: usize = 9;
const GRANT_WINDOW: Duration = Duration::from_secs(600);

/// Longest wait for the token endpoint, whatever the deadline of the call that asked first: what is granted serves all.
const GRANT_DEADLINE: Duration = Duration::from_secs(15);

/// How long a refresh is claimed among replicas: longer than it can take.
const CLAIM: Duration = Duration::from_secs(20);
const CLAIM_RETRY: Duration = Duration::from_millis(100);
const CLAIM_TRIES: u32 = 250;

/// A token is given up this long before it expires, or half its life before, if that is less.
const MARGIN: Duration = Duration::from_secs(60);

/// The second level of the token cache: one slot, shared by restarts and replicas. Its failures are logged and cost no
/// work.
#[async_trait]
pub trait TokenVault: Send + Sync {
    /// What time those who share the vault have it, if that is not this process's own time.
    async fn now(&self) -> Result<Option<Timestamp>, VaultError> {
        Ok(None)
    }

    /// The sealed token saved last, if any: text of some hundred characters without meaning to the store.
    async fn load(&self) -> Result<Option<String>, VaultError>;

    /// Replaces the sealed token.
    async fn save(&self, sealed: &str) -> Result<(), VaultError>;

    /// Removes the sealed token, if it is still this one.
    async fn forget(&self, sealed: &str) -> Result<(), VaultError>;

    /// Remembers that Zoho granted a token (or may have) when asked at `at`.
    async fn note_grant(&self, at: Timestamp) -> Result<(), VaultError>;

    /// Records that the token endpoint rate limits, where no caller waited for its answer.
    async fn note_rate_limit(&self, error: ServiceError) -> Result<(), VaultError>;

    /// The grants noted at `since` or later, in any order.
    async fn recent_grants(&self, since: Timestamp) -> Result<Vec<Timestamp>, VaultError>;

    /// Claims the right to ask for a token, for at most `lasting`; `false` while another `holder` has it.
    async fn claim_refresh(&self, holder: &str, lasting: Duration) -> Result<bool, VaultError>;

    /// Gives the claim up, if `holder` has it.
    async fn release_refresh(&self, holder: &str) -> Result<(), VaultError>;
}

/// Why the vault could not do it, for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct VaultError(pub String);

/// An access token, as it is shared. Has no `Debug`, so that it cannot be logged.
pub(super) struct Token {
    pub(super) access_token: SecretString,
    /// Where it is to be sent, unless the settings name another address.
    pub(super) api_domain: Url,
    expires_at: Timestamp,
    sealed: Option<String>,
}

impl Token {
    fn is(&self, other: &SecretString) -> bool {
        self.access_token.expose_secret() == other.expose_secret()
    }
}

/// What is sealed of a token.
#[derive(Serialize, Deserialize)]
struct Kept {
    access_token: String,
    api_domain: Option<String>,
    expires_at: Timestamp,
}

/// Bound to the accounts server, the client and the refresh token: after a change of any of them an older token does not open,
/// and counts as absent.
fn cipher(settings: &BiginSettings) -> Cipher {
    let refresh_token = crypto::sha256(settings.refresh_token.expose_secret().as_bytes());
    let bound_to = [
        settings.accounts_url.as_str().as_bytes(),
        settings.client_id.as_bytes(),
        &refresh_token,
    ];
    Cipher::new(&settings.client_secret, "bigin-sync token v1", bound_to.join(&b'\n'))
}

/// The token cache.
pub(super) struct Tokens(Arc<Inner>);

struct Inner {
    settings: BiginSettings,
    http: Client,
    calls: Calls,
    clock: SharedClock,
    vault: Arc<dyn TokenVault>,
    cipher: Cipher,
    cache: Cache<(), Arc<Token>>,
    /// The token that Bigin rejected last: not taken from the vault again, even if the vault could not forget it.
    refused: Mutex<Option<SecretString>>,
    /// Grants of this process, for when the vault cannot tell.
    grants: Mutex<Vec<Timestamp>>,
    holder: String,
}

impl Tokens {
    pub(super) fn new(
        settings: BiginSettings,
        http: Client,
        calls: Calls,
        clock: SharedClock,
        vault: Arc<dyn TokenVault>,
    ) -> Self {
        Self(Arc::new(Inner {
            cipher: cipher(&settings),
            settings,
            http,
            calls,
            clock,
            vault,
            // Expiry is ours, not moka's: its clock cannot be held still.
            cache: Cache::new(1),
            refused: Mutex::new(None),
            grants: Mutex::new(Vec::new()),
            holder: format!("{:032x}", u128::from_le_bytes(random::bytes())),
        }))
    }

    /// The token, within `within`. A refresh that takes longer goes on without its caller: what Zoho has granted is not
    /// thrown away.
    pub(super) async fn get(&self, within: Duration) -> Result<Arc<Token>, CallError> {
        let now = self.0.clock.now();
        if let Some(token) = self.0.cache.get(&()).await
            && token.expires_at > now
        {
            return Ok(token);
        }
        let inner = Arc::clone(&self.0);
        let mut refresh = tokio::spawn(async move { inner.current().await }.in_current_span());
        match tokio::time::timeout(within, &mut refresh).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(down("panic", "getting an access token failed")),
            Err(_) => {
                tokio::spawn(Arc::clone(&self.0).outlived(refresh).in_current_span());
                Err(down("timeout", "no access token came in time"))
            }
        }
    }

    /// Drops a token that Bigin rejected, unless another has taken its place.
    pub(super) async fn discard(&self, token: &Token) {
        *lock(&self.0.refused) = Some(token.access_token.clone());
        if self.0.remove(&token.access_token).await
            && let Some(sealed) = &token.sealed
        {
            heed("forget the token", self.0.vault.forget(sealed).await);
        }
    }
}

impl Inner {
    async fn current(&self) -> Result<Arc<Token>, CallError> {
        let token = self.shared().await?;
        if token.expires_at > self.clock.now() {
            return Ok(token);
        }
        self.remove(&token.access_token).await;
        self.shared().await
    }

    /// Waits for a refresh whose caller has given up, and has opened the breaker for a moment: a rate limit asks for more.
    async fn outlived(self: Arc<Self>, refresh: JoinHandle<Result<Arc<Token>, CallError>>) {
        if let Ok(Err(CallError::Service(error))) = refresh.await
            && error.kind == ServiceErrorKind::TokenRateLimited
        {
            heed("record the rate limit", self.vault.note_rate_limit(error).await);
        }
    }

    /// The token in memory, got by the first who misses it while the others wait.
    async fn shared(&self) -> Result<Arc<Token>, CallError> {
        let token = self.cache.try_get_with((), self.obtain()).await;
        token.map_err(|error: Arc<CallError>| CallError::clone(&error))
    }

    /// Removes the token from memory if it is still this one; whether it was.
    async fn remove(&self, access_token: &SecretString) -> bool {
        let same = |token: &Token| token.is(access_token);
        let removed = self
            .cache
            .entry(())
            .and_compute_with(|entry| {
                let op = match entry {
                    Some(entry) if same(entry.value()) => Op::Remove,
                    _ => Op::Nop,
                };
                std::future::ready(op)
            })
            .await;
        matches!(removed, CompResult::Removed(_))
    }

    async fn obtain(&self) -> Result<Arc<Token>, CallError> {
        if let Some(token) = self.stored().await {
            return Ok(token);
        }
        self.claim().await;
        // Another replica may have refreshed while this one waited for its turn.
        let token = match self.stored().await {
            Some(token) => Ok(token),
            None => self.granted().await,
        };
        heed("release the refresh", self.vault.release_refresh(&self.holder).await);
        token
    }

    /// Waits until no other replica refreshes. A claim lapses by itself, so that this ends.
    async fn claim(&self) {
        for _ in 0..CLAIM_TRIES {
            match self.vault.claim_refresh(&self.holder, CLAIM).await {
                Ok(false) => tokio::time::sleep(CLAIM_RETRY).await,
                claimed => {
                    heed("claim the refresh", claimed);
                    return;
                }
            }
        }
    }

    /// The token in the store, if it is sealed under our credentials, not expired, and not one that was refused.
    async fn stored(&self) -> Option<Arc<Token>> {
        let sealed = heed("load the token", self.vault.load().await)??;
        let kept: Kept = self.cipher.open(&sealed)?;
        let access_token = SecretString::from(kept.access_token);
        let refused = lock(&self.refused)
            .as_ref()
            .is_some_and(|refused| refused.expose_secret() == access_token.expose_secret());
        // It may have been saved by a replica whose clock shows another time.
        let left = until(self.shared_now().await, kept.expires_at);
        if refused || left.is_zero() {
            return None;
        }
        let api_domain = kept.api_domain.as_deref().and_then(oauth::api_domain);
        Some(Arc::new(Token {
            access_token,
            api_domain: self.address(api_domain)?,
            expires_at: after(self.clock.now(), left),
            sealed: Some(sealed),
        }))
    }

    /// Where calls go: the settings' address, or else the token's.
    fn address(&self, api_domain: Option<Url>) -> Option<Url> {
        self.settings.api_domain.clone().or(api_domain)
    }

    /// The time by which expiry and grants are kept in the vault.
    async fn shared_now(&self) -> Timestamp {
        let shared = heed("ask what time it is", self.vault.now().await).flatten();
        shared.unwrap_or_else(|| self.clock.now())
    }

    async fn granted(&self) -> Result<Arc<Token>, CallError> {
        let (asked_here, asked_at) = (self.clock.now(), self.shared_now().await);
        self.check_budget(asked_at).await.map_err(CallError::Service)?;
        let settings = &self.settings;
        let client = SelfClient {
            accounts_url: &settings.accounts_url,
            id: &settings.client_id,
            secret: &settings.client_secret,
        };
        let refreshed = client.refresh(&self.http, &self.calls, &settings.refresh_token, GRANT_DEADLINE);
        let grant = match refreshed.await {
            Ok(grant) => grant,
            Err(none) => {
                if none.may_be_granted {
                    self.note(asked_at).await;
                }
                return Err(CallError::Service(none.service_error));
            }
        };
        self.note(asked_at).await;
        let lasts = grant.lasts.saturating_sub(MARGIN.min(grant.lasts / 2));
        let kept = Kept {
            access_token: grant.access_token.expose_secret().to_owned(),
            api_domain: grant.api_domain.as_ref().map(Url::to_string),
            expires_at: after(asked_at, lasts),
        };
        let Some(api_domain) = self.address(grant.api_domain) else {
            return Err(no_api_domain());
        };
        let sealed = self.cipher.seal(&kept);
        if let Some(sealed) = &sealed {
            heed("save the token", self.vault.save(sealed).await);
        }
        Ok(Arc::new(Token {
            access_token: grant.access_token,
            api_domain,
            expires_at: after(asked_here, lasts),
            sealed,
        }))
    }

    async fn note(&self, at: Timestamp) {
        lock(&self.grants).push(at);
        heed("note a grant", self.vault.note_grant(at).await);
    }

    /// Holds back while [`MAX_GRANTS`] were granted in the last [`GRANT_WINDOW`].
    async fn check_budget(&self, now: Timestamp) -> Result<(), ServiceError> {
        let since = before(now, GRANT_WINDOW);
        let mut grants = {
            let mut own = lock(&self.grants);
            own.retain(|at| *at > since);
            own.clone()
        };
        let shared = heed("count the grants", self.vault.recent_grants(since).await).unwrap_or_default();
        let shared: Vec<_> = shared.into_iter().filter(|at| *at > since).collect();
        if shared.len() > grants.len() {
            grants = shared;
        }
        grants.sort_unstable();
        let Some(first_to_fall_out) = grants.len().checked_sub(MAX_GRANTS).map(|place| grants[place]) else {
            return Ok(());
        };
        Err(ServiceError::new(
            Remote::ZohoAccounts,
            ServiceErrorKind::TokenRateLimited,
            "own_limit",
            "nine access tokens were granted within ten minutes, and Zoho's limit is ten",
        )
        .with_retry_after(Some(until(now, after(first_to_fall_out, GRANT_WINDOW)))))
    }
}

/// The result, or `None` with a warning: a vault that fails must not stop work.
fn heed<T>(what: &str, result: Result<T, VaultError>) -> Option<T> {
    result
        .inspect_err(|error| warn!(what, %error, "the token vault failed; carrying on in memory"))
        .ok()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn down(code: &str, message: &str) -> CallError {
    CallError::Service(ServiceError::new(
        Remote::ZohoAccounts,
        ServiceErrorKind::Unavailable,
        code,
        message,
    ))
}

/// A person is needed: asking again gives the same answer.
fn no_api_domain() -> CallError {
    CallError::Service(
        ServiceError::new(
            Remote::ZohoAccounts,
            ServiceErrorKind::Unauthorized,
            "no_api_domain",
            "Zoho's token answer names no https address of the API",
        )
        .with_action("set BIGIN_API_DOMAIN"),
    )
}
