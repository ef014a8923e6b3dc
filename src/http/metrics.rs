//! `/metrics`, the text that Prometheus reads: what this process has counted, and what the store says at that moment. Open
//! to everybody, so without any id, person or secret.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use jiff::Timestamp;

use super::AppState;
use super::health::DAY;
use super::webhook::ANSWERS;
use crate::clock::{before, until};
use crate::domain::breaker::Breaker;
use crate::domain::failure::Remote;
use crate::metrics::{Kind, Metrics, Text, process};
use crate::store::{Ledger, Overview, Stage, Store, StoreError};

/// The type of the text format (Prometheus's docs, exposition formats).
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Shows with 0 every counter that is created when it first counts.
pub(super) fn show(metrics: &Metrics) {
    ANSWERS.into_iter().for_each(|answer| metrics.webhooks.show(answer));
}

/// Shows numbers for Prometheus.
///
/// What is in memory is told whatever the store does.
#[utoipa::path(get, path = "/metrics", tag = "service", security(()), responses(
    (status = 200, description = "The text format of Prometheus", body = String, content_type = "text/plain"),
))]
pub(super) async fn metrics(state: web::Data<AppState>) -> HttpResponse {
    let mut text = Text::default();
    about(&mut text, state.started_at);
    state.metrics.write(&mut text);
    // One at a time.
    let mut has_failed = state.scraping.lock().await;
    let stored = read(&state.store).await;
    if let Err(error) = &stored
        && !*has_failed
    {
        // Once: anybody can ask as often as they like.
        tracing::error!("the store could not be read for /metrics: {error}");
    }
    *has_failed = stored.is_err();
    drop(has_failed);
    let help = "1 if the store was readable at this scrape; 0 means that all values of the store are missing.";
    text.gauge("bigin_sync_store_up", help, u8::from(stored.is_ok()));
    if let Ok((overview, grants)) = stored {
        ledger(&mut text, &overview.ledger);
        now(&mut text, &overview, grants);
        breakers(&mut text, &overview.breakers, overview.at);
    }
    HttpResponse::Ok().content_type(CONTENT_TYPE).body(text.into_string())
}

/// How things stand, and how many access tokens were granted in the last 24 hours.
async fn read(store: &Store) -> Result<(Overview, usize), StoreError> {
    let overview = store.overview().await?;
    let since = before(overview.at, DAY);
    let grants = store.grants(since).await?;
    Ok((overview, grants.len()))
}

fn about(text: &mut Text, started_at: Timestamp) {
    let name = "bigin_sync_build_info";
    text.family(name, Kind::Gauge, "Always 1; the label says which version runs.");
    text.sample(name, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    let help = "When the process was started, in unix seconds.";
    text.gauge("process_start_time_seconds", help, unix(started_at));
    process::write(text);
}

fn ledger(text: &mut Text, ledger: &Ledger) {
    let name = "bigin_sync_deliveries_total";
    let help = "Webhooks that were stored or recognised as duplicates, by result.";
    let counted = [
        ("created", ledger.created_by_webhook),
        ("coalesced", ledger.coalesced_by_webhook),
        ("duplicate", ledger.duplicates),
    ];
    counters(text, name, help, "result", &counted);

    let name = "bigin_sync_syncs_created_total";
    let help = "Syncs created, by source.";
    let counted = [
        ("webhook", ledger.created_by_webhook),
        ("reconciliation", ledger.created_by_reconciliation),
        ("manual", ledger.created_manually),
    ];
    counters(text, name, help, "source", &counted);

    let name = "bigin_sync_missed_webhooks_total";
    text.counter(
        name,
        "Missed webhooks: leads that reconciliation found.",
        ledger.created_by_reconciliation,
    );

    let name = "bigin_sync_syncs_finished_total";
    let help = "Syncs finished, by outcome.";
    let counted = [
        ("sent", ledger.sent),
        ("failed", ledger.failed),
        ("lead_deleted", ledger.lead_deleted),
        ("cancelled", ledger.cancelled),
    ];
    counters(text, name, help, "outcome", &counted);
}

fn counters(
    text: &mut Text,
    name: &'static str,
    help: &'static str,
    label: &'static str,
    counted: &[(&'static str, u64)],
) {
    text.family(name, Kind::Counter, help);
    for (value, count) in counted {
        text.sample(name, &[(label, value)], count);
    }
}

fn now(text: &mut Text, overview: &Overview, grants: usize) {
    let name = "bigin_sync_syncs";
    text.family(name, Kind::Gauge, "Syncs in progress, by state.");
    for state in Stage::ALL.iter().flat_map(|stage| stage.states()) {
        let count = overview.in_progress.get(*state).copied().unwrap_or_default();
        text.sample(name, &[("state", state)], count);
    }
    let oldest = overview.oldest.as_ref();
    let age = oldest.map_or(Duration::ZERO, |oldest| until(oldest.sync.created_at, overview.at));
    let help = "For how long the oldest sync in progress has been open; 0 where there is none.";
    text.gauge("bigin_sync_oldest_sync_age_seconds", help, age.as_secs_f64());
    let help = "Leads whose last sync failed and was not dismissed.";
    text.gauge("bigin_sync_leads_failed", help, overview.failed_leads);
    let help = "1 while the operator has paused sending.";
    text.gauge("bigin_sync_paused", help, u8::from(overview.paused_since.is_some()));
    let help = "Credits of Bigin used in the last 24 hours: an estimate by its docs.";
    text.gauge("bigin_sync_bigin_credits_used", help, overview.credits);
    let help = "Access tokens granted in the last 24 hours.";
    text.gauge("bigin_sync_token_grants", help, grants);
    let help = "When the last access token was granted, in unix seconds; 0 where none is known.";
    let granted = overview.token_granted_at.map_or(0.0, unix);
    text.gauge("bigin_sync_token_granted_timestamp_seconds", help, granted);
}

fn breakers(text: &mut Text, open: &[Breaker], at: Timestamp) {
    let of = |remote: Remote| open.iter().find(|breaker| breaker.remote == remote);
    let name = "bigin_sync_breaker_open";
    text.family(
        name,
        Kind::Gauge,
        "1 while the circuit breaker of the remote service is open.",
    );
    for remote in Remote::ALL {
        text.sample(name, &[("remote", remote.label())], u8::from(of(remote).is_some()));
    }
    let name = "bigin_sync_breaker_open_age_seconds";
    text.family(
        name,
        Kind::Gauge,
        "How long the circuit breaker has been open, in seconds; 0 if closed.",
    );
    for remote in Remote::ALL {
        let since = of(remote)
            .and_then(|breaker| breaker.open.as_ref())
            .map(|open| open.since);
        let age = since.map_or(Duration::ZERO, |since| until(since, at));
        text.sample(name, &[("remote", remote.label())], age.as_secs_f64());
    }
}

fn unix(at: Timestamp) -> f64 {
    until(Timestamp::UNIX_EPOCH, at).as_secs_f64()
}
