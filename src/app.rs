//! The program put together: the store, the clients, the workers and the server, the same for `serve` and for the tests.

use std::future::Future;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use anyhow::Context as _;
use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::bigin::{self, Bigin, TokenVault, VaultError};
use crate::clock::SharedClock;
use crate::config::Settings;
use crate::domain::mapping::Mapping;
use crate::domain::retry::RetryPolicy;
use crate::http;
use crate::metrics::Metrics;
use crate::outbound::{self, Calls};
use crate::sanity::{self, Sanity};
use crate::signature::Secrets;
use crate::store::sqlite::SqliteStore;
use crate::store::{Stage, Store, StoreError, StoreSettings};
use crate::workers::{self, Context, Hasher, OrgCache};

/// Sent with every request to Bigin and Sanity.
const USER_AGENT: &str = concat!("bigin-sync/", env!("CARGO_PKG_VERSION"));

/// Between the end of a worker that should not have ended and its next start.
const RESTART: Duration = Duration::from_secs(1);

/// How often old syncs and deliveries are looked for.
const RETENTION_INTERVAL: Duration = Duration::from_secs(60);

/// Whatever has not ended by then is left to its lease: the host kills a process that takes longer than 10 s.
const DRAIN: Duration = Duration::from_secs(8);

/// The name the sealed access token is kept under.
const TOKEN: &str = "access_token";

/// Everything, ready to run.
pub struct App {
    /// What the workers work with.
    pub context: Arc<Context>,
    /// What the handlers work with.
    pub http: web::Data<http::State>,
    reconcile: Option<(Duration, Duration)>,
    retention: Duration,
}

