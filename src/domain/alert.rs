//! When a person is told that something needs them, and when that it is well again: from how things stand and what was
//! told before to what is told now. Each trouble is told once when it begins and once when it has been well again for a
//! while; several at once are one message, and between two messages there is a time of quiet.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::rules::{Signal, signals};
use super::breaker::Breaker;
use super::failure::Remote;
use super::retry::later;
use super::sync::SyncJob;

mod rules;

/// Between two messages, whatever they say: what comes up meanwhile waits and is told together.
pub const GAP: Duration = Duration::from_secs(5 * 60);

/// Between two messages that the same trouble has begun. One that comes and goes more often is not told each time.
pub const QUIET: Duration = Duration::from_secs(30 * 60);

/// The same for leads that failed, which is told again while more of them do.
pub const MORE_FAILED: Duration = Duration::from_secs(60 * 60);

/// A trouble is over once there has been nothing of it for so long.
pub const SETTLED: Duration = Duration::from_secs(5 * 60);

/// Leads that fail come in batches: this long after the first, so that one message counts them all.
pub const GATHER: Duration = Duration::from_secs(60);

/// A pause explains for so long that leads wait. One that lasts longer is told of itself; where none is, the service takes a
/// part of the work and never the rest.
pub const EXPLAINED: Duration = Duration::from_secs(60 * 60);

/// Something that a person should know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// The accounts server refuses our credentials.
    TokenRefused,
    /// Bigin refuses what the credentials are for.
    BiginRefused,
    /// Sanity refuses our token.
    SanityRefused,
    /// The accounts server has taken no work for a while.
    TokenDown,
    /// Bigin has taken no work for a while.
    BiginDown,
    /// Sanity has taken no work for a while.
    SanityDown,
    /// Bigin's API credits are used up.
    CreditsUsedUp,
    /// Most of Bigin's API credits are used.
    CreditsLow,
    /// Leads failed that have not been told of.
    Failed,
    /// A lead has waited for too long, and no outage explains it.
    Waiting,
    /// Webhooks are refused for their signature.
    Signatures,
    /// Webhooks do not come.
    Missed,
    /// A person has paused the work and may have forgotten.
    Paused,
}

impl Trouble {
    fn refused(remote: Remote) -> Self {
        match remote {
            Remote::Token => Self::TokenRefused,
            Remote::Bigin => Self::BiginRefused,
            Remote::Sanity => Self::SanityRefused,
        }
    }

    fn down(remote: Remote) -> Self {
        match remote {
            Remote::Token => Self::TokenDown,
            Remote::Bigin => Self::BiginDown,
            Remote::Sanity => Self::SanityDown,
        }
    }

    /// Between two messages that it has begun.
    fn quiet(self) -> Duration {
        match self {
            Self::Failed => MORE_FAILED,
            _ => QUIET,
        }
    }

    /// Between the first sign of it and the message.
    fn gather(self) -> Duration {
        match self {
            Self::Failed => GATHER,
            _ => Duration::ZERO,
        }
    }

    /// Whether more of it is news while it lasts.
    fn grows(self) -> bool {
        self == Self::Failed
    }
}

/// How things stand at a moment, in numbers, ids, codes and sentences of our own.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The moment.
    pub at: Timestamp,
    /// The breakers that are not closed.
    pub breakers: Vec<Breaker>,
    /// Since when a person has paused the work, if so.
    pub paused_since: Option<Timestamp>,
    /// The sync in progress that was opened first.
    pub oldest: Option<SyncJob>,
    /// How many syncs are in progress.
    pub in_progress: u64,
    /// How long a lead waits for its tag when all is well.
    pub tag_delay: Duration,
    /// How many syncs have ended `FAILED`, ever.
    pub failed: u64,
    /// Leads whose last sync failed.
    pub failed_leads: u64,
    /// Why, for the most frequent reasons: the sentence, how many leads, and when the last of them failed.
    pub reasons: Vec<(String, u64, Timestamp)>,
    /// Bigin's credits used in the last 24 hours: an estimate.
    pub credits: u64,
    /// How many there are in 24 hours, where that is known.
    pub daily_credits: Option<u64>,
    /// Webhooks refused for their signature since the last look.
    pub refused: u64,
    /// Syncs that reconciliation has opened, ever.
    pub missed: u64,
}

