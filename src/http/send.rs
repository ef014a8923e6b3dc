//! The plan's route: asks for a sync and waits for its end, as the button of the plan's dashboard does.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde_json::json;
use tokio::sync::broadcast;

use super::api::{OpenBody, request};
use super::{State, problem};
use crate::domain::state::State as SyncState;
use crate::domain::sync::SyncId;
use crate::store::{Change, SyncView};

/// A change may be missed by a slow watcher, so the sync is looked at this often all the same.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

pub(super) async fn send_to_bigin(body: web::Json<OpenBody>, state: web::Data<State>) -> HttpResponse {
    // Watched before it is asked for, so that no change falls in between.
    let mut changes = state.store.changes();
    let id = match request(&state, &body.lead_id).await {
        Ok(id) => id,
        Err(response) => return response,
    };
    let mut stopping = state.stopping.subscribe();
    let end = tokio::select! {
        end = wait_for_end(&state, id, &mut changes) => Some(end),
        () = tokio::time::sleep(state.send_wait) => None,
        // The lead goes on after the restart; only this connection cannot.
        _ = stopping.wait_for(|stopping| *stopping) => None,
    };
    match end {
        Some(Ok(state)) => ended(&state),
        Some(Err(response)) => response,
        None => HttpResponse::Accepted().json(json!({
            "success": false,
            "error": "still being sent",
            "message": "The lead is still being sent; its crmStatus will say how it ended.",
            "sync": id,
        })),
    }
}

async fn wait_for_end(
    state: &State,
    id: SyncId,
    changes: &mut broadcast::Receiver<Change>,
) -> Result<SyncState, HttpResponse> {
    loop {
        match state.store.sync(id).await {
            Ok(Some((SyncView { sync, .. }, _))) if sync.state.is_final() => return Ok(sync.state),
            Ok(Some(_)) => {}
            Ok(None) => return Err(problem::answer(404, "The sync has been forgotten.")),
            Err(error) => return Err(problem::unavailable(&error)),
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
        let _ = tokio::time::timeout(LOOK_AGAIN, ours).await;
    }
}

fn ended(state: &SyncState) -> HttpResponse {
    match state {
        SyncState::Sent { delivered, .. } => HttpResponse::Ok().json(json!({
            "success": true,
            "contactId": delivered.contact,
            "action": delivered.action.label(),
            "message": format!("Contact {} and tagged in Bigin", past_tense(delivered.action.label())),
        })),
        SyncState::Failed { reason, .. } => problem::answer(422, reason),
        SyncState::LeadDeleted => problem::answer(404, "There is no published lead with this id."),
        SyncState::Cancelled { by } => problem::answer(409, &format!("The sync was cancelled by {}.", by.label())),
        _ => problem::answer(500, "The sync has not ended."),
    }
}

fn past_tense(action: &str) -> &'static str {
    if action == "insert" { "inserted" } else { "updated" }
}
