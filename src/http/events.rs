//! `/api/events`: what happens to syncs, as server-sent events. The stream is read from the histories in the store, so that
//! a client that comes back with the id of the last event misses none.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream::unfold;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use utoipa::IntoParams;

use super::AppState;
use super::problem::{self, ProblemDetails};
use crate::store::{Change, EventRow, Store, StoreError};

/// Streams at once; each looks into the store whenever something happens.
pub const MAX_STREAMS: usize = 64;

/// Events of one look.
const LOOK: usize = 200;

/// A change may come from elsewhere, or be missed by a slow watcher, so the store is looked at this often all the same.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Silent connections are cut by proxies, mostly after a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A stream ends after this, and the client connects again: with a session that is still good, if it came with one.
const MAX_STREAM_AGE: Duration = Duration::from_secs(10 * 60);

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// Begin after this event; the header Last-Event-ID goes before it.
    after: Option<i64>,
}

/// Streams what happens to syncs, from now on or from after an event.
///
/// Every event is called `sync`; its data is JSON: syncId, leadId, kind, state, at.
#[utoipa::path(get, path = "/api/events", tag = "syncs",
    params(EventsQuery, ("Last-Event-ID" = Option<i64>, Header, description = "The last event that was seen")),
    responses(
        (status = 200, description = "The stream; it ends after ten minutes: reconnect", body = String, content_type = "text/event-stream"),
        (status = 400, description = "The id is no number", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Too many streams at once, or the database cannot be read", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn events(
    request: HttpRequest,
    query: web::Query<EventsQuery>,
    state: web::Data<AppState>,
) -> HttpResponse {
    // An empty header is what a browser sends that has seen no id.
    let last = request.headers().get("last-event-id").map(HeaderValue::as_bytes);
    let last = match last.filter(|id| !id.is_empty()).map(parse) {
        None => query.after,
        Some(Some(id)) => Some(id),
        Some(None) => return problem::answer(400, "The Last-Event-ID is no number."),
    };
    let Ok(permit) = Arc::clone(&state.streams).try_acquire_owned() else {
        return problem::come_again("Too many event streams are open. Retry in a moment.");
    };
    // Watched before the store is looked at, so that no change falls in between.
    let changes = state.store.changes();
    let newest = match state.store.last_event_id().await {
        Ok(newest) => newest,
        Err(error) => return problem::unavailable(&error),
    };
    // An id above the newest is of a database that has been replaced by an older one: from there on it would be silent.
    let after = last.map_or(newest, |last| last.min(newest));
    let watcher = Watcher {
        store: Arc::clone(&state.store),
        after,
        // So that a client that loses the connection before the first event can go on from here.
        pending: Some(format!("retry: 2000\nid: {after}\n\n")),
        changes,
        stopping: state.stopping.subscribe(),
        ends: tokio::time::Instant::now() + MAX_STREAM_AGE,
        _permit: permit,
    };
    let stream = unfold(watcher, |mut watcher| async {
        let chunk = watcher.next().await?;
        Some((chunk.map(Bytes::from), watcher))
    });
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store"))
        // nginx holds answers back otherwise.
        .insert_header(("x-accel-buffering", "no"))
        .streaming(Box::pin(stream))
}

fn parse(id: &[u8]) -> Option<i64> {
    std::str::from_utf8(id).ok()?.trim().parse().ok()
}

struct Watcher {
    store: Arc<Store>,
    after: i64,
    pending: Option<String>,
    changes: broadcast::Receiver<Change>,
    stopping: watch::Receiver<bool>,
    ends: tokio::time::Instant,
    _permit: OwnedSemaphorePermit,
}

impl Watcher {
    /// The next piece of the stream; `None` at its end.
    async fn next(&mut self) -> Option<Result<String, StoreError>> {
        if let Some(pending) = self.pending.take() {
            return Some(Ok(pending));
        }
        let mut silent = Duration::ZERO;
        loop {
            // Also where something happens all the time.
            if tokio::time::Instant::now() >= self.ends {
                return None;
            }
            match self.store.events_after(self.after, LOOK).await {
                Ok(events_after) if events_after.is_empty() => {}
                Ok(events_after) => {
                    self.after = events_after.last().map_or(self.after, |last| last.id);
                    return Some(Ok(events_after.iter().map(event).collect()));
                }
                Err(error) => return Some(Err(error)),
            }
            if silent >= KEEP_ALIVE {
                return Some(Ok(":\n\n".to_owned()));
            }
            tokio::select! {
                biased;
                // Some may have been missed: the store is looked at all the same.
                change = self.changes.recv() => if change == Err(RecvError::Closed) {
                    return None;
                },
                () = tokio::time::sleep(POLL_INTERVAL) => silent += POLL_INTERVAL,
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
                () = tokio::time::sleep_until(self.ends) => return None,
            }
        }
    }
}

fn event(happening: &EventRow) -> String {
    // What is plain data cannot fail to be JSON.
    let data = serde_json::to_string(happening).unwrap_or_default();
    format!("id: {}\nevent: sync\ndata: {data}\n\n", happening.id)
}