/// What is known of a trouble that is there, or was lately.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Known {
    /// Its beginning is to be told: since when, and what.
    due: Option<(Timestamp, String)>,
    /// When its beginning was last told.
    told_at: Option<Timestamp>,
    /// Its beginning was told and its end was not.
    is_open: bool,
    /// Since when there has been nothing of it.
    well_since: Option<Timestamp>,
}

/// What was told and what was counted: all that has to be remembered from one look to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    troubles: BTreeMap<Trouble, Known>,
    last_message: Option<Timestamp>,
    /// When something was last paused, so that waiting is explained.
    last_pause: Option<Timestamp>,
    /// Failed syncs that have been told of, and all of them.
    failed_told: u64,
    failed: u64,
    missed: u64,
    /// When how many webhooks were missed, or refused.
    missed_at: Vec<(Timestamp, u64)>,
    refused_at: Vec<(Timestamp, u64)>,
}

/// What is to be told now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// For people; nothing of a lead in it but ids.
    pub text: String,
    /// The troubles that have begun.
    pub begun: Vec<Trouble>,
    /// The troubles that are over, among which may be some that have begun.
    pub ended: Vec<Trouble>,
    /// What is to be remembered once it is told.
    pub told: Told,
}

impl Told {
    /// Nothing was told yet: what has happened until now is no news.
    pub fn begin(standing: &Standing) -> Self {
        Self {
            troubles: BTreeMap::new(),
            last_message: None,
            last_pause: None,
            failed_told: standing.failed,
            failed: standing.failed,
            missed: standing.missed,
            missed_at: Vec::new(),
            refused_at: Vec::new(),
        }
    }

    /// Takes in how things stand.
    pub fn observe(&mut self, standing: &Standing) {
        let at = standing.at;
        self.count(standing);
        for (trouble, signal) in signals(self, standing) {
            let known = self.troubles.entry(trouble).or_default();
            match signal {
                Signal::Bad(text) => known.is_bad(trouble, at, text),
                Signal::Unsure => known.well_since = None,
                Signal::Well => known.is_well(at),
            }
        }
        let failed = self.troubles.get(&Trouble::Failed);
        if standing.failed_leads == 0 && failed.is_none_or(|known| known.due.is_none()) {
            // They failed and are through: nobody needs to know any more.
            self.failed_told = self.failed;
        }
        self.troubles.retain(|trouble, known| known.matters(*trouble, at));
    }

    fn count(&mut self, standing: &Standing) {
        let at = standing.at;
        if standing.paused_since.is_some() || (!standing.breakers.is_empty() && self.is_explained(standing)) {
            self.last_pause = Some(at);
        }
        // A file that was put back from a backup counts less than was told.
        self.failed_told = self.failed_told.min(standing.failed);
        self.failed = standing.failed;
        let missed = standing.missed.saturating_sub(self.missed);
        self.missed = standing.missed;
        note(&mut self.missed_at, at, missed, rules::MISSED_WITHIN);
        note(&mut self.refused_at, at, standing.refused, rules::REFUSED_WITHIN);
    }

    /// Whether an outage is told already, or none has kept the oldest lead for so long that it should have been.
    fn is_explained(&self, standing: &Standing) -> bool {
        let is_told = |remote| {
            let troubles = [Trouble::refused(remote), Trouble::down(remote), Trouble::CreditsUsedUp];
            troubles
                .iter()
                .any(|trouble| self.troubles.get(trouble).is_some_and(|known| known.is_open))
        };
        let oldest = standing.oldest.as_ref();
        oldest.is_none_or(|oldest| elapsed(standing.at, later(oldest.created_at, standing.tag_delay)) < EXPLAINED)
            || Remote::ALL.into_iter().any(is_told)
    }

