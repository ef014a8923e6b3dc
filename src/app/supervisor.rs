//! The loops that run beside the server, each restarted if it ends before the program stops.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::App;
use crate::http;
use crate::metrics::Metrics;
use crate::store::Stage;
use crate::workers::alert::{self, Alerts};
use crate::workers::heartbeat::Heartbeat;
use crate::workers::{self, Context};

/// Before a worker that ended is restarted.
const RESTART_DELAY: Duration = Duration::from_secs(1);

const RETENTION_INTERVAL: Duration = Duration::from_secs(60);

impl App {
    /// Starts all loops, which run until `stopping` is true or the set is dropped.
    pub fn start(&self, stopping: &watch::Receiver<bool>) -> JoinSet<()> {
        let mut loops = JoinSet::new();
        let context = Arc::clone(&self.context);
        // In the background: the upsert worker waits for the result where it needs it.
        tokio::spawn(async move {
            let started = async {
                context.check_at_start().await?;
                context.read_org_at_start().await
            };
            if let Err(error) = started.await {
                tracing::warn!("cannot store the results of the checks at start: {error}");
            }
        });
        let (context, http) = (Arc::clone(&self.context), self.http.clone());
        let make = move |stopping| idle_checks(Arc::clone(&context), http.clone(), stopping);
        self.supervise(&mut loops, "check", stopping, make);
        for stage in Stage::ALL {
            let context = Arc::clone(&self.context);
            let make = move |stopping| workers::run(Arc::clone(&context), stage, stopping);
            self.supervise(&mut loops, stage.label(), stopping, make);
        }
        let context = Arc::clone(&self.context);
        if let Some((interval, min_age)) = self.reconcile {
            let context = Arc::clone(&context);
            let heartbeat = self.heartbeat.clone();
            let make = move |stopping| {
                let (context, heartbeat) = (Arc::clone(&context), heartbeat.clone());
                reconcile(context, heartbeat, interval, min_age, stopping)
            };
            self.supervise(&mut loops, "reconcile", stopping, make);
        }
        if let Some(alerts) = &self.alerts {
            let (alerts, context) = (Arc::clone(alerts), Arc::clone(&context));
            let make = move |stopping| send_alerts(Arc::clone(&alerts), Arc::clone(&context), stopping);
            self.supervise(&mut loops, "alert", stopping, make);
        }
        let age = self.retention;
        let make = move |stopping| retention(Arc::clone(&context), age, stopping);
        self.supervise(&mut loops, "retention", stopping, make);
        loops
    }

    fn supervise<F>(
        &self,
        loops: &mut JoinSet<()>,
        name: &'static str,
        stopping: &watch::Receiver<bool>,
        make: impl Fn(watch::Receiver<bool>) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        loops.spawn(supervise(
            name,
            Arc::clone(&self.context.metrics),
            stopping.clone(),
            make,
        ));
    }
}

/// Restarts a loop that ends or panics before the program stops, and logs it.
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
        tracing::error!(worker = name, "the worker {name} {how} and is restarted");
        tokio::select! {
            biased;
            () = tokio::time::sleep(RESTART_DELAY) => {}
            _ = stopping.changed() => {}
        }
    }
}

async fn reconcile(
    context: Arc<Context>,
    heartbeat: Option<Arc<Heartbeat>>,
    interval: Duration,
    min_age: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    while !*stopping.borrow() {
        let reconciled = workers::reconcile::reconcile(&context, interval, min_age).await;
        match &reconciled {
            Ok(None) => {
                tracing::debug!("reconciliation skipped: Sanity is unavailable, or another replica holds the lock")
            }
            Ok(Some(0)) => tracing::debug!("reconciliation found no missed webhook"),
            Ok(Some(missed)) => tracing::warn!(missed, "reconciliation found {missed} missed webhooks"),
            Err(error) => tracing::warn!("reconciliation did not finish: {error}"),
        }
        // During the wait, so that a slow monitor delays nothing.
        let beat = async {
            if let Some(heartbeat) = &heartbeat {
                heartbeat.after(&context, &reconciled).await;
            }
        };
        tokio::join!(beat, pause(interval, &mut stopping));
    }
    workers::reconcile::stop(&context).await;
}

/// Checks the services for which the operator requested a check and no sync is in progress.
async fn idle_checks(context: Arc<Context>, http: web::Data<http::AppState>, mut stopping: watch::Receiver<bool>) {
    while !*stopping.borrow() {
        tokio::select! {
            biased;
            () = http.idle_check.notified() => {}
            _ = stopping.changed() => continue,
        }
        if let Err(error) = context.check_idle().await {
            tracing::warn!("cannot store the result of a check: {error}");
        }
    }
}

async fn send_alerts(alerts: Arc<Alerts>, context: Arc<Context>, mut stopping: watch::Receiver<bool>) {
    while !*stopping.borrow() {
        if let Err(error) = alerts.step(&context).await {
            tracing::warn!("cannot evaluate alerts: {error}");
        }
        pause(alert::INTERVAL, &mut stopping).await;
    }
}

async fn retention(context: Arc<Context>, age: Duration, mut stopping: watch::Receiver<bool>) {
    while !*stopping.borrow() {
        match workers::retention::delete_expired(&context, age).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "deleted {rows} old syncs"),
            Err(error) => tracing::warn!("cannot delete old syncs: {error}"),
        }
        pause(RETENTION_INTERVAL, &mut stopping).await;
    }
}

async fn pause(interval: Duration, stopping: &mut watch::Receiver<bool>) {
    tokio::select! {
        biased;
        () = tokio::time::sleep(interval) => {}
        _ = stopping.changed() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn restarts_a_worker_that_panics_or_ends() {
        let metrics = Arc::new(Metrics::default());
        let starts = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let (stopping, stopped) = watch::channel(false);
        let (working, mut works) = tokio::sync::mpsc::channel(1);
        let counted = Arc::clone(&starts);
        let make = move |mut stopping: watch::Receiver<bool>| {
            let (starts, working) = (Arc::clone(&counted), working.clone());
            async move {
                match starts.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                    0 => panic!("a bug"),
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
