//! What people do to syncs: try them again, cancel them, pause all of them.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api::{SyncJson, accepted, find, missing};
use super::problem::{self, Problem};
use super::{State, answer};
use crate::domain::sync::SyncId;
use crate::store::{Accepted, Cancelling, FailureGroup};

/// Failed leads that one transaction asks for again: the webhooks wait meanwhile.
const RETRIED_AT_ONCE: usize = 200;

/// Reasons that are listed.
pub(super) const MOST_REASONS: usize = 50;

/// How long a cancellation waits for a worker that has the sync in hand.
const CANCEL_WAIT: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Tries a sync again: one on its way now instead of later, one that has ended by another sync of its lead.
#[utoipa::path(post, path = "/api/syncs/{id}/retry", tag = "syncs", params(("id" = i64, Path, description = "The sync's number")), responses(
    (status = 202, description = "The sync that carries it out", body = SyncJson),
    (status = 404, description = "There is none, or it has been forgotten", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "Nothing can be stored now: try again", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn retry(id: web::Path<i64>, state: web::Data<State>) -> HttpResponse {
    match try_again(&state, SyncId(*id)).await {
        Ok(id) => accepted(&state, id).await,
        Err(response) => response,
    }
}

/// Tries a sync again, and says which sync that is now.
pub(super) async fn try_again(state: &State, id: SyncId) -> Result<SyncId, HttpResponse> {
    match state.store.retry(id).await {
        Ok(Some(Accepted::Opened(now) | Accepted::Joined(now))) => {
            tracing::info!(sync_id = %now, "sync {now}: asked for by a person, who tried sync {id} again");
            Ok(now)
        }
        Ok(Some(Accepted::Repeat)) => Err(problem::answer(500, "The request was taken for a repeat.")),
        Ok(None) => Err(missing()),
        Err(error) => Err(problem::unavailable(&error)),
    }
}

/// Which failed leads to try again.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryBody {
    /// Only those that failed for this very reason; all of them where nothing is said.
    #[schema(pattern = r"^[^\x00]*$")]
    pub(super) reason: Option<String>,
}

/// How many leads are tried again.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Retried {
    pub(super) retried: usize,
}

/// Tries every lead again whose last sync failed, or those that failed for one reason.
#[utoipa::path(post, path = "/api/syncs/retry", tag = "syncs", request_body = RetryBody, responses(
    (status = 202, description = "How many leads are tried again", body = Retried),
    (status = 400, description = "The body is not understood", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "Nothing can be stored now: try again", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn retry_failed(body: web::Json<RetryBody>, state: web::Data<State>) -> HttpResponse {
    match try_failed_again(&state, body.into_inner().reason).await {
        Ok(retried) => HttpResponse::Accepted().json(Retried { retried }),
        Err(response) => response,
    }
}

/// Tries failed leads again, and says how many.
pub(super) async fn try_failed_again(state: &State, reason: Option<String>) -> Result<usize, HttpResponse> {
    if reason.as_deref().is_some_and(|reason| reason.contains('\0')) {
        return Err(problem::answer(400, "The reason is a text, which has no zero byte."));
    }
    let (mut retried, mut before) = (0, None);
    loop {
        let page = state.store.retry_failed(reason.clone(), before, RETRIED_AT_ONCE).await;
        let (count, next) = page.map_err(|error| problem::unavailable(&error))?;
        retried += count;
        before = next;
        if before.is_none() {
            tracing::info!(retried, "{retried} failed leads are tried again, asked for by a person");
            return Ok(retried);
        }
    }
}

/// Cancels a sync that is on its way. The lead goes on saying what it says; reconciliation leaves it alone until it changes.
#[utoipa::path(post, path = "/api/syncs/{id}/cancel", tag = "syncs", params(("id" = i64, Path, description = "The sync's number")), responses(
    (status = 200, description = "It is cancelled", body = SyncJson),
    (status = 404, description = "There is none, or it has been forgotten", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It has ended, or is being sent at this very moment", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "Nothing can be stored now: try again", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn cancel(id: web::Path<i64>, state: web::Data<State>) -> HttpResponse {
    match call_off(&state, SyncId(*id)).await {
        Ok(()) => answer(
            find(&state, SyncId(*id))
                .await
                .map(|sync| SyncJson { history: None, ..sync }),
        ),
        Err(response) => response,
    }
}

/// Cancels a sync, after the worker that has it in hand, if one has.
pub(super) async fn call_off(state: &State, id: SyncId) -> Result<(), HttpResponse> {
    let trying = async {
        loop {
            match state.store.cancel(id).await {
                Ok(Cancelling::Done) => {
                    tracing::info!(sync_id = %id, "sync {id}: cancelled by a person");
                    return Ok(());
                }
                Ok(Cancelling::Busy) => tokio::time::sleep(LOOK_AGAIN).await,
                Ok(Cancelling::Ended) => {
                    return Err(problem::answer(409, "The sync has ended: there is nothing to cancel."));
                }
                Ok(Cancelling::Missing) => return Err(missing()),
                Err(error) => return Err(problem::unavailable(&error)),
            }
        }
    };
    tokio::time::timeout(CANCEL_WAIT, trying).await.unwrap_or_else(|_| {
        Err(problem::answer(
            409,
            "The sync is being sent at this very moment: try again.",
        ))
    })
}

/// The reasons for which most leads have failed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Failures {
    /// The most frequent first.
    pub(super) failures: Vec<FailureGroup>,
}

/// Lists the reasons for which leads have failed and stayed so, with how many leads each concerns.
#[utoipa::path(get, path = "/api/failures", tag = "syncs", responses(
    (status = 200, description = "The fifty most frequent", body = Failures),
))]
pub(super) async fn failures(state: web::Data<State>) -> HttpResponse {
    let failures = state.store.failure_groups(MOST_REASONS).await;
    answer(
        failures
            .map(|failures| Failures { failures })
            .map_err(|error| problem::unavailable(&error)),
    )
}

/// Whether a person has paused the work.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Paused {
    /// Since when; none where it goes on.
    pub(super) paused_since: Option<Timestamp>,
}

/// Pauses all work: webhooks are stored as ever, and nothing is sent until it is resumed. Costs no lead anything.
#[utoipa::path(post, path = "/api/pause", tag = "service", responses(
    (status = 200, description = "It is paused", body = Paused),
    (status = 503, description = "Nothing can be stored now: try again", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn pause(state: web::Data<State>) -> HttpResponse {
    answer(set_paused(&state, true).await)
}

/// Lets the work go on.
#[utoipa::path(post, path = "/api/resume", tag = "service", responses(
    (status = 200, description = "It goes on", body = Paused),
    (status = 503, description = "Nothing can be stored now: try again", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn resume(state: web::Data<State>) -> HttpResponse {
    answer(set_paused(&state, false).await)
}

/// Pauses the work, or lets it go on.
pub(super) async fn set_paused(state: &State, paused: bool) -> Result<Paused, HttpResponse> {
    let set = async {
        state.store.pause_all(paused).await?;
        state.store.paused_since().await
    };
    let paused_since = set.await.map_err(|error| problem::unavailable(&error))?;
    let what = if paused { "paused" } else { "resumed" };
    tracing::warn!("the work is {what} by a person");
    Ok(Paused { paused_since })
}