    /// What is to be told now, if anything is. `dashboard` is the address to look at.
    pub fn message(&self, at: Timestamp, dashboard: Option<&str>) -> Option<Message> {
        let too_soon = self.last_message.is_some_and(|then| elapsed(at, then) < GAP);
        let is_news = |(trouble, known): (&Trouble, &Known)| known.is_ready(*trouble, at) || known.is_over(at);
        if too_soon || !self.troubles.iter().any(is_news) {
            return None;
        }
        let mut told = self.clone();
        told.last_message = Some(at);
        let (mut begun, mut ended, mut bad, mut well) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (trouble, known) in &mut told.troubles {
            let over = known.well_since.filter(|_| known.is_over(at));
            if let Some((since, text)) = known.due.take() {
                bad.push(format!("- {text}{}", when(at, since, over)));
                begun.push(*trouble);
                known.told_at = Some(at);
                known.is_open = true;
            } else if over.is_some() {
                well.push(format!("- {}", rules::ended(*trouble)));
            }
            if over.is_some() {
                ended.push(*trouble);
                known.is_open = false;
                known.well_since = None;
            }
        }
        if begun.contains(&Trouble::Failed) {
            told.failed_told = told.failed;
        }
        let text = text(&bad, &well, dashboard);
        Some(Message {
            text,
            begun,
            ended,
            told,
        })
    }
}

impl Known {
    fn is_bad(&mut self, trouble: Trouble, at: Timestamp, text: String) {
        self.well_since = None;
        if let Some((_, told)) = &mut self.due {
            *told = text;
        } else if (!self.is_open || trouble.grows())
            && self.told_at.is_none_or(|then| elapsed(at, then) >= trouble.quiet())
        {
            self.due = Some((at, text));
        }
    }

    fn is_well(&mut self, at: Timestamp) {
        if self.is_open || self.due.is_some() {
            self.well_since.get_or_insert(at);
        }
    }

    fn is_ready(&self, trouble: Trouble, at: Timestamp) -> bool {
        self.due
            .as_ref()
            .is_some_and(|(since, _)| elapsed(at, *since) >= trouble.gather())
    }

    fn is_over(&self, at: Timestamp) -> bool {
        self.well_since.is_some_and(|since| elapsed(at, since) >= SETTLED)
    }

    fn matters(&self, trouble: Trouble, at: Timestamp) -> bool {
        let is_quiet = self.told_at.is_some_and(|then| elapsed(at, then) < trouble.quiet());
        self.is_open || self.due.is_some() || is_quiet
    }
}

/// The whole text: Slack and Teams take it as it is.
fn text(bad: &[String], well: &[String], dashboard: Option<&str>) -> String {
    let mut parts = Vec::new();
    if !bad.is_empty() {
        parts.push(format!("bigin-sync needs you:\n{}", bad.join("\n")));
    }
    if !well.is_empty() {
        parts.push(format!("bigin-sync: well again:\n{}", well.join("\n")));
    }
    parts.extend(dashboard.map(|dashboard| format!("See {dashboard}")));
    parts.join("\n\n")
}

/// What was noticed some time ago says when, and whether it is over.
fn when(at: Timestamp, since: Timestamp, over: Option<Timestamp>) -> String {
    let clock = |at: Timestamp| at.strftime("%-d %b %H:%M UTC").to_string();
    match over {
        Some(over) => format!(
            " Noticed on {}; it has been well again since {}.",
            clock(since),
            clock(over)
        ),
        None if elapsed(at, since) >= GAP => format!(" Noticed on {}.", clock(since)),
        None => String::new(),
    }
}

fn elapsed(at: Timestamp, since: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(since)).unwrap_or_default()
}

/// Notes how many there were at a time, and forgets those of longer ago.
fn note(marks: &mut Vec<(Timestamp, u64)>, at: Timestamp, count: u64, within: Duration) {
    marks.retain(|(then, _)| later(*then, within) > at);
    if count > 0 {
        marks.push((at, count));
    }
}
