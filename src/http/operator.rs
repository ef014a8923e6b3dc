//! What people do to syncs: try them again, dismiss their failures, cancel them, pause all of them.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::api::{brief, duplicate, missing};
use super::health::open_breakers;
use super::problem::{self, ProblemDetails};
use super::{AppState, answer};
use crate::api_types::{Failures, OpenBreaker, Retried, SyncJson};
use crate::domain::reject_reason::ReasonKey;
use crate::domain::state::{CancelledBy, State as SyncState};
use crate::domain::sync::SyncId;
use crate::store::{Accepted, CancelResult, DismissResult};

/// Failed leads that one transaction asks for again: the webhooks wait meanwhile.
const RETRIED_AT_ONCE: usize = 200;

/// Reasons that are listed.
pub(super) const MAX_REASONS: usize = 50;

/// How long a cancellation waits for a worker that has the sync in hand.
const CANCEL_WAIT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How long the answer to a retry waits until the lead has been read, which takes a moment where nothing is in the way.
const RETRY_WAIT: Duration = Duration::from_secs(3);

/// How a retry is meant.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RetryQuery {
    /// Send it whatever the lead's crmStatus says.
    #[serde(default)]
    pub(super) force: bool,
}

/// What a retry has led to so far.
pub(super) struct Retry {
    /// The sync that carries it out.
    pub(super) sync: SyncId,
    /// An editor has changed the lead's `crmStatus` since it failed, and nothing was sent.
    pub(super) is_withdrawn: bool,
    /// The services that it waits for.
    pub(super) unavailable: Vec<OpenBreaker>,
}

