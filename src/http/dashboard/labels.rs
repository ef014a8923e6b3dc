//! The words of the pages: states, reasons, services and times, as editors and operators read them. Pure.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::api_types::{Health, SyncJson};
use crate::clock::until;
use crate::domain::failure::Remote;
use crate::domain::state::{CancelledBy, shown_name};
use crate::store::Overview;

/// A time, for `<time>`: in UTC here, in the viewer's zone where the script runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(pub(super) Timestamp);

impl Moment {
    /// For programs, to the millisecond.
    pub(super) fn iso(self) -> String {
        self.0.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.strftime("%-d %b %Y, %H:%M:%S UTC").fmt(f)
    }
}

/// A state as people see it: a word, a shape and a colour, and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Badge {
    pub(super) label: &'static str,
    /// The shape's name in the page's symbols.
    pub(super) icon: &'static str,
    /// wait, good, bad or off.
    pub(super) tone: &'static str,
    pub(super) meaning: &'static str,
}

impl Badge {
    /// The state's shown name.
    pub(super) fn word(&self) -> &'static str {
        shown_name(self.label).unwrap_or(self.label)
    }
}

/// All states, in the order of the journey.
pub(super) const BADGES: [Badge; 8] = [
    Badge {
        label: "requested",
        icon: "clock",
        tone: "wait",
        meaning: "It will be read from Sanity and sent to Bigin.",
    },
    Badge {
        label: "upserted",
        icon: "hourglass",
        tone: "wait",
        meaning: "It is a contact in Bigin. The tag that starts Bigin's automation is added after the tag delay.",
    },
    Badge {
        label: "tagged",
        icon: "back",
        tone: "wait",
        meaning: "It is in Bigin and tagged. SENT is being written to the lead in Sanity.",
    },
    Badge {
        label: "rejected",
        icon: "back",
        tone: "bad",
        meaning: "It was rejected. FAILED and the reason are being written to the lead in Sanity.",
    },
    Badge {
        label: "sent",
        icon: "tick",
        tone: "good",
        meaning: "It is in Bigin and tagged, and the lead in Sanity says SENT.",
    },
    Badge {
        label: "failed",
        icon: "cross",
        tone: "bad",
        meaning: "It was not sent. The lead in Sanity has the reason.",
    },
    Badge {
        label: "lead_deleted",
        icon: "bin",
        tone: "off",
        meaning: "The lead was deleted or unpublished in Sanity before it was sent.",
    },
    Badge {
        label: "cancelled",
        icon: "slash",
        tone: "off",
        meaning: "Cancelled here, or withdrawn in Sanity.",
    },
];

pub(super) fn badge(state: &str) -> Badge {
    let [requested, ..] = BADGES;
    BADGES
        .into_iter()
        .find(|badge| badge.label == state)
        .unwrap_or(requested)
}

/// Why nothing moves, where nothing does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Standstill {
    pub(super) paused: bool,
    /// The unavailable services, each with when it is next tried.
    pub(super) remotes: Vec<(Remote, Timestamp)>,
}

impl Standstill {
    pub(super) fn of(overview: &Overview) -> Self {
        let open = overview
            .breakers
            .iter()
            .filter_map(|breaker| Some((breaker.remote, breaker.open.as_ref()?.until)));
        Self {
            paused: overview.paused_since.is_some(),
            remotes: open.collect(),
        }
    }

    pub(super) fn of_health(health: &Health) -> Self {
        let remotes = health
            .breakers
            .iter()
            .filter_map(|open| Some((Remote::from_label(&open.remote)?, open.until)));
        Self {
            paused: health.paused_since.is_some(),
            remotes: remotes.collect(),
        }
    }

    /// What a sync in this state waits for beside its turn.
    pub(super) fn holds_up(&self, state: &str) -> Option<HeldUp> {
        if self.paused {
            return Some(HeldUp {
                why: "sending is paused",
                until: "when sending is resumed",
                unavailable: None,
            });
        }
        let needs_bigin = matches!(state, "requested" | "upserted");
        let mut needed = self
            .remotes
            .iter()
            .filter(|(remote, _)| needs_bigin || *remote == Remote::Sanity);
        let (remote, next) = *needed.next()?;
        let held_up = |why, until| {
            Some(HeldUp {
                why,
                until,
                unavailable: Some((service(remote), Moment(next))),
            })
        };
        match remote {
            Remote::ZohoAccounts => held_up(
                "Zoho Accounts grants no access token",
                "when Zoho Accounts grants access tokens again",
            ),
            Remote::Bigin => held_up("Bigin is unavailable", "when Bigin is available again"),
            Remote::Sanity => held_up("Sanity is unavailable", "when Sanity is available again"),
        }
    }
}

