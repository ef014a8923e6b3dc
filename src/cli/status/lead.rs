//! What has become of one lead.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Seen;
use crate::cli::api::{Api, ApiError, PATIENCE, Page, SyncJob, plain};
use crate::cli::progress::words;
use crate::domain::lead::LeadId;

/// A line of a sync's history.
#[derive(Deserialize)]
struct Entry {
    at: Timestamp,
    kind: String,
    detail: Value,
}

#[derive(Deserialize)]
struct Story {
    #[serde(flatten)]
    sync: SyncJob,
    events: Vec<Entry>,
}

/// Looks how far a lead has come.
pub(super) async fn look(api: &Api, lead: &LeadId) -> Result<Seen, ApiError> {
    let page: Page = api
        .find("/api/syncs", &[("lead", lead.as_str()), ("limit", "200")])
        .await?;
    let Some(newest) = page.syncs.first() else {
        return Ok(unknown(lead));
    };
    let whole: Value = api.get(&format!("/api/syncs/{}", newest.id)).await?;
    let story = Story::deserialize(&whole).map_err(|_| api.not_this_service())?;
    let sync = &story.sync;
    let troubles = match sync.is_over() {
        true => Vec::new(),
        false => api.readiness(PATIENCE).await?.degraded,
    };
    let well = match sync.is_over() {
        true => sync.state == "sent",
        false => troubles.is_empty(),
    };

    let mut lines = vec![format!("{lead}: {}", words(sync)), String::new()];
    lines.extend(
        troubles
            .iter()
            .map(|trouble| format!("  In the way     {}", plain(&trouble.to_string()))),
    );
    lines.extend(facts(sync).map(|(name, text)| format!("  {name:<15}{text}")));
    lines.push(String::new());
    lines.extend(story.events.iter().map(line));
    if page.syncs.len() > 1 {
        let more = if page.next.is_some() { " or more" } else { "" };
        let earlier = page.syncs.len() - 1;
        let (syncs, are) = if earlier == 1 { ("sync", "is") } else { ("syncs", "are") };
        lines.push(format!("\n  There {are} {earlier}{more} earlier {syncs} of this lead."));
    }
    Ok(Seen {
        text: lines.join("\n") + "\n",
        well,
        body: json!({ "well": well, "needs": troubles, "sync": whole }),
    })
}

fn unknown(lead: &LeadId) -> Seen {
    Seen {
        text: format!(
            "{lead}: no sync of this lead is known. Nobody has asked for it, or it ended so long ago that it is forgotten (RETENTION).\n\n  \
             `bigin-sync send {lead}` asks for it; an editor does by publishing it with crmStatus REQUESTED.\n"
        ),
        body: json!({ "well": false, "sync": null }),
        well: false,
    }
}

fn facts(sync: &SyncJob) -> impl Iterator<Item = (&'static str, String)> {
    let contact = sync.contact_id.as_deref().map(|contact| match sync.action.as_deref() {
        Some("insert") => format!("{}, made by this sync", plain(contact)),
        Some("update") => format!("{}, which was there before", plain(contact)),
        _ => plain(contact),
    });
    let attempts = (sync.attempts > 0).then(|| {
        let last = plain(sync.last_error.as_deref().unwrap_or("no reason given"));
        format!("{} failed in a row, the last: {last}", sync.attempts)
    });
    let facts = [
        ("Sync", Some(format!("{}, since {}", sync.id, moment(sync.created_at)))),
        ("Contact", contact),
        ("Attempts", attempts),
        (
            "Tag",
            sync.tag_not_before.map(|at| format!("not before {}", moment(at))),
        ),
        ("Next try", sync.next_attempt_at.map(moment)),
    ];
    facts.into_iter().filter_map(|(name, text)| Some((name, text?)))
}

fn line(entry: &Entry) -> String {
    let text = |key: &str| entry.detail.get(key).and_then(Value::as_str);
    let attempt = entry.detail.get("attempt").and_then(Value::as_u64);
    let facts = [
        text("by").map(|by| format!("by {by}")),
        text("action").map(str::to_owned),
        attempt.map(|attempt| format!("attempt {attempt}")),
        text("problem").or_else(|| text("reason")).map(str::to_owned),
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    let what = entry.kind.replace('_', " ");
    let line = match facts.as_slice() {
        [] => what,
        facts => format!("{what}: {}", facts.join(", ")),
    };
    format!("  {}  {}", moment(entry.at), plain(&line))
}

fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
