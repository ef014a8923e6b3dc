//! How a lead on its way looks: in words, and on a terminal as a bar whose delay counts down.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;

use super::api::{SyncJob, plain};
use crate::domain::state::CancelledBy;

pub(super) const PLAIN: &str = "{prefix} {spinner} {wide_msg}";
const COUNTDOWN: &str = "{prefix} {spinner:.cyan} {bar:14.cyan/dim} {wide_msg}";
const GOOD: &str = "{prefix} {wide_msg:.green}";
const BAD: &str = "{prefix} {wide_msg:.red}";

/// What a row shows, but for the seconds.
#[derive(Clone, PartialEq)]
pub(super) struct Look {
    pub(super) template: &'static str,
    pub(super) text: String,
    /// Until when the tag waits.
    pub(super) tag: Option<Timestamp>,
}

impl Look {
    /// Words alone.
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self {
            template: PLAIN,
            text: text.into(),
            tag: None,
        }
    }

    /// Of one lead.
    pub(super) fn of(sync: &SyncJob) -> Self {
        let words = words(sync);
        let (template, text) = match sync.state.as_str() {
            "sent" => (GOOD, format!("✓ {words}")),
            "failed" | "lead_deleted" | "cancelled" => (BAD, format!("✗ {words}")),
            "upserted" => {
                return Self {
                    template: COUNTDOWN,
                    text: format!("{words}, tag in"),
                    tag: sync.tag_not_before,
                };
            }
            _ => (PLAIN, words),
        };
        Self {
            template,
            ..Self::plain(text)
        }
    }

    /// Of a crowd of which `syncs` are known.
    pub(super) fn of_many(syncs: &[&SyncJob], all: usize) -> Self {
        let count = |state: &str| syncs.iter().filter(|sync| sync.state == state).count();
        if count("sent") == all {
            return Self {
                template: GOOD,
                ..Self::plain(format!("✓ {all} SENT"))
            };
        }
        if count("upserted") == all {
            return Self {
                template: COUNTDOWN,
                text: "in Bigin, tags in".to_owned(),
                tag: syncs.iter().filter_map(|sync| sync.tag_not_before).max(),
            };
        }
        Self::plain(counted(syncs.iter().copied()))
    }

    /// Draws it. `left` is what is left of `whole` until the tag.
    pub(super) fn draw(&self, bar: &ProgressBar, is_new: bool, left: Option<Duration>, whole: Duration) {
        if is_new && let Ok(style) = ProgressStyle::with_template(self.template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        match left {
            Some(left) => {
                let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
                bar.set_length(millis(whole));
                bar.set_position(millis(whole.saturating_sub(left)));
                bar.set_message(format!("{} {:.1} s", self.text, left.as_secs_f64()));
            }
            None => bar.set_message(self.text.clone()),
        }
        bar.tick();
    }
}

/// How a lead fares, in words.
pub(super) fn words(sync: &SyncJob) -> String {
    let reason = || plain(sync.reason.as_deref().unwrap_or("no reason given"));
    match sync.state.as_str() {
        "requested" => "accepted".to_owned(),
        "upserted" => "in Bigin".to_owned(),
        "sent" => "SENT".to_owned(),
        "rejected" => reason(),
        "failed" => format!("FAILED: {}", reason()),
        "lead_deleted" => "there is no such lead in Sanity, or it is not published".to_owned(),
        "cancelled" if sync.cancelled_by.as_deref() == Some(CancelledBy::Lead.label()) => {
            "not sent: it no longer asks to be sent (its crmStatus was changed)".to_owned()
        }
        "cancelled" => reason(),
        other => plain(other),
    }
}

/// `3 accepted, 2 in Bigin, 1 SENT`.
pub(super) fn counted<'a>(syncs: impl Iterator<Item = &'a SyncJob>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for sync in syncs {
        *counts.entry(sync.state.as_str()).or_default() += 1;
    }
    let words = [
        ("requested", "accepted"),
        ("upserted", "in Bigin"),
        ("tagged", "tagged"),
        ("rejected", "refused"),
        ("sent", "SENT"),
        ("failed", "FAILED"),
        ("lead_deleted", "not in Sanity"),
        ("cancelled", "cancelled"),
    ];
    let parts = words.iter().filter_map(|(state, word)| {
        let count = counts.get(state)?;
        Some(format!("{count} {word}"))
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// `1 lead`, `2 leads`.
pub(super) fn leads(count: impl TryInto<u64>) -> String {
    match count.try_into().unwrap_or(u64::MAX) {
        1 => "1 lead".to_owned(),
        count => format!("{count} leads"),
    }
}