impl App {
    /// Opens the store and makes the clients. Nothing is sent yet.
    ///
    /// # Errors
    /// The database is in use or cannot be opened; the error says which and what to do.
    pub fn build(settings: &Settings, clock: SharedClock) -> anyhow::Result<Self> {
        let retry = RetryPolicy {
            base_delay: settings.retry_base_delay,
            max_delay: settings.retry_max_delay,
            give_up_after: settings.give_up_after,
        };
        let store_settings = StoreSettings {
            lease: settings.lease_duration,
            tag_delay: settings.tag_delay,
            retry,
        };
        let metrics = Arc::new(Metrics::default());
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(
            &settings.database,
            SharedClock::clone(&clock),
            Arc::clone(&metrics),
            store_settings,
        )?);
        let mapping = Mapping::new(&settings.mapping, settings.time_zone.clone(), &settings.phone_region)
            .map_err(|faults| anyhow::anyhow!("the mapping has {} faults", faults.len()))?;
        let calls = Calls::new(SharedClock::clone(&clock), Arc::clone(&metrics));
        let context = Context {
            bigin: bigin_client(settings, &clock, &calls, &store)?,
            sanity: sanity_client(settings, &clock, calls)?,
            mapping,
            org: OrgCache::default(),
            hasher: Hasher::new(&settings.bigin.client_secret),
            lead_id_field: settings.bigin.lead_id_field.clone(),
            tag_delay: settings.tag_delay,
            lease: settings.lease_duration,
            contacts: tokio::sync::Mutex::new(false),
            clock: SharedClock::clone(&clock),
            metrics: Arc::clone(&metrics),
            store: Arc::clone(&store),
        };
        let started_at = clock.wall();
        let secrets = Secrets::new(
            settings.sanity.webhook_secret.clone(),
            settings.sanity.webhook_secret_previous.clone(),
        )?;
        let admin = settings
            .admin_token
            .clone()
            .map(|token| http::Admin::new(token, clock.now()));
        let http = http::State {
            store,
            clock,
            secrets,
            max_age: settings.sanity.webhook_max_age,
            lead_type: settings.sanity.lead_type.clone(),
            admin,
            cors_origin: settings
                .cors_origin
                .as_ref()
                .map(|url| url.origin().ascii_serialization()),
            send_wait: settings.send_wait,
            metrics,
            streams: Arc::new(tokio::sync::Semaphore::new(http::MOST_STREAMS)),
            checking: tokio::sync::Mutex::new(()),
            scraping: tokio::sync::Mutex::new(false),
            started_at,
            stopping: watch::Sender::new(false),
        };
        Ok(Self {
            context: Arc::new(context),
            http: web::Data::new(http),
            reconcile: settings
                .reconcile_interval
                .map(|interval| (interval, settings.reconcile_min_age)),
            retention: settings.retention,
        })
    }

    /// Serves until `stop` resolves; then takes no more requests, finishes the calls in flight and returns.
    ///
    /// # Errors
    /// The server cannot listen, or has ended by itself.
    pub async fn run(self, listener: TcpListener, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut loops = self.start(&self.http.stopping.subscribe());
        let server = http::serve(self.http.clone(), listener).context("the server cannot start")?;
        let handle = server.handle();
        let mut server = tokio::spawn(server);
        let ended = tokio::select! {
            () = stop => None,
            ended = &mut server => Some(ended),
        };
        tracing::info!("stopping: no more webhooks are taken, calls in flight are finished");
        self.http.stopping.send_replace(true);
        let drain = async {
            if ended.is_none() {
                handle.stop(true).await;
            }
            while loops.join_next().await.is_some() {}
        };
        if tokio::time::timeout(DRAIN, drain).await.is_err() {
            tracing::warn!("a call has not ended in time; its lead is taken up again after its lease");
        }
        match ended {
            None => Ok(()),
            Some(ended) => {
                ended.context("the server panicked")?.context("the server failed")?;
                anyhow::bail!("the server ended by itself")
            }
        }
    }

    fn start(&self, stopping: &watch::Receiver<bool>) -> JoinSet<()> {
        let mut loops = JoinSet::new();
        let context = Arc::clone(&self.context);
        // Not waited for: the upsert worker waits where it needs the answer.
        tokio::spawn(async move {
            if let Err(error) = context.read_org_at_start().await {
                tracing::warn!("what was learned of Bigin at start could not be stored: {error}");
            }
        });
        for stage in Stage::ALL {
            let (context, stopping) = (Arc::clone(&self.context), stopping.clone());
            let make = move |stopping| workers::run(Arc::clone(&context), stage, stopping);
            loops.spawn(supervise(
                stage.label(),
                Arc::clone(&self.context.metrics),
                stopping,
                make,
            ));
        }
        let context = Arc::clone(&self.context);
        if let Some((interval, min_age)) = self.reconcile {
            let context = Arc::clone(&context);
            let make = move |stopping| reconcile(Arc::clone(&context), interval, min_age, stopping);
            loops.spawn(supervise(
                "reconcile",
                Arc::clone(&self.context.metrics),
                stopping.clone(),
                make,
            ));
        }
        let age = self.retention;
        let make = move |stopping| retention(Arc::clone(&context), age, stopping);
        loops.spawn(supervise(
            "retention",
            Arc::clone(&self.context.metrics),
            stopping.clone(),
            make,
        ));
        loops
    }
}

/// Keeps a loop going: one that ends or panics before the program stops is reported and started again.
async fn supervise<F>(
    name: &'static str,
    metrics: Arc<Metrics>,
    mut stopping: watch::Receiver<bool>,
    make: impl Fn(watch::Receiver<bool>) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let ended = tokio::spawn(make(stopping.clone())).await;
        if *stopping.borrow() {
            return;
        }
        let how = if ended.is_ok() { "ended" } else { "panicked" };
        metrics.worker_restarts.add();
        tracing::error!(worker = name, "the worker {name} {how} and is started again");
        tokio::select! {
            () = tokio::time::sleep(RESTART) => {}
            _ = stopping.changed() => {}
        }
    }
}

async fn reconcile(context: Arc<Context>, interval: Duration, min_age: Duration, mut stopping: watch::Receiver<bool>) {
    while !*stopping.borrow() {
        match workers::reconcile::round(&context, min_age).await {
            Ok(0) => tracing::debug!("reconciliation found no missed webhook"),
            Ok(missed) => tracing::warn!(missed, "reconciliation found {missed} missed webhooks"),
            Err(error) => tracing::warn!("reconciliation was cut short: {error}"),
        }
        pause(interval, &mut stopping).await;
    }
}

