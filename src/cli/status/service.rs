//! The state of the service as a whole, on one screen.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::Report;
use crate::api_types::{Ended, Failures, Health, Page, Readiness, SyncJson};
use crate::cli::api::{Api, ApiError, REQUEST_TIMEOUT};
use crate::cli::progress::{counts_text, state_name};
use crate::cli::text::{count, date_time, duration, plain};
use crate::clock::until;
use crate::domain::failure::Remote;
use crate::store::FailureGroup;

/// `send --failed --dry-run` shows all of them.
const MAX_REASONS: usize = 5;

pub(super) async fn report(api: &Api) -> Result<Report, ApiError> {
    // First the call that needs the token: without it, a missing token would look like a service without problems.
    let body = api.get::<Value>("/api/health").await;
    let readiness = api.readiness(REQUEST_TIMEOUT).await?;
    let body = match body {
        // Without the database only the readiness is known.
        Err(_) if readiness.status == "unavailable" => return Ok(unavailable(api, &readiness)),
        body => body?,
    };
    let health = Health::deserialize(&body).map_err(|_| api.not_bigin_sync(None))?;
    let Failures { failures } = api.get("/api/failures").await?;
    let sent: Page = api.get_with("/api/syncs", &[("state", "sent"), ("limit", "1")]).await?;
    let last_sent = sent.syncs.into_iter().next();

    let needs = needs(&readiness, &health);
    let ok = needs.is_empty();
    let mut lines = vec![
        format!("bigin-sync at {}, {}", api.url, date_time(health.at)),
        String::new(),
    ];
    if ok {
        lines.push("  Everything is working.".to_owned());
    } else {
        lines.push("  Needs attention:".to_owned());
        lines.extend(needs.iter().map(|need| format!("  - {}", plain(need))));
    }
    lines.push(String::new());
    lines.extend(numbers(&health, last_sent.as_ref()));
    lines.extend(reasons(health.failed_leads, &failures));
    Ok(Report {
        text: lines.join("\n") + "\n",
        ok,
        body: json!({
            "ok": ok,
            "needs": needs,
            "readiness": readiness,
            "health": body,
            "failures": failures,
            "lastSent": last_sent,
        }),
    })
}

fn unavailable(api: &Api, readiness: &Readiness) -> Report {
    let problems = readiness
        .degraded
        .iter()
        .map(|problem| format!("  - {}\n", plain(&problem.to_string())));
    let problems: String = problems.collect();
    Report {
        text: format!(
            "bigin-sync at {}\n\n  NOT READY: webhooks cannot be stored.\n{problems}",
            api.url
        ),
        body: json!({ "ok": false, "needs": readiness.degraded, "readiness": readiness }),
        ok: false,
    }
}

/// What the operator must act on, a sentence each.
fn needs(readiness: &Readiness, health: &Health) -> Vec<String> {
    let mut needs = Vec::new();
    if readiness.status == "unavailable" {
        needs.push("NOT READY: webhooks cannot be stored".to_owned());
    }
    needs.extend(readiness.degraded.iter().map(ToString::to_string));
    for breaker in &health.breakers {
        let service = Remote::from_label(&breaker.remote).map_or(&*breaker.remote, |remote| remote.label());
        let until = breaker.until.strftime("%H:%M:%S UTC");
        needs.push(format!(
            "{service} is unavailable: next attempt at {until}; `bigin-sync check {service}` retries it now"
        ));
    }
    needs.extend(health.webhooks.problem.as_ref().map(ToString::to_string));
    if health.failed_leads > 0 {
        let leads = count(health.failed_leads, "lead");
        needs.push(format!(
            "{leads} failed: fix the causes below, then run `bigin-sync send --failed`"
        ));
    }
    if !health.balances {
        needs.push("the ledger does not balance: this is a bug, please report it".to_owned());
    }
    needs
}

fn numbers(health: &Health, last_sent: Option<&SyncJson>) -> Vec<String> {
    let or = |text: Option<String>, other: &str| text.unwrap_or_else(|| other.to_owned());
    let ago = |at: Timestamp| format!("{} ago", duration(until(at, health.at)));
    let seconds = |seconds: u64| duration(Duration::from_secs(seconds));
    let finished = |Ended { sent, failed }: &Ended| format!("{sent} sent, {failed} failed");

    let in_progress = counts_text(|state| health.in_progress.get(state).copied().unwrap_or(0));
    let oldest = health.oldest_waiting.as_ref().map(|waiting| {
        let (lead, state) = (plain(waiting.lead_id.as_str()), state_name(&waiting.state));
        format!("{lead}, {state}, for {}", seconds(waiting.seconds))
    });
    let last_sent = last_sent.map(|sync| {
        let at = sync.finished_at.unwrap_or(sync.changed_at);
        format!("{}, {}", plain(sync.lead_id.as_str()), ago(at))
    });
    let token = health
        .token
        .age_seconds
        .map(|age| format!("granted {} ago", seconds(age)));
    let webhooks = &health.webhooks;
    let received = webhooks.last_received_at.map(|at| format!("last received {}", ago(at)));
    let faults = [(webhooks.rejected, "rejected"), (webhooks.missed, "missed")];
    let faults = faults.into_iter().filter(|(count, _)| *count > 0);
    let faults: String = faults.map(|(count, what)| format!(", {count} {what}")).collect();
    let rows = [
        ("Webhooks", or(received, "none received yet") + &faults),
        (
            "In progress",
            or(Some(in_progress).filter(|text| !text.is_empty()), "none"),
        ),
        ("Longest wait", or(oldest, "none")),
        ("Last sent", or(last_sent, "none")),
        ("Last hour", finished(&health.last_hour)),
        ("Last 24 hours", finished(&health.last_day)),
        (
            "Bigin credits",
            format!("about {} in the last 24 hours", health.credits_used),
        ),
        ("Access token", or(token, "none granted in the last 24 hours")),
    ];
    rows.map(|(name, text)| format!("  {name:<15}{text}")).into()
}

fn reasons(failed: u64, failures: &[FailureGroup]) -> Vec<String> {
    if failed == 0 {
        return Vec::new();
    }
    let shown = failures.iter().take(MAX_REASONS);
    let listed: u64 = shown.clone().map(|group| group.leads).sum();
    let mut lines = vec![String::new(), format!("  {} failed:", count(failed, "lead"))];
    lines.extend(shown.map(|group| format!("  {:>6}  {}", group.leads, plain(&group.reason))));
    if failed > listed {
        lines.push(format!("  {:>6}  other reasons", failed - listed));
    }
    lines
}
