//! The application: the store, the clients, the workers and the server, the same for `serve` and for the tests.

use std::future::Future;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use anyhow::Context as _;
use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;

use crate::bigin::{Bigin, TokenVault, VaultError};
use crate::clock::SharedClock;
use crate::config::Settings;
use crate::database::Database;
use crate::domain::breaker::{Cause, Open};
use crate::domain::failure::ServiceError;
use crate::http;
use crate::http_client::{Calls, Network};
use crate::metrics::Metrics;
use crate::random;
use crate::sanity::Sanity;
use crate::signature::Secrets;
use crate::store::{Commits, Store, StoreError, StoreSettings, postgres, sqlite};
use crate::workers::alert::Alerts;
use crate::workers::heartbeat::Heartbeat;
use crate::workers::notifier::Notifier;
use crate::workers::{Context, Hasher, LastReads, OrgCache, Paces};

pub use environment::Environment;

mod environment;
mod supervisor;

/// Sent with every request to Bigin and Sanity.
pub(crate) const USER_AGENT: &str = concat!("bigin-sync/", env!("CARGO_PKG_VERSION"));

/// At shutdown, for calls in flight: hosts kill a process after 10 s. A sync whose call did not end is retried when its lease
/// expires.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(8);

/// The name of the sealed access token in the store.
pub(crate) const TOKEN: &str = "access_token";

/// The application, ready to run.
pub struct App {
    /// The workers' state.
    pub context: Arc<Context>,
    /// The handlers' state.
    pub http: web::Data<http::AppState>,
    /// Alerts, if `ALERT_URL` is set.
    pub alerts: Option<Arc<Alerts>>,
    /// The heartbeat, if `HEARTBEAT_URL` is set.
    pub heartbeat: Option<Arc<Heartbeat>>,
    reconcile: Option<(Duration, Duration)>,
    retention: Duration,
}

impl App {
    /// Opens the store and creates the clients, without a call.
    ///
    /// # Errors
    /// The database is in use or cannot be opened; the error explains how to fix it.
    pub fn build(settings: &Settings, clock: SharedClock) -> anyhow::Result<Self> {
        Self::build_in(settings, Environment::real(clock))
    }

    /// The same in a given environment; in its runtime if transactions run in a task.
    ///
    /// # Errors
    /// As for [`App::build`].
    pub fn build_in(settings: &Settings, environment: Environment) -> anyhow::Result<Self> {
        let (clock, network) = (environment.clock, environment.network);
        let store_settings = store_settings(settings);
        let metrics = Arc::new(Metrics::default());
        let commits = (&clock, environment.commits);
        let store: Arc<Store> = Arc::new(open(&settings.database, commits, &metrics, store_settings)?);
        let calls = Calls::over(network.clone(), SharedClock::clone(&clock), Arc::clone(&metrics));
        let vault = Arc::new(StoreVault(Arc::clone(&store)));
        let context = Context {
            bigin: bigin_client(settings, &network, &calls, &clock, vault)?,
            sanity: sanity_client(settings, &network, calls, &clock)?,
            mapping: Arc::clone(&settings.mapping),
            org: OrgCache::default(),
            hasher: Hasher::new(&settings.bigin.client_secret),
            lead_id_field: settings.bigin.lead_id_field.clone(),
            tag_delay: settings.tag_delay,
            lease: settings.lease_duration,
            retry: settings.retry,
            paces: Paces::default(),
            contacts: tokio::sync::Mutex::default(),
            last_reads: LastReads::default(),
            replica: format!("{:016x}", u64::from_le_bytes(random::bytes())),
            clock: SharedClock::clone(&clock),
            metrics: Arc::clone(&metrics),
            store: Arc::clone(&store),
        };
        let started_at = clock.wall();
        let secrets = Secrets::new(
            settings.webhook.secret.clone(),
            settings.webhook.secret_previous.clone(),
        )?;
        let token = settings.admin_token.clone();
        let admin = token.map(|token| http::Admin::new(token, clock.now()));
        let http = http::AppState {
            store,
            clock,
            secrets,
            max_age: settings.webhook.max_age,
            lead_type: settings.sanity.lead_type.clone(),
            links: links(settings),
            tag_delay: settings.tag_delay,
            give_up_after: settings.retry.give_up_after,
            daily_credits: settings.alerts.daily_credits,
            admin,
            cors_origin: settings
                .cors_origin
                .as_ref()
                .map(|url| url.origin().ascii_serialization()),
            send_wait: settings.send_wait,
            metrics,
            large_bodies: tokio::sync::Semaphore::new(http::LARGE_BODIES),
            streams: Arc::new(tokio::sync::Semaphore::new(http::MAX_STREAMS)),
            scraping: tokio::sync::Mutex::new(false),
            idle_check: tokio::sync::Notify::new(),
            started_at,
            stopping: watch::Sender::new(false),
        };
        let alerts = &settings.alerts;
        let notifier = |url: &Option<SecretString>| url.as_ref().map(|url| notifier(&network, url)).transpose();
        let alerting = |notifier| {
            Arc::new(Alerts::new(
                notifier,
                settings.public_url.as_ref(),
                alerts.daily_credits,
            ))
        };
        Ok(Self {
            alerts: notifier(&alerts.alert_url)?.map(alerting),
            heartbeat: notifier(&alerts.heartbeat_url)?.map(|notifier| Arc::new(Heartbeat::new(notifier))),
            context: Arc::new(context),
            http: web::Data::new(http),
            reconcile: settings
                .reconcile_interval
                .map(|interval| (interval, settings.reconcile_min_age)),
            retention: settings.retention,
        })
    }

