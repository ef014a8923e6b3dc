//! Whether the process lives, whether it can take webhooks, and which of its parts are in trouble. Open to everybody, so
//! without any id, person or secret.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{State, health};
use crate::domain::breaker::Open;
use crate::domain::failure::Remote;
use crate::store::StoreError;

/// Whether webhooks can be stored, and what is in trouble.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Readiness {
    /// ready; degraded, where a part is in trouble; or unavailable, where webhooks cannot be stored.
    #[schema(value_type = String)]
    status: &'static str,
    /// A sentence for each part in trouble: what is wrong, and what to do.
    degraded: Vec<String>,
}

/// Says that the process lives.
#[utoipa::path(get, path = "/livez", tag = "service", security(()), responses(
    (status = 200, description = "It lives", body = serde_json::Value),
))]
pub(super) async fn livez() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "alive" }))
}

/// Says whether webhooks can be stored, and which parts are in trouble.
///
/// 503 only where they cannot be: with a remote service in trouble they still are, and must keep coming.
#[utoipa::path(get, path = "/readyz", tag = "service", security(()), responses(
    (status = 200, description = "Webhooks are stored; a part may be in trouble all the same", body = Readiness),
    (status = 503, description = "Webhooks cannot be stored now", body = Readiness),
))]
pub(super) async fn readyz(state: web::Data<State>) -> HttpResponse {
    let mut degraded = Vec::new();
    let stored = state.store.check().await;
    if let Err(error) = &stored {
        degraded.push(format!("store: {}", without_path(error)));
    }
    // Not the whole overview: anybody may ask, as often as they like.
    let read = tokio::try_join!(state.store.paused_since(), state.store.open_breakers());
    if let Ok((paused_since, breakers)) = read {
        degraded.extend(health::troubles(paused_since, &breakers));
    }
    let restarts = state.metrics.worker_restarts.get();
    if restarts > 0 {
        degraded.push(format!(
            "workers: started again {restarts} times since the process began; the log says why"
        ));
    }
    let status = match (&stored, degraded.is_empty()) {
        (Err(_), _) => "unavailable",
        (Ok(()), false) => "degraded",
        (Ok(()), true) => "ready",
    };
    let body = Readiness { status, degraded };
    if stored.is_ok() {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().json(body)
    }
}

/// `bigin: refresh token rejected (invalid_code); run …`: the part as people know it, what is wrong, and what to do.
pub(super) fn trouble(remote: Remote, open: &Open) -> String {
    // Access tokens are Bigin's too, to everybody but us.
    let part = match remote {
        Remote::Token | Remote::Bigin => "bigin",
        Remote::Sanity => "sanity",
    };
    let code = format!(" ({})", open.code);
    match open.message.split_once("; ") {
        Some((what, to_do)) => format!("{part}: {what}{code}; {to_do}"),
        // Some messages end with it already.
        None => format!("{part}: {}{code}", open.message.trim_end_matches(&code)),
    }
}

/// The kind of trouble; what the database says in detail is for the log.
fn without_path(error: &StoreError) -> &'static str {
    match error {
        StoreError::Busy => "the queue of writes is full",
        StoreError::Stopping => "it is stopping",
        StoreError::DiskFull(_) => "the disk is full or cannot be written to",
        StoreError::Failed(_) => "the database failed",
    }
}
