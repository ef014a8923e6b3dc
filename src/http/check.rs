//! The operator has fixed something and checks the remote service now, instead of at the next automatic attempt.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;

use super::health::open;
use super::problem::{self, ProblemDetails};
use super::{AppState, answer};
use crate::api_types::Checked;
use crate::domain::breaker::Breaker;
use crate::domain::failure::Remote;
use crate::store::CheckResult;

/// How long an answer waits for the end of the check; a call may take longer.
const CHECK_WAIT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How a check is wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CheckQuery {
    /// Check Zoho Accounts even while it is rate limiting, which restarts its ten minutes.
    #[serde(default)]
    pub(super) force: bool,
}

/// Checks an unavailable remote service now: one call is made, and if it succeeds, sending continues.
///
/// If the call fails, the circuit breaker stays open. A remote service that is reachable is not called.
#[utoipa::path(post, path = "/api/services/{remote}/check", tag = "service",
    params(("remote" = String, Path, pattern = "^(zoho_accounts|bigin|sanity)$", description = "zoho_accounts, bigin or sanity"), CheckQuery),
    responses(
        (status = 200, description = "The result of the check", body = Checked),
        (status = 400, description = "A parameter is invalid", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is no such remote service", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "Sending is paused, or an early call would do harm: the detail says which", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Nothing can be stored now: retry", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(super) async fn check(
    remote: web::Path<String>,
    query: web::Query<CheckQuery>,
    state: web::Data<AppState>,
) -> HttpResponse {
    let Some(remote) = Remote::from_label(&remote) else {
        return problem::answer(
            404,
            "There is no such remote service: there are zoho_accounts, bigin and sanity.",
        );
    };
    answer(check_now(&state, remote, query.force).await)
}

/// Has a service checked, and waits a moment for what comes of it.
pub(super) async fn check_now(state: &AppState, remote: Remote, force: bool) -> Result<Checked, HttpResponse> {
    let before = state.store.breaker(remote).await?;
    let epoch = before.epoch;
    let Some(open) = open(before) else {
        return Ok(reachable(remote));
    };
    if state.store.paused_since().await?.is_some() {
        return Err(problem::answer(
            409,
            "Sending is paused, so nothing is called: resume first.",
        ));
    }
    let now = state.store.now().await?;
    if open.is_rate_limited && open.until > now && !force {
        return Err(problem::answer(409, &risk(open.until)));
    }
    let checking = state.store.check_now(remote).await?;
    tracing::info!(
        remote = remote.label(),
        "checking {} now (requested by the operator)",
        remote.name()
    );
    match checking {
        CheckResult::Closed => return Ok(reachable(remote)),
        CheckResult::Idle => state.idle_check.notify_one(),
        CheckResult::Probe => {}
    }
    match tokio::time::timeout(CHECK_WAIT.min(state.send_wait), ended(state, remote, epoch)).await {
        Ok(breaker) => Ok(match self::open(breaker?) {
            None => reachable(remote),
            still => Checked {
                remote: remote.label().into(),
                state: "unavailable".into(),
                unavailable: still,
            },
        }),
        Err(_) => Ok(Checked {
            remote: remote.label().into(),
            state: "checking".into(),
            unavailable: Some(open),
        }),
    }
}

/// Waits until something has come of a call that began in this epoch, and returns the breaker.
async fn ended(state: &AppState, remote: Remote, epoch: i64) -> Result<Breaker, HttpResponse> {
    loop {
        let breaker = state.store.breaker(remote).await?;
        if breaker.epoch != epoch {
            return Ok(breaker);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn reachable(remote: Remote) -> Checked {
    Checked {
        remote: remote.label().into(),
        state: "reachable".into(),
        unavailable: None,
    }
}

/// Why a rate-limited token endpoint is not asked early.
fn risk(until: Timestamp) -> String {
    let until = until.strftime("%H:%M:%S UTC");
    format!(
        "Zoho Accounts is rate limiting token requests. It requires ten minutes without any; an earlier request restarts them. The next \
         automatic attempt is at {until}. To check now at that risk: ?force=true, or `bigin-sync check zoho_accounts --force`."
    )
}