    /// Serves until `stop` resolves. Then it accepts no more requests, waits for the calls in flight and returns.
    ///
    /// # Errors
    /// The server cannot listen, or stopped by itself.
    pub async fn run(self, listener: TcpListener, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut loops = self.start(&self.http.stopping.subscribe());
        let server = http::serve(self.http.clone(), listener).context("cannot start the server")?;
        let handle = server.handle();
        let mut server = tokio::spawn(server);
        let ended = tokio::select! {
            biased;
            () = stop => None,
            ended = &mut server => Some(ended),
        };
        tracing::info!("stopping: no more webhooks are accepted, waiting for calls in flight");
        self.http.stopping.send_replace(true);
        let drain = async {
            if ended.is_none() {
                handle.stop(true).await;
            }
            while loops.join_next().await.is_some() {}
            self.context.store.checkpoint().await;
        };
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, drain).await.is_err() {
            tracing::warn!("shutdown timed out with a call in flight; its sync is retried when the lease expires");
        }
        match ended {
            None => Ok(()),
            Some(ended) => {
                ended.context("the server panicked")?.context("the server failed")?;
                anyhow::bail!("the server stopped by itself")
            }
        }
    }
}

fn store_settings(settings: &Settings) -> StoreSettings {
    StoreSettings {
        lease: settings.lease_duration,
        tag_delay: settings.tag_delay,
        retry: settings.retry,
        ambiguity_delay: settings.ambiguity_delay,
    }
}

/// The store of the engine that the settings name.
fn open(
    database: &Database,
    (clock, commits): (&SharedClock, Commits),
    metrics: &Arc<Metrics>,
    settings: StoreSettings,
) -> anyhow::Result<Store> {
    let (clock, metrics) = (SharedClock::clone(clock), Arc::clone(metrics));
    match database {
        Database::Sqlite(path) => Ok(sqlite::open_with(path, clock, metrics, settings, commits)?),
        Database::Postgres(address) => {
            // It blocks until the server answers, which a task must not.
            let open = || postgres::open(address, clock, metrics, settings);
            Ok(std::thread::scope(|scope| scope.spawn(open).join())
                .map_err(|_| anyhow::anyhow!("opening the database panicked"))??)
        }
    }
}

/// The URLs that pages link to.
fn links(settings: &Settings) -> http::Links {
    let studio = settings.studio_url.as_ref();
    http::Links {
        by_https: settings.public_url.as_ref().is_some_and(|url| url.scheme() == "https"),
        studio: studio.map(|url| url.as_str().trim_end_matches('/').to_owned()),
        bigin: settings.bigin.web_url.clone(),
    }
}

