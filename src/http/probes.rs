//! Whether the process lives, whether it can take webhooks, and which of its parts are in trouble. Open to everybody, so
//! without any id, person or secret.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::{AppState, health};
use crate::api_types::Readiness;
use crate::domain::problem::Problem;
use crate::store::StoreError;

/// Liveness: the process answers.
#[utoipa::path(get, path = "/livez", tag = "service", security(()), responses(
    (status = 200, description = "The process is alive", body = serde_json::Value),
))]
pub(super) async fn livez() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "alive" }))
}

/// Readiness: whether webhooks can be stored, and all problems.
///
/// 503 only if they cannot be stored: while a remote service is unavailable they still are, and must keep coming.
#[utoipa::path(get, path = "/readyz", tag = "service", security(()), responses(
    (status = 200, description = "Webhooks can be stored; `degraded` lists other problems", body = Readiness),
    (status = 503, description = "Webhooks cannot be stored now", body = Readiness),
))]
pub(super) async fn readyz(state: web::Data<AppState>) -> HttpResponse {
    let mut degraded = Vec::new();
    let stored = state.store.check().await;
    if let Err(error) = &stored {
        degraded.push(of_store(error));
    }
    // Not the whole overview: anybody may ask, as often as they like.
    let read = tokio::try_join!(state.store.paused_since(), state.store.open_breakers());
    if let Ok((paused_since, breakers)) = read {
        degraded.extend(health::problems(paused_since, &breakers));
    }
    let restarts = state.metrics.worker_restarts.get();
    if restarts > 0 {
        degraded.push(Problem::new(
            "workers",
            "restarted",
            format!("workers were restarted {restarts} times since the process started"),
            "read the log: it has the reason of each restart",
        ));
    }
    let status = match (&stored, degraded.is_empty()) {
        (Err(_), _) => "unavailable".into(),
        (Ok(()), false) => "degraded".into(),
        (Ok(()), true) => "ready".into(),
    };
    let body = Readiness { status, degraded };
    if stored.is_ok() {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().json(body)
    }
}

/// What the database says in detail is for the log.
fn of_store(error: &StoreError) -> Problem {
    let (code, what, action) = match error {
        StoreError::Busy => (
            "busy",
            "the queue of writes is full",
            "no action needed at first: it empties by itself",
        ),
        StoreError::Stopping => ("stopping", "the service is stopping", "start it again"),
        StoreError::DiskFull(_) => (
            "disk_full",
            "the disk is full or cannot be written to",
            "free space where DATABASE_URL points to",
        ),
        StoreError::Failed(_) => (
            "failed",
            "the database failed",
            "read the log: it has the database's error",
        ),
    };
    Problem::new("store", code, what, action)
}