/// Retries a sync: now if it is in progress, with a new sync of its lead if it has finished.
///
/// A lead whose crmStatus an editor has changed since it failed is not sent, except with `force`.
#[utoipa::path(post, path = "/api/syncs/{id}/retry", tag = "syncs", params(("id" = i64, Path, description = "The sync's number"), RetryQuery), responses(
    (status = 202, description = "The sync that carries it out, and the unavailable remote services that it waits for", body = SyncJson),
    (status = 400, description = "A parameter is invalid", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "It does not exist, or was deleted after the retention period", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 409, description = "An editor has changed the lead's crmStatus since it failed: nothing was sent", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 503, description = "Nothing can be stored now: retry", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(super) async fn retry(
    id: web::Path<i64>,
    query: web::Query<RetryQuery>,
    state: web::Data<AppState>,
) -> HttpResponse {
    let retry = match retry_sync(&state, SyncId(*id), query.force).await {
        Ok(retry) => retry,
        Err(response) => return response,
    };
    if retry.is_withdrawn {
        let detail = format!(
            "Nothing was sent: an editor has changed the lead's crmStatus in Sanity since it failed. To send it anyway, \
             POST /api/syncs/{}/retry?force=true.",
            retry.sync
        );
        return problem::answer(409, &detail);
    }
    match brief(&state, retry.sync).await {
        Ok(sync) => HttpResponse::Accepted().json(SyncJson {
            unavailable: retry.unavailable,
            ..sync
        }),
        Err(response) => response,
    }
}

/// Tries a sync again, and says what comes of it where that shows at once.
pub(super) async fn retry_sync(state: &AppState, id: SyncId, force: bool) -> Result<Retry, HttpResponse> {
    let sync = match state.store.retry(id, force).await? {
        Some(Accepted::Created(now) | Accepted::Coalesced(now)) => now,
        Some(Accepted::Duplicate) => return Err(duplicate()),
        None => return Err(missing()),
    };
    tracing::info!(sync_id = %sync, "sync {sync}: created by the operator's retry of sync {id}");
    let unavailable = unavailable(state).await;
    let is_paused = state.store.paused_since().await?.is_some();
    // Where nothing is read now there is nothing to wait for.
    let read = (unavailable.is_empty() && !is_paused && !force).then_some(RETRY_WAIT.min(state.send_wait));
    let is_withdrawn = match read {
        Some(wait) => tokio::time::timeout(wait, is_withdrawn(state, sync))
            .await
            .unwrap_or(Ok(false))?,
        None => false,
    };
    Ok(Retry {
        sync,
        is_withdrawn,
        unavailable,
    })
}

/// Waits until the lead has been read, and says whether it does not ask any more.
async fn is_withdrawn(state: &AppState, id: SyncId) -> Result<bool, HttpResponse> {
    loop {
        let found = state.store.sync(id).await?;
        match found.map(|(view, _)| view.sync.state) {
            Some(SyncState::Requested { .. }) => tokio::time::sleep(POLL_INTERVAL).await,
            Some(SyncState::Cancelled { by: CancelledBy::Lead }) => return Ok(true),
            _ => return Ok(false),
        }
    }
}

/// The services that are unavailable now, beside an answer that what was asked is done: it stands also where they cannot be
/// read.
async fn unavailable(state: &AppState) -> Vec<OpenBreaker> {
    open_breakers(state.store.open_breakers().await.unwrap_or_default())
}

/// Dismisses a failure: it is no longer shown among the failures or retried with them. A new failure of the lead is shown
/// again.
#[utoipa::path(post, path = "/api/syncs/{id}/dismiss", tag = "syncs", params(("id" = i64, Path, description = "The sync's number")), responses(
    (status = 200, description = "It is dismissed", body = SyncJson),
    (status = 404, description = "It does not exist, or was deleted after the retention period", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 409, description = "It has not failed, or the lead was sent again since", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 503, description = "Nothing can be stored now: retry", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(super) async fn dismiss(id: web::Path<i64>, state: web::Data<AppState>) -> HttpResponse {
    match dismiss_failure(&state, SyncId(*id)).await {
        Ok(()) => answer(brief(&state, SyncId(*id)).await),
        Err(response) => response,
    }
}

/// Dismisses a failure.
pub(super) async fn dismiss_failure(state: &AppState, id: SyncId) -> Result<(), HttpResponse> {
    match state.store.dismiss(id).await? {
        DismissResult::Done => {
            tracing::info!(sync_id = %id, "sync {id}: failure dismissed by the operator");
            Ok(())
        }
        DismissResult::NoFailure => Err(problem::answer(
            409,
            "The sync has not failed, or its lead was sent again since: there is nothing to dismiss.",
        )),
        DismissResult::Missing => Err(missing()),
    }
}

/// Which failed leads to try again.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryBody {
    /// Only those that failed with this code, or with this code and field: `invalid_value`, `invalid_value:Email`. All of
    /// them without it.
    #[schema(pattern = r"^[^\x00]*$")]
    pub(super) reason: Option<String>,
}

/// Retries all leads whose last sync failed, or those that failed for one reason.
///
/// A lead whose crmStatus an editor has changed since it failed is not sent: its sync ends cancelled. Dismissed failures are
/// not retried.
#[utoipa::path(post, path = "/api/syncs/retry", tag = "syncs", request_body = RetryBody, responses(
    (status = 202, description = "How many leads are retried", body = Retried),
    (status = 400, description = "The body is invalid", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 503, description = "Nothing can be stored now: retry", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(super) async fn retry_failed(body: web::Json<RetryBody>, state: web::Data<AppState>) -> HttpResponse {
    match retry_failed_leads(&state, body.into_inner().reason.as_deref()).await {
        Err(response) => response,
        Ok(retried) => HttpResponse::Accepted().json(Retried {
            retried,
            unavailable: unavailable(&state).await,
        }),
    }
}

/// Tries failed leads again, and says how many.
pub(super) async fn retry_failed_leads(state: &AppState, reason: Option<&str>) -> Result<usize, HttpResponse> {
    if reason.is_some_and(|reason| reason.contains('\0')) {
        return Err(problem::answer(400, "reason must not contain a NUL byte."));
    }
    let reason = reason.map(ReasonKey::parse);
    let (mut retried, mut before) = (0, None);
    loop {
        let (count, next) = state
            .store
            .retry_failed(reason.clone(), before, RETRIED_AT_ONCE)
            .await?;
        retried += count;
        before = next;
        if before.is_none() {
            tracing::info!(retried, "retrying {retried} failed leads (requested by the operator)");
            return Ok(retried);
        }
    }
}

/// Cancels a sync that is in progress. The lead in Sanity is not changed; reconciliation ignores it until it is edited.
#[utoipa::path(post, path = "/api/syncs/{id}/cancel", tag = "syncs", params(("id" = i64, Path, description = "The sync's number")), responses(
    (status = 200, description = "It is cancelled", body = SyncJson),
    (status = 404, description = "It does not exist, or was deleted after the retention period", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 409, description = "It has finished, or is in a call at this moment", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 503, description = "Nothing can be stored now: retry", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(super) async fn cancel(id: web::Path<i64>, state: web::Data<AppState>) -> HttpResponse {
    match cancel_sync(&state, SyncId(*id)).await {
        Ok(()) => answer(brief(&state, SyncId(*id)).await),
        Err(response) => response,
    }
}

/// Cancels a sync, after the worker that has it in hand, if one has.
pub(super) async fn cancel_sync(state: &AppState, id: SyncId) -> Result<(), HttpResponse> {
    let mut waited = Duration::ZERO;
    loop {
        // Waited for to its end: a cancellation that is given up may be carried out all the same.
        match state.store.cancel(id).await? {
            CancelResult::Done => {
                tracing::info!(sync_id = %id, "sync {id}: cancelled by the operator");
                return Ok(());
            }
            CancelResult::Busy if waited < CANCEL_WAIT => {
                tokio::time::sleep(POLL_INTERVAL).await;
                waited += POLL_INTERVAL;
            }
            CancelResult::Busy => {
                return Err(problem::answer(409, "The sync is in a call at this moment. Retry."));
            }
            CancelResult::Ended => {
                return Err(problem::answer(
                    409,
                    "The sync has finished: there is nothing to cancel.",
                ));
            }
            CancelResult::Missing => return Err(missing()),
        }
    }
}

/// Lists the reasons of the failures that are not dismissed, each with the number of leads.
#[utoipa::path(get, path = "/api/failures", tag = "syncs", responses(
    (status = 200, description = "The fifty most frequent", body = Failures),
))]
pub(super) async fn failures(state: web::Data<AppState>) -> HttpResponse {
    let failures = state.store.failure_groups(MAX_REASONS).await;
    answer(failures.map(|failures| Failures { failures }))
}

