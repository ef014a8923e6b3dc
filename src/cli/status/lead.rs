//! The state and history of one lead.

use serde::Deserialize as _;
use serde_json::{Value, json};

use super::Report;
use crate::api_types::{Page, SyncJson};
use crate::cli::api::{Api, ApiError, REQUEST_TIMEOUT};
use crate::cli::progress::state_text;
use crate::cli::text::{count, date_time, plain};
use crate::domain::lead::LeadId;
use crate::store::SyncEvent;

pub(super) async fn report(api: &Api, lead: &LeadId) -> Result<Report, ApiError> {
    let query = [("lead", lead.as_str()), ("limit", "200")];
    let page: Page = api.get_with("/api/syncs", &query).await?;
    let Some(newest) = page.syncs.first() else {
        return Ok(unknown(lead));
    };
    let body: Value = api.get(&format!("/api/syncs/{}", newest.id)).await?;
    let sync = SyncJson::deserialize(&body).map_err(|_| api.not_bigin_sync(None))?;
    let problems = match sync.is_finished() {
        true => Vec::new(),
        false => api.readiness(REQUEST_TIMEOUT).await?.degraded,
    };
    let ok = match sync.is_finished() {
        true => sync.state == "sent",
        false => problems.is_empty(),
    };

    let mut lines = vec![format!("{lead}: {}", state_text(&sync)), String::new()];
    lines.extend(
        problems
            .iter()
            .map(|problem| row("Problem", &plain(&problem.to_string()))),
    );
    lines.extend(facts(&sync));
    lines.push(String::new());
    lines.extend(sync.events.iter().flatten().map(line));
    if page.syncs.len() > 1 {
        let more = if page.next.is_some() { "More than " } else { "" };
        lines.push(format!("\n  {more}{}.", count(page.syncs.len() - 1, "earlier sync")));
    }
    Ok(Report {
        text: lines.join("\n") + "\n",
        ok,
        body: json!({ "well": ok, "needs": problems, "sync": body }),
    })
}

fn unknown(lead: &LeadId) -> Report {
    Report {
        text: format!(
            "{lead}: no sync found. The lead was never requested, or its syncs were deleted after the retention period (RETENTION).\n\n  \
             To send it, run `bigin-sync send {lead}`, or publish it with crmStatus REQUESTED.\n"
        ),
        body: json!({ "well": false, "sync": null }),
        ok: false,
    }
}

fn facts(sync: &SyncJson) -> impl Iterator<Item = String> {
    let contact = sync.contact_id.as_deref().map(|contact| match sync.action.as_deref() {
        Some("insert") => format!("{}, created by this sync", plain(contact)),
        Some("update") => format!("{}, updated by this sync", plain(contact)),
        _ => plain(contact),
    });
    let attempts = (sync.attempts > 0).then(|| {
        let last = plain(sync.last_error.as_deref().unwrap_or("no reason given"));
        format!("{} failed in a row. Last error: {last}", sync.attempts)
    });
    let facts = [
        (
            "Sync",
            Some(format!("{}, created {}", sync.id, date_time(sync.created_at))),
        ),
        ("Contact", contact),
        ("Attempts", attempts),
        (
            "Tag",
            sync.tag_not_before.map(|at| format!("not before {}", date_time(at))),
        ),
        ("Next attempt", sync.next_attempt_at.map(date_time)),
    ];
    facts.into_iter().filter_map(|(name, text)| Some(row(name, &text?)))
}

fn row(name: &str, text: &str) -> String {
    format!("  {name:<15}{text}")
}

fn line(event: &SyncEvent) -> String {
    let text = |key: &str| event.detail.get(key).and_then(Value::as_str);
    let attempt = event.detail.get("attempt").and_then(Value::as_u64);
    let has_failed = event.kind == "attempt_failed";
    let facts = [
        text("action").map(str::to_owned),
        attempt
            .filter(|_| !has_failed)
            .map(|attempt| format!("attempt {attempt}")),
        text("error").or_else(|| text("reason")).map(str::to_owned),
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    let mut line = match event.kind.as_str() {
        "created" => "requested".to_owned(),
        "coalesced" => "requested again".to_owned(),
        "attempt_failed" => attempt.map_or_else(
            || "attempt failed".to_owned(),
            |attempt| format!("attempt {attempt} failed"),
        ),
        kind => kind.replace('_', " "),
    };
    match text("by") {
        Some("operator" | "manual") => line += " manually",
        Some(by) => line = format!("{line} by {by}"),
        None => {}
    }
    if !facts.is_empty() {
        line = format!("{line}: {}", facts.join(", "));
    }
    format!("  {}  {}", date_time(event.at), plain(&line))
}
