//! Follows syncs to their end, by the stream of what happens, over lost connections and restarts of the service.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::show::Show;
use crate::cli::api::{Api, ApiError, Event, SyncJob};

/// Between two looks for a service that is away.
const PAUSE: Duration = Duration::from_secs(1);

/// How often countdowns are drawn.
const FRAME: Duration = Duration::from_millis(100);

/// How often to look whether something stands in the way.
const LOOK: Duration = Duration::from_secs(10);

/// Follows `syncs` until each has come `far_enough`. What has happened since the event `after` is seen first.
///
/// # Errors
/// The service says something that does not pass.
pub(super) async fn follow(
    api: &Api,
    mut after: i64,
    syncs: &mut BTreeMap<i64, SyncJob>,
    show: &mut Show,
    far_enough: impl Fn(&SyncJob) -> bool,
) -> Result<(), ApiError> {
    let mut told = BTreeSet::new();
    let mut frames = tokio::time::interval(FRAME);
    let mut looks = tokio::time::interval(LOOK);
    while !syncs.values().all(&far_enough) {
        let mut events = patiently(show, async || api.events(Some(after)).await).await?;
        loop {
            let mut next = std::pin::pin!(events.next());
            // The one future goes on, so that its own limit on silence holds.
            let event = loop {
                tokio::select! {
                    event = &mut next => break event,
                    _ = frames.tick() => show.draw(syncs),
                    _ = looks.tick() => tell_troubles(api, &mut told, show).await,
                }
            };
            let Some((id, event)) = event else {
                // Not at once: it may end again.
                tokio::time::sleep(PAUSE).await;
                break;
            };
            after = id;
            if let Some(sync) = syncs.get_mut(&event.sync_id) {
                take(api, sync, &event, show).await?;
                show.changed(sync);
            }
            if syncs.values().all(&far_enough) {
                break;
            }
        }
    }
    show.draw(syncs);
    Ok(())
}

/// Takes in what has happened. The event says what; more is asked for only where more is to be shown.
async fn take(api: &Api, sync: &mut SyncJob, event: &Event, show: &mut Show) -> Result<(), ApiError> {
    let tells_all = matches!(event.state.as_str(), "requested" | "upserted" | "tagged" | "sent");
    if tells_all && !show.wants_all() {
        sync.state.clone_from(&event.state);
        return Ok(());
    }
    let path = format!("/api/syncs/{}", event.sync_id);
    *sync = patiently(show, async || api.get(&path).await).await?;
    Ok(())
}

/// Asks until there is an answer.
async fn patiently<T>(show: &mut Show, ask: impl AsyncFn() -> Result<T, ApiError>) -> Result<T, ApiError> {
    let mut away = false;
    loop {
        match ask().await {
            Err(error) if error.passing => {
                if !away {
                    show.note(&format!("{error}; waiting for it"));
                }
                away = true;
                tokio::time::sleep(PAUSE).await;
            }
            answer => return answer,
        }
    }
}

/// Says once of each trouble that it stands in the way.
async fn tell_troubles(api: &Api, told: &mut BTreeSet<String>, show: &mut Show) {
    // Where the service is away, the stream finds it out.
    if let Ok(readiness) = api.readiness(PAUSE).await {
        for problem in readiness.degraded {
            let problem = problem.to_string();
            if !told.contains(&problem) {
                show.note(&problem);
            }
            told.insert(problem);
        }
    }
}