/// Whether the operator has paused sending.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Paused {
    /// Since when; none while sending is not paused.
    pub(super) paused_since: Option<Timestamp>,
    /// The remote services that are unavailable; left out if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(super) unavailable: Vec<OpenBreaker>,
}

/// Pauses sending: webhooks are stored, nothing is sent until it is resumed, and no attempt is counted.
#[utoipa::path(post, path = "/api/pause", tag = "service", responses(
    (status = 200, description = "Sending is paused", body = Paused),
    (status = 503, description = "Nothing can be stored now: retry", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(super) async fn pause(state: web::Data<AppState>) -> HttpResponse {
    answer(set_paused(&state, true).await)
}

/// Resumes sending.
#[utoipa::path(post, path = "/api/resume", tag = "service", responses(
    (status = 200, description = "Sending is resumed", body = Paused),
    (status = 503, description = "Nothing can be stored now: retry", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(super) async fn resume(state: web::Data<AppState>) -> HttpResponse {
    answer(set_paused(&state, false).await)
}

/// Pauses or resumes sending.
pub(super) async fn set_paused(state: &AppState, paused: bool) -> Result<Paused, HttpResponse> {
    let set = async {
        state.store.set_paused(paused).await?;
        state.store.paused_since().await
    };
    let paused_since = set.await?;
    let what = if paused { "paused" } else { "resumed" };
    tracing::warn!("sending {what} by the operator");
    Ok(Paused {
        paused_since,
        unavailable: unavailable(state).await,
    })
}
