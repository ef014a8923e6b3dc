//! Which alerts are firing or resolved, and when a message about them is due.
//!
//! Terms and timing are Alertmanager's: an alert is sent once when it fires and once when it has been resolved for a while.
//! Alerts that fire together are one message, and two messages are `GROUP_INTERVAL` apart. Plain values: the observation is
//! an argument, and what was sent before is part of the state.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::rules::{Signal, signals};
use super::breaker::Breaker;
use super::datetime::{after, until};
use super::failure::Remote;
use super::sync::SyncJob;

mod rules;

/// Least time between two messages. Alerts that fire meanwhile are sent together.
pub const GROUP_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Least time between two messages that the same alert fires, so that a flapping one is not sent each time.
pub const REPEAT_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// The same for failed leads, whose alert is repeated while more leads fail.
pub const FAILED_REPEAT_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// An alert is resolved once its condition has not held for this long.
pub const RESOLVE_AFTER: Duration = Duration::from_secs(5 * 60);

/// Leads fail in batches: the message waits this long after the first, and counts them all.
pub const GROUP_WAIT: Duration = Duration::from_secs(60);

/// An open breaker inhibits the alert of a stuck lead for this long. An outage that lasts longer has an alert of its own; if
/// there is none, the service accepts some calls and never the others.
pub const INHIBIT_FOR: Duration = Duration::from_secs(60 * 60);

/// An alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// Zoho Accounts rejects our credentials.
    ZohoAccountsUnauthorized,
    /// Bigin rejects our access token or its scopes.
    BiginUnauthorized,
    /// Sanity rejects our token.
    SanityUnauthorized,
    ZohoAccountsUnavailable,
    BiginUnavailable,
    SanityUnavailable,
    /// Bigin's API credits are used up.
    CreditsUsedUp,
    /// Most of Bigin's API credits are used.
    CreditsLow,
    /// Leads failed since the last alert.
    LeadsFailed,
    /// A lead has been in progress for too long, and no outage explains it.
    LeadStuck,
    /// Webhook signatures are rejected.
    WebhooksRejected,
    /// Webhooks do not arrive.
    WebhooksMissed,
    /// The operator has paused sending for a long time.
    Paused,
}

impl AlertKind {
    /// The name in messages, and its heading in `docs/OPERATIONS.md`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ZohoAccountsUnauthorized => "zoho_accounts_unauthorized",
            Self::BiginUnauthorized => "bigin_unauthorized",
            Self::SanityUnauthorized => "sanity_unauthorized",
            Self::ZohoAccountsUnavailable => "zoho_accounts_unavailable",
            Self::BiginUnavailable => "bigin_unavailable",
            Self::SanityUnavailable => "sanity_unavailable",
            Self::CreditsUsedUp => "credits_used_up",
            Self::CreditsLow => "credits_low",
            Self::LeadsFailed => "leads_failed",
            Self::LeadStuck => "lead_stuck",
            Self::WebhooksRejected => "webhooks_rejected",
            Self::WebhooksMissed => "webhooks_missed",
            Self::Paused => "paused",
        }
    }

    fn unauthorized(remote: Remote) -> Self {
        match remote {
            Remote::ZohoAccounts => Self::ZohoAccountsUnauthorized,
            Remote::Bigin => Self::BiginUnauthorized,
            Remote::Sanity => Self::SanityUnauthorized,
        }
    }

    fn unavailable(remote: Remote) -> Self {
        match remote {
            Remote::ZohoAccounts => Self::ZohoAccountsUnavailable,
            Remote::Bigin => Self::BiginUnavailable,
            Remote::Sanity => Self::SanityUnavailable,
        }
    }

    /// Least time between two messages that it fires.
    fn repeat_interval(self) -> Duration {
        match self {
            Self::LeadsFailed => FAILED_REPEAT_INTERVAL,
            _ => REPEAT_INTERVAL,
        }
    }

    /// Time between its first observation and the message.
    fn group_wait(self) -> Duration {
        match self {
            Self::LeadsFailed => GROUP_WAIT,
            _ => Duration::ZERO,
        }
    }

    /// Whether it is sent again while it is firing.
    fn grows(self) -> bool {
        self == Self::LeadsFailed
    }
}

