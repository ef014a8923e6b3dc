//! A sync's progress: as text, and on a terminal as a bar that counts down to the tag.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;

use super::text::plain;
use crate::api_types::SyncJson;
use crate::domain::state::{CancelledBy, State, shown_name};

const PLAIN: &str = "{prefix} {spinner} {wide_msg}";
pub(super) const COUNTDOWN: &str = "{prefix} {spinner:.cyan} {bar:6.cyan/dim} {wide_msg}";
pub(super) const GOOD: &str = "{prefix} {wide_msg:.green}";
const BAD: &str = "{prefix} {wide_msg:.red}";

/// A row's content without the seconds.
#[derive(Clone, PartialEq)]
pub(super) struct Row {
    pub(super) template: &'static str,
    pub(super) text: String,
    /// The time of the tag, to count down to.
    pub(super) tag: Option<Timestamp>,
}

impl Row {
    pub(super) fn new(template: &'static str, text: String) -> Self {
        let tag = None;
        Self { template, text, tag }
    }

    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self::new(PLAIN, text.into())
    }

    pub(super) fn of(sync: &SyncJson) -> Self {
        let text = state_text(sync);
        match &*sync.state {
            "sent" => Self::new(GOOD, format!("✓ {text}")),
            "failed" | "lead_deleted" | "cancelled" => Self::new(BAD, format!("✗ {text}")),
            "upserted" => Self {
                tag: sync.tag_not_before,
                ..Self::new(COUNTDOWN, text)
            },
            _ => Self::plain(text),
        }
    }

    /// Draws it. `left` is the rest of `whole`, the time until the tag.
    pub(super) fn draw(&self, bar: &ProgressBar, is_new: bool, left: Option<Duration>, whole: Duration) {
        if is_new && let Ok(style) = ProgressStyle::with_template(self.template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        if let Some(left) = left {
            let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            bar.set_length(millis(whole));
            bar.set_position(millis(whole.saturating_sub(left)));
        }
        bar.set_message(self.with_countdown(left));
        bar.tick();
    }

    pub(super) fn with_countdown(&self, left: Option<Duration>) -> String {
        match left {
            Some(left) => format!("{} ({:.1} s)", self.text, left.as_secs_f64()),
            None => self.text.clone(),
        }
    }
}

pub(super) fn state_name(state: &str) -> String {
    shown_name(state).map_or_else(|| plain(state), str::to_owned)
}

/// The state of a sync, with the reason for it.
pub(super) fn state_text(sync: &SyncJson) -> String {
    let name = state_name(&sync.state);
    match (&*sync.state, sync.cancelled_by.as_deref()) {
        ("rejected" | "failed", _) => {
            format!("{name}: {}", plain(sync.reason.as_deref().unwrap_or("no reason given")))
        }
        ("lead_deleted", _) => format!("{name}: no published lead in Sanity has this ID"),
        ("cancelled", Some(by)) if by == CancelledBy::Lead.label() => {
            format!("{name}: its crmStatus was changed in Sanity")
        }
        ("cancelled", Some(_)) => format!("{name} manually"),
        _ => name,
    }
}

/// `3 Queued, 2 Waiting to tag, 1 Sent`.
pub(super) fn count_by_state<'a>(syncs: impl Iterator<Item = &'a SyncJson>) -> String {
    let states: Vec<&str> = syncs.map(|sync| &*sync.state).collect();
    let count = |state: &str| states.iter().filter(|other| **other == state).count();
    counts_text(|state| u64::try_from(count(state)).unwrap_or(u64::MAX))
}

/// The same, from the number of syncs of each state.
pub(super) fn counts_text(count: impl Fn(&str) -> u64) -> String {
    let counts = State::SHOWN_NAMES.iter().map(|(state, name)| (count(state), name));
    let parts = counts
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"));
    parts.collect::<Vec<_>>().join(", ")
}
