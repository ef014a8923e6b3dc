//! The sentence for each event of a sync, for the dashboard and the commands.

use serde_json::Value;

use crate::store::SyncEvent;

/// What happened, as a sentence without a full stop.
pub(crate) fn event_text(event: &SyncEvent) -> String {
    let reason = || detail_text(event, "reason").unwrap_or("no reason given");
    let sentence = match event.kind.as_str() {
        "created" => requested(event),
        "coalesced" => return format!("Requested again: {}", lower(requested(event))),
        "upserted" if detail_text(event, "action") == Some("insert") => "Created a contact in Bigin",
        "upserted" => "Updated an existing contact in Bigin",
        "contact_upserted" => "Another lead updated the same contact: the tag delay restarts",
        "restored" => "An old draft was published; Bigin has this data already, so only the result is written again",
        "changed" => "The lead was edited meanwhile: it is sent again with its present data",
        "contact_gone" => "The contact was deleted or merged in Bigin: it is created again",
        "tagged" => "Tagged the contact in Bigin",
        "rejected" => reason(),
        "requested_again" => "Requested again since it was last read: it is sent once more",
        "written_back" if event.state == "failed" => "Wrote FAILED and the reason to Sanity",
        "written_back" => "Wrote SENT to Sanity",
        "lead_deleted" => "The lead was deleted in Sanity",
        "withdrawn" => "Withdrawn in Sanity: its crmStatus is no longer REQUESTED",
        "cancelled" => "Cancelled by the operator",
        "dismissed" => "The failure was dismissed",
        "attempt_failed" => return failed_attempt(event),
        "ambiguous" => {
            "A call with several leads ended without a clear answer: this lead is retried in a smaller batch, and no attempt is counted"
        }
        // A later version of the program has written it.
        other => return other.replace('_', " "),
    };
    sentence.to_owned()
}

fn requested(event: &SyncEvent) -> &'static str {
    match detail_text(event, "by") {
        Some("webhook") => "Requested by an editor in Sanity (webhook)",
        Some("reconciliation") => "Requested in Sanity; the webhook never arrived, the regular check found it",
        Some("manual") => "Requested from the dashboard or API",
        Some("retry") => "Retried from the dashboard or API",
        _ => "Requested",
    }
}

fn failed_attempt(event: &SyncEvent) -> String {
    let error = detail_text(event, "error").unwrap_or("no reason given");
    match event.detail.get("attempt").and_then(Value::as_u64) {
        Some(attempt) => format!("Attempt {attempt} failed: {error}"),
        None => format!("Failed: {error}"),
    }
}

fn lower(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// A text of what is stored with the event.
pub(crate) fn detail_text<'a>(event: &'a SyncEvent, key: &str) -> Option<&'a str> {
    event.detail.get(key).and_then(Value::as_str)
}