/// # Errors
/// An HTTP client cannot be created.
pub(crate) fn bigin_client(
    settings: &Settings,
    network: &Network,
    calls: &Calls,
    clock: &SharedClock,
    vault: Arc<dyn TokenVault>,
) -> anyhow::Result<Bigin> {
    let settings = settings.bigin.clone();
    let bases = [Some(&settings.accounts_url), settings.api_domain.as_ref()];
    let http = network.client(USER_AGENT, &bases.into_iter().flatten().collect::<Vec<_>>())?;
    Ok(Bigin::new(
        settings,
        http,
        calls.clone(),
        SharedClock::clone(clock),
        vault,
    ))
}

/// # Errors
/// An HTTP client cannot be created.
pub(crate) fn sanity_client(
    settings: &Settings,
    network: &Network,
    calls: Calls,
    clock: &SharedClock,
) -> anyhow::Result<Sanity> {
    let settings = settings.sanity.clone();
    let http = network.client(USER_AGENT, &[&settings.api_url])?;
    Ok(Sanity::new(settings, http, calls, SharedClock::clone(clock)))
}

/// The URL is a secret: no error contains it.
fn notifier(network: &Network, url: &SecretString) -> anyhow::Result<Notifier> {
    let parsed: Result<Url, _> = url.expose_secret().parse();
    let url = parsed.map_err(|_| anyhow::anyhow!("ALERT_URL or HEARTBEAT_URL is not a valid URL"))?;
    Ok(Notifier::new(network.clone(), USER_AGENT, url)?)
}

/// Stores the sealed access token, so that a restart does not need a new one.
struct StoreVault(Arc<Store>);

/// The lock for requesting an access token.
const REFRESH: &str = "token_refresh";

/// Opening a breaker has no effect where another report came first, like that of the caller that gave up.
const RATE_LIMIT_TRIES: usize = 3;

fn vault_error(error: StoreError) -> VaultError {
    VaultError(error.to_string())
}

#[async_trait]
impl TokenVault for StoreVault {
    async fn now(&self) -> Result<Option<Timestamp>, VaultError> {
        self.0.now().await.map(Some).map_err(vault_error)
    }

    async fn load(&self) -> Result<Option<String>, VaultError> {
        let stored = self.0.kv_get(TOKEN).await.map_err(vault_error)?;
        Ok(stored.and_then(|(sealed, _)| String::from_utf8(sealed).ok()))
    }

    async fn save(&self, sealed: &str) -> Result<(), VaultError> {
        self.0
            .kv_put(TOKEN, sealed.as_bytes().to_vec())
            .await
            .map_err(vault_error)
    }

    async fn forget(&self, sealed: &str) -> Result<(), VaultError> {
        self.0
            .kv_delete(TOKEN, sealed.as_bytes().to_vec())
            .await
            .map_err(vault_error)
    }

    async fn note_grant(&self, at: Timestamp) -> Result<(), VaultError> {
        self.0.note_grant(at).await.map_err(vault_error)
    }

    async fn note_rate_limit(&self, error: ServiceError) -> Result<(), VaultError> {
        tracing::warn!(remote = error.remote.label(), code = %error.code, "circuit breaker opened: {error}");
        for _ in 0..RATE_LIMIT_TRIES {
            let now = self.0.now().await.map_err(vault_error)?;
            let breaker = self.0.breaker(error.remote).await.map_err(vault_error)?;
            let is_recorded = |open: Open| open.kind == error.kind && open.until > now;
            if breaker.open.is_some_and(is_recorded) {
                break;
            }
            let (error, jitter) = (error.clone(), random::unit());
            let opened = self.0.open_breaker(error, Cause::Service, breaker.epoch, jitter);
            opened.await.map_err(vault_error)?;
        }
        Ok(())
    }

    async fn recent_grants(&self, since: Timestamp) -> Result<Vec<Timestamp>, VaultError> {
        self.0.grants(since).await.map_err(vault_error)
    }

    async fn claim_refresh(&self, holder: &str, lasting: Duration) -> Result<bool, VaultError> {
        self.0.try_lock(REFRESH, holder, lasting).await.map_err(vault_error)
    }

    async fn release_refresh(&self, holder: &str) -> Result<(), VaultError> {
        self.0.unlock(REFRESH, holder).await.map_err(vault_error)
    }
}