async fn retention(context: Arc<Context>, age: Duration, mut stopping: watch::Receiver<bool>) {
    while !*stopping.borrow() {
        match workers::retention::round(&context, age).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "{rows} old syncs and deliveries are forgotten"),
            Err(error) => tracing::warn!("old syncs and deliveries could not be forgotten: {error}"),
        }
        pause(RETENTION_INTERVAL, &mut stopping).await;
    }
}

async fn pause(interval: Duration, stopping: &mut watch::Receiver<bool>) {
    tokio::select! {
        () = tokio::time::sleep(interval) => {}
        _ = stopping.changed() => {}
    }
}

fn bigin_client(
    settings: &Settings,
    clock: &SharedClock,
    calls: &Calls,
    store: &Arc<dyn Store>,
) -> anyhow::Result<Bigin> {
    let own = &settings.bigin;
    let http = outbound::client(USER_AGENT, &[&own.accounts_url, &own.api_domain])?;
    let settings = bigin::Settings {
        accounts_url: own.accounts_url.clone(),
        api_domain: own.api_domain_is_set.then(|| own.api_domain.clone()),
        client_id: own.client_id.clone(),
        client_secret: own.client_secret.clone(),
        refresh_token: own.refresh_token.clone(),
        tags: own.tags.clone(),
        max_concurrency: own.max_concurrency,
    };
    Ok(Bigin::new(
        settings,
        http,
        calls.clone(),
        SharedClock::clone(clock),
        Arc::new(StoreVault(Arc::clone(store))),
    ))
}

fn sanity_client(settings: &Settings, clock: &SharedClock, calls: Calls) -> anyhow::Result<Sanity> {
    let own = &settings.sanity;
    let http = outbound::client(USER_AGENT, &[&own.api_url])?;
    let settings = sanity::Settings {
        api_url: own.api_url.clone(),
        dataset: own.dataset.clone(),
        token: own.token.clone(),
        lead_type: own.lead_type.clone(),
    };
    Ok(Sanity::new(settings, http, calls, SharedClock::clone(clock)))
}

/// Keeps the sealed access token in the store, so that a restart costs no grant.
struct StoreVault(Arc<dyn Store>);

fn vault_error(error: StoreError) -> VaultError {
    VaultError(error.to_string())
}

#[async_trait]
impl TokenVault for StoreVault {
    async fn load(&self) -> Result<Option<String>, VaultError> {
        let kept = self.0.kept(TOKEN).await.map_err(vault_error)?;
        Ok(kept.and_then(|(sealed, _)| String::from_utf8(sealed).ok()))
    }

    async fn save(&self, sealed: &str) -> Result<(), VaultError> {
        self.0
            .keep(TOKEN, Some(sealed.as_bytes().to_vec()))
            .await
            .map_err(vault_error)
    }

    async fn forget(&self, sealed: &str) -> Result<(), VaultError> {
        // Only this process writes to the store, and it refreshes one token at a time.
        if self.load().await?.as_deref() == Some(sealed) {
            self.0.keep(TOKEN, None).await.map_err(vault_error)?;
        }
        Ok(())
    }

    async fn note_grant(&self, at: Timestamp) -> Result<(), VaultError> {
        self.0.note_grant(at).await.map_err(vault_error)
    }

    async fn recent_grants(&self, since: Timestamp) -> Result<Vec<Timestamp>, VaultError> {
        self.0.grants(since).await.map_err(vault_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_worker_that_panics_or_ends_is_reported_and_started_again() {
        let metrics = Arc::new(Metrics::default());
        let starts = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let (stopping, stopped) = watch::channel(false);
        let (working, mut works) = tokio::sync::mpsc::channel(1);
        let counted = Arc::clone(&starts);
        let make = move |mut stopping: watch::Receiver<bool>| {
            let (starts, working) = (Arc::clone(&counted), working.clone());
            async move {
                match starts.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                    0 => panic!("a defect"),
                    1 => {}
                    _ => {
                        working.send(()).await.unwrap();
                        stopping.changed().await.unwrap();
                    }
                }
            }
        };
        let supervised = tokio::spawn(supervise("test", Arc::clone(&metrics), stopped, make));
        works.recv().await.unwrap();
        assert_eq!(metrics.worker_restarts.get(), 2);
        stopping.send(true).unwrap();
        supervised.await.unwrap();
        assert_eq!(starts.load(std::sync::atomic::Ordering::Relaxed), 3);
    }
}
