//! Follows syncs to their end on the stream of events, through lost connections and restarts of the service.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::show::Show;
use crate::api_types::SyncJson;
use crate::cli::api::{Api, ApiError};
use crate::domain::sync::SyncId;
use crate::store::EventRow;

const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Of the countdowns.
const FRAME_INTERVAL: Duration = Duration::from_millis(100);

/// Of the checks for problems of the service.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Follows `syncs` until all are `done`, from the event `after` on.
///
/// # Errors
/// An error that is not temporary.
pub(super) async fn follow(
    api: &Api,
    mut after: i64,
    syncs: &mut BTreeMap<SyncId, SyncJson>,
    show: &mut Show,
    done: impl Fn(&SyncJson) -> bool,
) -> Result<(), ApiError> {
    let mut reported = BTreeSet::new();
    let mut frames = tokio::time::interval(FRAME_INTERVAL);
    let mut checks = tokio::time::interval(CHECK_INTERVAL);
    while !syncs.values().all(&done) {
        let mut events = retry(show, async || api.events(Some(after)).await).await?;
        loop {
            let mut next = std::pin::pin!(events.next());
            // One future for all frames, so that its own timeout applies.
            let event = loop {
                tokio::select! {
                    event = &mut next => break event,
                    _ = frames.tick() => show.draw(syncs),
                    _ = checks.tick() => report_problems(api, &mut reported, show).await,
                }
            };
            let Some((id, event)) = event else {
                // Not at once: the next stream may end as soon.
                tokio::time::sleep(RETRY_INTERVAL).await;
                break;
            };
            after = id;
            if let Some(sync) = syncs.get_mut(&event.sync_id) {
                update(api, sync, &event, show).await?;
                show.changed(sync);
            }
            if syncs.values().all(&done) {
                break;
            }
        }
    }
    show.draw(syncs);
    Ok(())
}

/// The event has the state only; the sync is read where more of it is shown.
async fn update(api: &Api, sync: &mut SyncJson, event: &EventRow, show: &mut Show) -> Result<(), ApiError> {
    let needs_state_only = matches!(event.state.as_str(), "requested" | "upserted" | "tagged" | "sent");
    if needs_state_only && !show.needs_details() {
        sync.state = event.state.clone().into();
        return Ok(());
    }
    let path = format!("/api/syncs/{}", event.sync_id);
    *sync = retry(show, async || api.get(&path).await).await?;
    Ok(())
}

async fn retry<T>(show: &mut Show, call: impl AsyncFn() -> Result<T, ApiError>) -> Result<T, ApiError> {
    let mut is_reported = false;
    loop {
        match call().await {
            Err(error) if error.is_temporary => {
                if !is_reported {
                    show.note(&format!("{error}; retrying"));
                }
                is_reported = true;
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            result => return result,
        }
    }
}

/// Shows each problem of the service once.
async fn report_problems(api: &Api, reported: &mut BTreeSet<String>, show: &mut Show) {
    // A service that cannot be reached is reported by `retry`.
    if let Ok(readiness) = api.readiness(RETRY_INTERVAL).await {
        for problem in readiness.degraded {
            let problem = problem.to_string();
            if !reported.contains(&problem) {
                show.note(&problem);
            }
            reported.insert(problem);
        }
    }
}
