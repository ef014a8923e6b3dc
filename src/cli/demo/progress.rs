//! What can be seen while it runs: on a terminal a line for every lead, whose delay counts down; elsewhere a line for
//! every change.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use jiff::Timestamp;

use super::fixtures::{CROWD, Cast, Lead, others};
use super::watcher::Seen;
use crate::cli::api::SyncJob;
use crate::cli::progress::{self, Look};
use crate::clock::{SharedClock, until};

/// What a row shows that nobody works on.
const DEAD: &str = "the service is dead";

/// The rows and what they showed last.
pub(super) struct Progress {
    clock: SharedClock,
    started: Timestamp,
    tag_delay: Duration,
    bars: Option<MultiProgress>,
    rows: Mutex<Vec<Row>>,
}

/// One lead, or the crowd.
struct Row {
    leads: Vec<String>,
    label: String,
    bar: ProgressBar,
    /// What it shows before the service knows of it.
    before: &'static str,
    shown: Option<Look>,
}

impl Progress {
    /// Rows for everybody, on a terminal if there is one.
    pub(super) fn new(cast: &Cast, tag_delay: Duration, clock: SharedClock) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let bars = is_terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stdout()));
        Self::with(bars, cast, tag_delay, clock)
    }

    /// A line for every change, wherever it goes.
    pub(super) fn lines(cast: &Cast, tag_delay: Duration, clock: SharedClock) -> Self {
        Self::with(None, cast, tag_delay, clock)
    }

    fn with(bars: Option<MultiProgress>, cast: &Cast, tag_delay: Duration, clock: SharedClock) -> Self {
        let mut rows: Vec<Row> = cast
            .told
            .iter()
            .map(|lead| Row::new(bars.as_ref(), lead.name.clone(), lead.story, std::slice::from_ref(lead)))
            .collect();
        rows.push(Row::new(bars.as_ref(), others(cast.crowd.len()), CROWD, &cast.crowd));
        Self {
            started: clock.now(),
            clock,
            tag_delay,
            bars,
            rows: Mutex::new(rows),
        }
    }

    /// Says what happens.
    pub(super) fn say(&self, what: &str) {
        self.line(&format!("{what}."));
    }

    /// Sets what is shown of a lead until the service knows of it.
    pub(super) fn expect(&self, lead: &str, before: &'static str) {
        let mut rows = self.rows();
        for row in rows.iter_mut().filter(|row| row.leads.iter().any(|id| id == lead)) {
            row.before = before;
        }
    }

    /// Shows what the service says.
    pub(super) fn show(&self, seen: &Seen) {
        for row in self.rows().iter_mut() {
            let look = row.look(seen);
            // That it is dead is said once, for all; and what it said before need not be said again.
            if self.bars.is_none() && look.text == DEAD {
                continue;
            }
            let news = row.shown.as_ref() != Some(&look);
            let left = look.tag.map(|tag| until(self.clock.now(), tag));
            if self.bars.is_some() {
                let is_new = row.shown.as_ref().is_none_or(|shown| shown.template != look.template);
                look.draw(&row.bar, is_new, left, self.tag_delay);
            } else if news && let Some(text) = row.news(&look, left) {
                self.line(&text);
            }
            row.shown = Some(look);
        }
    }

    /// Leaves the rows as they are.
    pub(super) fn finish(&self) {
        self.rows().iter().for_each(|row| row.bar.abandon());
    }

    fn rows(&self) -> MutexGuard<'_, Vec<Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, text: &str) {
        let since = until(self.started, self.clock.now()).as_secs_f64();
        let text = format!("{since:5.1} s  {text}");
        // A line that cannot be written is no reason to stop.
        let _ = match &self.bars {
            Some(bars) => bars.println(text),
            None => writeln!(std::io::stdout(), "{text}"),
        };
    }
}

impl Row {
    fn new(bars: Option<&MultiProgress>, label: String, story: &str, leads: &[Lead]) -> Self {
        let bar = ProgressBar::no_length();
        if let Some(bars) = bars {
            bars.add(bar.clone());
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar.set_prefix(format!("{label:<20} {story:<26}"));
        Self {
            leads: leads.iter().map(|lead| lead.id.clone()).collect(),
            label,
            bar,
            before: "not asked for yet",
            shown: None,
        }
    }

    fn look(&self, seen: &Seen) -> Look {
        let syncs: Vec<&SyncJob> = self.leads.iter().filter_map(|lead| seen.syncs.get(lead)).collect();
        let mut look = match (self.leads.as_slice(), syncs.as_slice()) {
            ([_], [sync]) => Look::of(sync),
            (_, []) => Look::plain(self.before),
            _ => Look::of_many(&syncs, self.leads.len()),
        };
        if !seen.up && !syncs.iter().all(|sync| sync.is_over()) {
            look.text = DEAD.to_owned();
            look.template = progress::PLAIN;
            look.tag = None;
        }
        look
    }

    /// The line for somebody who sees no bars.
    fn news(&self, look: &Look, left: Option<Duration>) -> Option<String> {
        self.shown.as_ref().filter(|_| look.text != self.before)?;
        let label = &self.label;
        Some(match left {
            Some(left) => {
                let moved = self
                    .shown
                    .as_ref()
                    .and_then(|shown| shown.tag)
                    .is_some_and(|tag| Some(tag) != look.tag);
                let again = if moved { "put off: " } else { "" };
                format!("{label}: {again}{} {:.1} s", look.text, left.as_secs_f64())
            }
            None => format!("{label}: {}", look.text),
        })
    }
}
