//! What the buttons do: what the API does, and then the page that shows what has become of it.

use actix_web::web;
use serde::Deserialize;

use super::flash::Did;
use super::{Answer, see};
use crate::domain::failure::Remote;
use crate::domain::sync::SyncId;
use crate::http::check::check_now;
use crate::http::{AppState, operator, problem};

/// Which failed leads, and where the button was.
#[derive(Deserialize)]
pub(super) struct RetryForm {
    /// Those that failed for this reason; all of them only where that is said.
    reason: Option<String>,
    /// All of them.
    #[serde(default)]
    all: bool,
}

/// Whether the button was the one beside a warning.
#[derive(Deserialize)]
pub(super) struct ForceForm {
    #[serde(default)]
    force: bool,
}

/// Retries a sync, and shows the sync that carries it out, or that an editor has changed the lead's `crmStatus`.
pub(super) async fn retry(id: web::Path<i64>, form: web::Form<ForceForm>, state: web::Data<AppState>) -> Answer {
    let retry = operator::retry_sync(&state, SyncId(*id), form.force).await?;
    let did = if retry.is_withdrawn { Did::Withdrawn } else { Did::Retry };
    Ok(see(&format!("/syncs/{}?{}", retry.sync, did.query())))
}

/// Dismisses a failure.
pub(super) async fn dismiss(id: web::Path<i64>, state: web::Data<AppState>) -> Answer {
    operator::dismiss_failure(&state, SyncId(*id)).await?;
    Ok(see(&format!("/syncs/{id}?{}", Did::Dismiss.query())))
}

/// Checks a service now, and shows what comes of it.
pub(super) async fn check(remote: web::Path<String>, form: web::Form<ForceForm>, state: web::Data<AppState>) -> Answer {
    let remote = Remote::from_label(&remote).ok_or_else(|| {
        problem::answer(
            404,
            "There is no such remote service: there are zoho_accounts, bigin and sanity.",
        )
    })?;
    let did = match &*check_now(&state, remote, form.force).await?.state {
        "reachable" => Did::CheckedReachable,
        "unavailable" => Did::CheckedUnavailable,
        _ => Did::Check,
    };
    Ok(see(&format!("/?{}", did.query())))
}

/// Tries the failed leads of a reason again, or all of them.
pub(super) async fn retry_failed(form: web::Form<RetryForm>, state: web::Data<AppState>) -> Answer {
    let RetryForm { reason, all } = form.into_inner();
    if reason.is_some() == all {
        return Err(problem::answer(
            400,
            "The form names no reason. Nothing was done: go back and try again.",
        )
        .into());
    }
    let count = operator::retry_failed_leads(&state, reason.as_deref()).await?;
    Ok(see(&format!("/failures?{}&count={count}", Did::RetryAll.query())))
}

/// Cancels a sync.
pub(super) async fn cancel(id: web::Path<i64>, state: web::Data<AppState>) -> Answer {
    operator::cancel_sync(&state, SyncId(*id)).await?;
    Ok(see(&format!("/syncs/{id}?{}", Did::Cancel.query())))
}

/// Pauses all work.
pub(super) async fn pause(state: web::Data<AppState>) -> Answer {
    operator::set_paused(&state, true).await?;
    Ok(see(&format!("/?{}", Did::Pause.query())))
}

/// Lets the work go on.
pub(super) async fn resume(state: web::Data<AppState>) -> Answer {
    operator::set_paused(&state, false).await?;
    Ok(see(&format!("/?{}", Did::Resume.query())))
}
