//! The route that sends a lead and waits for the result, `POST /api/send-to-bigin`.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde::Serialize;
use tokio::sync::broadcast;
use utoipa::ToSchema;

use super::AppState;
use super::api::{LeadToSend, request};
use super::problem::{self, ProblemDetails};
use crate::domain::state::State as SyncState;
use crate::domain::sync::SyncId;
use crate::store::{Change, SyncView};

/// A change may be missed by a slow watcher, so the sync is looked at this often all the same.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The lead is in Bigin, and says so.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct InBigin {
    /// true.
    success: bool,
    contact_id: String,
    /// insert or update.
    #[schema(value_type = String)]
    action: &'static str,
    message: String,
}

/// The wait has ended before the sync.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StillSending {
    /// false.
    success: bool,
    #[schema(value_type = String)]
    error: &'static str,
    #[schema(value_type = String)]
    message: &'static str,
    /// The sync, to look at later.
    #[schema(value_type = i64)]
    sync: SyncId,
}

/// Sends a lead and waits up to SEND_WAIT for the result.
#[utoipa::path(post, path = "/api/send-to-bigin", tag = "syncs", request_body = LeadToSend, responses(
    (status = 200, description = "The lead is in Bigin", body = InBigin),
    (status = 202, description = "The wait (SEND_WAIT) has ended; the sync is still in progress", body = StillSending),
    (status = 400, description = "There is no id of a lead in it", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 404, description = "There is no published lead with this id", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 409, description = "The sync was cancelled", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 422, description = "Bigin rejected the lead: the detail says why", body = ProblemDetails, content_type = "application/problem+json"),
    (status = 503, description = "Nothing can be stored now: retry", body = ProblemDetails, content_type = "application/problem+json"),
))]
pub(super) async fn send_to_bigin(body: web::Json<LeadToSend>, state: web::Data<AppState>) -> HttpResponse {
    // Watched before it is asked for, so that no change falls in between.
    let mut changes = state.store.changes();
    let id = match request(&state, &body.lead_id).await {
        Ok(id) => id,
        Err(response) => return response,
    };
    let mut stopping = state.stopping.subscribe();
    let end = tokio::select! {
        biased;
        end = wait_for_end(&state, id, &mut changes) => Some(end),
        () = tokio::time::sleep(state.send_wait) => None,
        // The lead goes on after the restart; only this connection cannot.
        _ = stopping.wait_for(|stopping| *stopping) => None,
    };
    match end {
        Some(Ok(state)) => ended(&state),
        Some(Err(response)) => response,
        None => HttpResponse::Accepted().json(StillSending {
            success: false,
            error: "still being sent",
            message: "The lead is still being sent; its crmStatus will say how it ended.",
            sync: id,
        }),
    }
}

async fn wait_for_end(
    state: &AppState,
    id: SyncId,
    changes: &mut broadcast::Receiver<Change>,
) -> Result<SyncState, HttpResponse> {
    loop {
        match state.store.sync(id).await? {
            Some((SyncView { sync, .. }, _)) if sync.state.is_final() => return Ok(sync.state),
            Some(_) => {}
            None => return Err(problem::answer(404, "The sync has been forgotten.")),
        }
        let ours = async {
            loop {
                match changes.recv().await {
                    Ok(change) if change.sync != id => {}
                    // Ours, or some were missed.
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
                    Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
                }
            }
        };
        // Elapsed or not, the sync is looked at again.
        let _ = tokio::time::timeout(POLL_INTERVAL, ours).await;
    }
}

fn ended(state: &SyncState) -> HttpResponse {
    match state {
        SyncState::Sent { delivered, .. } => HttpResponse::Ok().json(InBigin {
            success: true,
            contact_id: delivered.contact.to_string(),
            action: delivered.action.label(),
            // The original plan's words.
            message: format!(
                "Contact {} successfully and tagged in Bigin",
                past_tense(delivered.action.label())
            ),
        }),
        SyncState::Failed { reason, .. } => problem::answer(422, &reason.to_string()),
        SyncState::LeadDeleted => problem::answer(404, "There is no published lead with this id."),
        SyncState::Cancelled { by } => problem::answer(409, &format!("The sync was cancelled by {}.", by.label())),
        _ => problem::answer(500, "The sync has not ended."),
    }
}

fn past_tense(action: &str) -> &'static str {
    if action == "insert" { "inserted" } else { "updated" }
}