/// What a sync waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeldUp {
    pub(super) why: &'static str,
    /// `when …`
    pub(super) until: &'static str,
    /// The service that it waits for, if it is one, and when that is next tried.
    pub(super) unavailable: Option<(&'static str, Moment)>,
}

/// What a service is called on the pages.
pub(super) fn service(remote: Remote) -> &'static str {
    match remote {
        Remote::ZohoAccounts => "Zoho Accounts",
        Remote::Bigin | Remote::Sanity => remote.name(),
    }
}

/// How long a contact still waits for its tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Countdown {
    pub(super) until: Moment,
    /// Milliseconds, of the whole delay and of what has passed of it.
    pub(super) whole: u128,
    pub(super) passed: u128,
    /// `9 s`.
    pub(super) left: String,
}

/// The countdown of a sync that waits for its tag and for nothing else.
pub(super) fn countdown(sync: &SyncJson, stand: &Standstill, delay: Duration, now: Timestamp) -> Option<Countdown> {
    let tag_at = sync.tag_not_before?;
    let left = until(now, tag_at);
    if left.is_zero() || stand.holds_up(&sync.state).is_some() || sync.attempts > 0 {
        return None;
    }
    let whole = delay.max(left);
    Some(Countdown {
        until: Moment(tag_at),
        whole: whole.as_millis(),
        passed: whole.saturating_sub(left).as_millis(),
        left: lasting(left),
    })
}

/// Where a sync stands, in a sentence, its badge apart.
pub(super) fn sentence(sync: &SyncJson, stand: &Standstill, now: Timestamp) -> String {
    let reason = sync.reason.as_deref().unwrap_or_default();
    match &*sync.state {
        "failed" | "rejected" => reason.to_owned(),
        "sent" if sync.action.as_deref() == Some("insert") => "Created a new contact in Bigin.".to_owned(),
        "sent" => "Updated an existing contact in Bigin.".to_owned(),
        "lead_deleted" => "The lead was deleted or unpublished before it was sent.".to_owned(),
        "cancelled" if sync.cancelled_by.as_deref() == Some(CancelledBy::Operator.label()) => {
            "Cancelled by the operator.".to_owned()
        }
        "cancelled" => "Withdrawn in Sanity.".to_owned(),
        state => {
            if let Some(HeldUp { why, .. }) = stand.holds_up(state) {
                return format!("Waiting: {why}.");
            }
            let soon = match sync.next_attempt_at.map(|due| until(now, due)) {
                Some(left) if !left.is_zero() => format!("retried in {}", lasting(left)),
                _ => "being retried".to_owned(),
            };
            match (&sync.last_error, sync.attempts) {
                (Some(problem), attempts) if attempts > 0 => {
                    format!("Attempt {attempts} failed: {problem}; {soon}.")
                }
                _ => on_its_way(state).to_owned(),
            }
        }
    }
}

fn on_its_way(state: &str) -> &'static str {
    match state {
        "requested" => "Next in the queue.",
        "upserted" => "Being tagged.",
        "tagged" => "Tagged in Bigin; SENT is being written to Sanity.",
        _ => "",
    }
}

/// `9 s`, `12 min`, `2 h 5 min`, `3 days 4 h`, each number with its unit in one piece; rounded up to a whole second, so
/// that no wait is 0 s.
pub(super) fn lasting(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let with = |first: String, rest: u64, unit: &str| {
        if rest == 0 {
            first
        } else {
            format!("{first} {rest}\u{a0}{unit}")
        }
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}\u{a0}s"),
        (0, 0, _) => format!("{minutes}\u{a0}min"),
        (0, ..) => with(format!("{hours}\u{a0}h"), minutes % 60, "min"),
        (1, ..) => with("1\u{a0}day".to_owned(), hours % 24, "h"),
        _ => with(format!("{days}\u{a0}days"), hours % 24, "h"),
    }
}

/// The same, as a sentence begins.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// What a status is called on a page.
pub(super) fn status(status: u16) -> &'static str {
    match status {
        400 => "Invalid request",
        403 => "Not allowed",
        404 => "Not found",
        405 => "Not a page",
        409 => "Not possible now",
        429 => "Too often",
        503 => "Not available at the moment",
        _ => "Something went wrong",
    }
}

#[cfg(test)]
mod tests;