/// The state of the service at a moment: numbers, ids, codes and our own sentences.
#[derive(Debug, Clone)]
pub struct Observation {
    /// When it was observed.
    pub at: Timestamp,
    /// The breakers that are not closed.
    pub breakers: Vec<Breaker>,
    /// Since when sending is paused by the operator.
    pub paused_since: Option<Timestamp>,
    /// The oldest sync in progress.
    pub oldest: Option<SyncJob>,
    /// How many syncs are in progress.
    pub in_progress: u64,
    /// See `TAG_DELAY`.
    pub tag_delay: Duration,
    /// All syncs that ever ended as failed.
    pub failed: u64,
    /// Leads whose last sync failed.
    pub failed_leads: u64,
    /// The most frequent reasons: the sentence, how many leads, and when the last of them failed.
    pub reasons: Vec<(String, u64, Timestamp)>,
    /// Bigin's credits used in the last 24 hours: an estimate.
    pub credits: u64,
    /// The allowance for 24 hours, where `BIGIN_DAILY_CREDITS` is set.
    pub daily_credits: Option<u64>,
    /// Webhook signatures rejected since the last observation.
    pub rejected: u64,
    /// All syncs that reconciliation ever created.
    pub missed: u64,
}

/// The state of one alert that is firing or fired lately.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct AlertState {
    /// It is to be sent as firing: since when, and its text.
    due: Option<(Timestamp, String)>,
    /// When it was last sent as firing.
    fired_at: Option<Timestamp>,
    /// It was sent as firing and not yet as resolved.
    is_firing: bool,
    /// Since when its condition has not held.
    resolving_since: Option<Timestamp>,
}

/// The state of all alerts and the counts behind them: all that is stored from one evaluation to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertLog {
    alerts: BTreeMap<AlertKind, AlertState>,
    last_message: Option<Timestamp>,
    /// When a pause or an outage last explained that leads wait.
    inhibited_at: Option<Timestamp>,
    /// Failed syncs that were in an alert, and all of them.
    failed_alerted: u64,
    failed: u64,
    missed: u64,
    /// When how many webhooks were missed, or rejected.
    missed_at: Vec<(Timestamp, u64)>,
    rejected_at: Vec<(Timestamp, u64)>,
}

/// The message that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its text, with nothing of a lead but ids.
    pub text: String,
    /// The alerts that fire.
    pub firing: Vec<AlertKind>,
    /// The alerts that are resolved, some of which may be among those that fire.
    pub resolved: Vec<AlertKind>,
    /// The state to store once the message is sent.
    pub log: AlertLog,
}

impl AlertLog {
    /// The state before the first evaluation: what happened until now is not alerted.
    pub fn begin(observation: &Observation) -> Self {
        Self {
            alerts: BTreeMap::new(),
            last_message: None,
            inhibited_at: None,
            failed_alerted: observation.failed,
            failed: observation.failed,
            missed: observation.missed,
            missed_at: Vec::new(),
            rejected_at: Vec::new(),
        }
    }

    /// Evaluates all alerts.
    pub fn observe(&mut self, observation: &Observation) {
        let at = observation.at;
        self.count(observation);
        for (kind, signal) in signals(self, observation) {
            let known = self.alerts.entry(kind).or_default();
            match signal {
                Signal::Firing(text) => known.fire(kind, at, text),
                Signal::Unknown => known.resolving_since = None,
                Signal::Ok => known.resolve(at),
            }
        }
        let failed = self.alerts.get(&AlertKind::LeadsFailed);
        if observation.failed_leads == 0 && failed.is_none_or(|known| known.due.is_none()) {
            // They failed and were sent since: no alert is needed any more.
            self.failed_alerted = self.failed;
        }
        self.alerts.retain(|kind, known| known.matters(*kind, at));
    }

    fn count(&mut self, observation: &Observation) {
        let at = observation.at;
        if observation.paused_since.is_some() || (!observation.breakers.is_empty() && self.is_explained(observation)) {
            self.inhibited_at = Some(at);
        }
        // A restored backup may count fewer than were alerted.
        self.failed_alerted = self.failed_alerted.min(observation.failed);
        self.failed = observation.failed;
        let missed = observation.missed.saturating_sub(self.missed);
        self.missed = observation.missed;
        note(&mut self.missed_at, at, missed, rules::MISSED_WINDOW);
        note(&mut self.rejected_at, at, observation.rejected, rules::REJECTED_WINDOW);
    }

