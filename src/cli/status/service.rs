//! A screenful on the service as a whole.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Seen, span};
use crate::cli::api::{Api, ApiError, FailureGroup, Failures, PATIENCE, Page, Readiness, SyncJob, plain};
use crate::cli::progress::leads;
use crate::clock::until;
use crate::domain::failure::Remote;
use crate::domain::problem::Problem;

/// Reasons that are shown; `send --failed --dry-run` shows them all.
const MOST_REASONS: usize = 5;

/// What is shown of the answer of `/api/health`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Health {
    at: Timestamp,
    in_progress: BTreeMap<String, u64>,
    oldest_waiting: Option<Waiting>,
    failed_leads: u64,
    last_hour: Ended,
    last_day: Ended,
    credits_used: u64,
    token: Token,
    balances: bool,
    breakers: Vec<Breaker>,
    webhooks: Webhooks,
}

#[derive(Deserialize)]
struct Breaker {
    remote: String,
    until: Timestamp,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Webhooks {
    last_received_at: Option<Timestamp>,
    rejected: u64,
    missed: u64,
    problem: Option<Problem>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Waiting {
    lead_id: String,
    state: String,
    seconds: u64,
}

#[derive(Deserialize)]
struct Ended {
    sent: u64,
    failed: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    age_seconds: Option<u64>,
}

/// Looks how the service fares.
pub(super) async fn look(api: &Api) -> Result<Seen, ApiError> {
    // The one that needs the token comes first: whoever has none is not to think that all is well.
    let whole = api.get::<Value>("/api/health").await;
    let readiness = api.readiness(PATIENCE).await?;
    let whole = match whole {
        // Where the database is away, what is in trouble is all there is to say.
        Err(_) if readiness.status == "unavailable" => return Ok(unavailable(api, &readiness)),
        whole => whole?,
    };
    let health = Health::deserialize(&whole).map_err(|_| api.not_this_service())?;
    let Failures { failures } = api.get("/api/failures").await?;
    let sent: Page = api.find("/api/syncs", &[("state", "sent"), ("limit", "1")]).await?;
    let last_sent = sent.syncs.into_iter().next();

    let needs = needs(&readiness, &health);
    let mut lines = vec![
        format!("bigin-sync at {}, {}", api.url, moment(health.at)),
        String::new(),
    ];
    match needs.as_slice() {
        [] => lines.push("  All is well.".to_owned()),
        needs => {
            lines.push("  Needs attention:".to_owned());
            lines.extend(needs.iter().map(|need| format!("  - {}", plain(need))));
        }
    }
    lines.push(String::new());
    lines.extend(numbers(&health, last_sent.as_ref()));
    lines.extend(reasons(health.failed_leads, &failures));
    Ok(Seen {
        text: lines.join("\n") + "\n",
        well: needs.is_empty(),
        body: json!({
            "well": needs.is_empty(),
            "needs": needs,
            "readiness": readiness,
            "health": whole,
            "failures": failures,
            "lastSent": last_sent,
        }),
    })
}

fn unavailable(api: &Api, readiness: &Readiness) -> Seen {
    let troubles = readiness
        .degraded
        .iter()
        .map(|trouble| format!("  - {}\n", plain(&trouble.to_string())));
    let troubles: String = troubles.collect();
    Seen {
        text: format!(
            "bigin-sync at {}\n\n  NOT READY: webhooks cannot be stored.\n{troubles}",
            api.url
        ),
        body: json!({ "well": false, "needs": readiness.degraded, "readiness": readiness }),
        well: false,
    }
}

/// What a person has to do, a sentence each.
fn needs(readiness: &Readiness, health: &Health) -> Vec<String> {
    let mut needs = Vec::new();
    if readiness.status == "unavailable" {
        needs.push("NOT READY: webhooks cannot be stored".to_owned());
    }
    needs.extend(readiness.degraded.iter().map(ToString::to_string));
    for breaker in &health.breakers {
        let service = Remote::from_label(&breaker.remote).map_or(breaker.remote.as_str(), |remote| remote.label());
        let until = breaker.until.strftime("%H:%M:%S UTC");
        needs.push(format!(
            "{service} is unavailable: next attempt at {until}; `bigin-sync check {service}` retries it now"
        ));
    }
    needs.extend(health.webhooks.problem.as_ref().map(ToString::to_string));
    if health.failed_leads > 0 {
        let all = leads(health.failed_leads);
        needs.push(format!(
            "{all} failed: fix the causes below, then run `bigin-sync send --failed`"
        ));
    }
    if !health.balances {
        needs.push("the ledger does not balance, which is a fault of this program: please report it".to_owned());
    }
    needs
}

fn numbers(health: &Health, last_sent: Option<&SyncJob>) -> Vec<String> {
    let (hour, day) = (&health.last_hour, &health.last_day);
    let mut states = Vec::new();
    for state in ["requested", "upserted", "tagged", "rejected"] {
        let count = health.in_progress.get(state).copied().unwrap_or(0);
        if count > 0 {
            states.push(format!("{count} {state}"));
        }
    }
    let in_progress = match states.as_slice() {
        [] => "nothing".to_owned(),
        states => states.join(", "),
    };
    let oldest = match &health.oldest_waiting {
        None => "none".to_owned(),
        Some(waiting) => {
            format!(
                "{}, {}, for {}",
                plain(&waiting.lead_id),
                plain(&waiting.state),
                span(waiting.seconds)
            )
        }
    };
    let last_sent = match last_sent {
        None => "none that is known".to_owned(),
        Some(sync) => {
            let at = sync.finished_at.unwrap_or(sync.changed_at);
            format!("{}, {} ago", plain(&sync.lead_id), span(until(at, health.at).as_secs()))
        }
    };
    let token = match health.token.age_seconds {
        None => "none granted in the last day".to_owned(),
        Some(age) => format!("granted {} ago", span(age)),
    };
    let webhooks = &health.webhooks;
    let received = match webhooks.last_received_at {
        None => "none received yet".to_owned(),
        Some(at) => format!("last received {} ago", span(until(at, health.at).as_secs())),
    };
    let faults = [(webhooks.rejected, "rejected"), (webhooks.missed, "missed")];
    let faults = faults.into_iter().filter(|(count, _)| *count > 0);
    let faults: String = faults.map(|(count, what)| format!(", {count} {what}")).collect();
    let rows = [
        ("Webhooks", received + &faults),
        ("In progress", in_progress),
        ("Longest wait", oldest),
        ("Last sent", last_sent),
        ("Last hour", format!("{} sent, {} failed", hour.sent, hour.failed)),
        ("Last 24 hours", format!("{} sent, {} failed", day.sent, day.failed)),
        (
            "Bigin credits",
            format!("about {} in the last 24 hours", health.credits_used),
        ),
        ("Access token", token),
    ];
    rows.map(|(name, text)| format!("  {name:<15}{text}")).into()
}

fn reasons(failed: u64, failures: &[FailureGroup]) -> Vec<String> {
    if failed == 0 {
        return Vec::new();
    }
    let shown = failures.iter().take(MOST_REASONS);
    let listed: u64 = shown.clone().map(|group| group.leads).sum();
    let mut lines = vec![String::new(), format!("  {} failed:", leads(failed))];
    lines.extend(shown.map(|group| format!("  {:>6}  {}", group.leads, plain(&group.reason))));
    if failed > listed {
        lines.push(format!("  {:>6}  other reasons", failed - listed));
    }
    lines
}

fn moment(at: Timestamp) -> String {
    at.strftime("%-d %b %Y, %H:%M:%S UTC").to_string()
}