    /// Whether an outage has an alert of its own, or has not yet delayed the oldest lead for long enough.
    fn is_explained(&self, observation: &Observation) -> bool {
        let is_firing = |remote| {
            let alerts = [
                AlertKind::unauthorized(remote),
                AlertKind::unavailable(remote),
                AlertKind::CreditsUsedUp,
            ];
            alerts
                .iter()
                .any(|kind| self.alerts.get(kind).is_some_and(|known| known.is_firing))
        };
        let oldest = observation.oldest.as_ref();
        oldest.is_none_or(|oldest| until(after(oldest.created_at, observation.tag_delay), observation.at) < INHIBIT_FOR)
            || Remote::ALL.into_iter().any(is_firing)
    }

    /// The message that is due, if any; `dashboard` is the URL it names.
    pub fn message(&self, at: Timestamp, dashboard: Option<&str>) -> Option<Message> {
        let too_soon = self.last_message.is_some_and(|then| until(then, at) < GROUP_INTERVAL);
        let is_news = |(kind, known): (&AlertKind, &AlertState)| known.is_due(*kind, at) || known.is_resolved(at);
        if too_soon || !self.alerts.iter().any(is_news) {
            return None;
        }
        let mut log = self.clone();
        log.last_message = Some(at);
        let (mut firing, mut resolved, mut bad, mut well) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (kind, known) in &mut log.alerts {
            let over = known.resolving_since.filter(|_| known.is_resolved(at));
            if let Some((since, text)) = known.due.take() {
                bad.push(format!("- {}: {text}{}", kind.name(), when(at, since, over)));
                firing.push(*kind);
                known.fired_at = Some(at);
                known.is_firing = true;
            } else if over.is_some() {
                well.push(format!("- {}: {}", kind.name(), rules::resolved(*kind)));
            }
            if over.is_some() {
                resolved.push(*kind);
                known.is_firing = false;
                known.resolving_since = None;
            }
        }
        if firing.contains(&AlertKind::LeadsFailed) {
            log.failed_alerted = log.failed;
        }
        let text = text(&bad, &well, dashboard);
        Some(Message {
            text,
            firing,
            resolved,
            log,
        })
    }
}

impl AlertState {
    fn fire(&mut self, kind: AlertKind, at: Timestamp, text: String) {
        self.resolving_since = None;
        if let Some((_, log)) = &mut self.due {
            *log = text;
        } else if (!self.is_firing || kind.grows())
            && self
                .fired_at
                .is_none_or(|then| until(then, at) >= kind.repeat_interval())
        {
            self.due = Some((at, text));
        }
    }

    fn resolve(&mut self, at: Timestamp) {
        if self.is_firing || self.due.is_some() {
            self.resolving_since.get_or_insert(at);
        }
    }

    fn is_due(&self, kind: AlertKind, at: Timestamp) -> bool {
        self.due
            .as_ref()
            .is_some_and(|(since, _)| until(*since, at) >= kind.group_wait())
    }

    fn is_resolved(&self, at: Timestamp) -> bool {
        self.resolving_since
            .is_some_and(|since| until(since, at) >= RESOLVE_AFTER)
    }

    fn matters(&self, kind: AlertKind, at: Timestamp) -> bool {
        let is_quiet = self
            .fired_at
            .is_some_and(|then| until(then, at) < kind.repeat_interval());
        self.is_firing || self.due.is_some() || is_quiet
    }
}

/// The whole text, in a form that Slack and Teams accept.
fn text(bad: &[String], well: &[String], dashboard: Option<&str>) -> String {
    let mut parts = Vec::new();
    if !bad.is_empty() {
        parts.push(format!("bigin-sync: action needed\n{}", bad.join("\n")));
    }
    if !well.is_empty() {
        parts.push(format!("bigin-sync: resolved\n{}", well.join("\n")));
    }
    parts.extend(dashboard.map(|dashboard| format!("See {dashboard}")));
    parts.join("\n\n")
}

/// When an older alert was first observed, and whether it is resolved.
fn when(at: Timestamp, since: Timestamp, over: Option<Timestamp>) -> String {
    let clock = |at: Timestamp| at.strftime("%-d %b %H:%M UTC").to_string();
    match over {
        Some(over) => format!(" Since {}; resolved at {}.", clock(since), clock(over)),
        None if until(since, at) >= GROUP_INTERVAL => format!(" Since {}.", clock(since)),
        None => String::new(),
    }
}

/// Adds a count, and drops those that have left the window.
fn note(marks: &mut Vec<(Timestamp, u64)>, at: Timestamp, count: u64, within: Duration) {
    marks.retain(|(then, _)| after(*then, within) > at);
    if count > 0 {
        marks.push((at, count));
    }
}
