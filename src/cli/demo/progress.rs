//! Progress: on a terminal a row for every lead with a countdown, elsewhere a line for every change.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use jiff::Timestamp;

use super::client::Snapshot;
use super::fixtures::{Lead, Leads, OTHERS};
use crate::api_types::SyncJson;
use crate::cli::progress::{COUNTDOWN, GOOD, Row, count_by_state};
use crate::cli::text::count;
use crate::clock::{SharedClock, until};

/// The text of an unfinished row during the crash.
const DOWN: &str = "the service is down";

pub(super) struct Progress {
    clock: SharedClock,
    started: Timestamp,
    tag_delay: Duration,
    bars: Option<MultiProgress>,
    rows: Mutex<Vec<LeadRow>>,
}

/// One lead, or the others together.
struct LeadRow {
    leads: Vec<String>,
    label: String,
    bar: ProgressBar,
    /// The text before the service has a sync.
    before: &'static str,
    shown: Option<Row>,
}

impl Progress {
    /// Rows on a terminal, else lines.
    pub(super) fn new(leads: &Leads, tag_delay: Duration, clock: SharedClock) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let bars = is_terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stdout()));
        Self::with(bars, leads, tag_delay, clock)
    }

    /// Lines, also on a terminal.
    pub(super) fn lines(leads: &Leads, tag_delay: Duration, clock: SharedClock) -> Self {
        Self::with(None, leads, tag_delay, clock)
    }

    fn with(bars: Option<MultiProgress>, leads: &Leads, tag_delay: Duration, clock: SharedClock) -> Self {
        let row = |label: String, case: &str, leads: &[Lead]| LeadRow::new(bars.as_ref(), label, case, leads);
        let named = leads.named.iter();
        let mut rows: Vec<LeadRow> = named
            .map(|lead| row(lead.name.clone(), lead.case, std::slice::from_ref(lead)))
            .collect();
        rows.push(row(count(leads.others.len(), "other"), OTHERS, &leads.others));
        Self {
            started: clock.now(),
            clock,
            tag_delay,
            bars,
            rows: Mutex::new(rows),
        }
    }

    pub(super) fn log(&self, what: &str) {
        self.line(&format!("{what}."));
    }

    /// Sets the text of a lead until the service has a sync of it.
    pub(super) fn expect(&self, lead: &str, before: &'static str) {
        let mut rows = self.rows();
        for row in rows.iter_mut().filter(|row| row.leads.iter().any(|id| id == lead)) {
            row.before = before;
        }
    }

    pub(super) fn show(&self, snapshot: &Snapshot) {
        for row in self.rows().iter_mut() {
            let now = row.content(snapshot);
            // Lines report the crash once for all leads, and nothing again after it.
            if self.bars.is_none() && now.text == DOWN {
                continue;
            }
            let is_changed = row.shown.as_ref() != Some(&now);
            let left = now.tag.map(|tag| until(self.clock.now(), tag));
            if self.bars.is_some() {
                let is_new = row.shown.as_ref().is_none_or(|shown| shown.template != now.template);
                now.draw(&row.bar, is_new, left, self.tag_delay);
            } else if is_changed && let Some(text) = row.line(&now, left) {
                self.line(&text);
            }
            row.shown = Some(now);
        }
    }

    /// Leaves the rows on the screen.
    pub(super) fn finish(&self) {
        self.rows().iter().for_each(|row| row.bar.abandon());
    }

    fn rows(&self) -> MutexGuard<'_, Vec<LeadRow>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, text: &str) {
        let since = until(self.started, self.clock.now()).as_secs_f64();
        let text = format!("{since:5.1} s  {text}");
        // A line that cannot be written must not stop the demo.
        let _ = match &self.bars {
            Some(bars) => bars.println(text),
            None => writeln!(std::io::stdout(), "{text}"),
        };
    }
}

impl LeadRow {
    fn new(bars: Option<&MultiProgress>, label: String, case: &str, leads: &[Lead]) -> Self {
        let bar = ProgressBar::no_length();
        if let Some(bars) = bars {
            bars.add(bar.clone());
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar.set_prefix(format!("{label:<20} {case:<21}"));
        Self {
            leads: leads.iter().map(|lead| lead.id.clone()).collect(),
            label,
            bar,
            before: "not requested yet",
            shown: None,
        }
    }

    fn content(&self, snapshot: &Snapshot) -> Row {
        let syncs: Vec<&SyncJson> = self.leads.iter().filter_map(|lead| snapshot.syncs.get(lead)).collect();
        if !snapshot.is_up && !syncs.iter().all(|sync| sync.is_finished()) {
            return Row::plain(DOWN);
        }
        match (self.leads.as_slice(), syncs.as_slice()) {
            ([_], [sync]) => Row::of(sync),
            (_, []) => Row::plain(self.before),
            _ => row_of_many(&syncs, self.leads.len()),
        }
    }

    /// The line for a change; none for the text before the first sync.
    fn line(&self, now: &Row, left: Option<Duration>) -> Option<String> {
        let shown = self.shown.as_ref().filter(|_| now.text != self.before)?;
        let is_moved = shown.tag.is_some_and(|tag| now.tag.is_some_and(|now| now != tag));
        let moved = if is_moved { " (delayed)" } else { "" };
        Some(format!("{}: {}{moved}", self.label, now.with_countdown(left)))
    }
}

/// A row for `all` leads, of which the service has `syncs`.
fn row_of_many(syncs: &[&SyncJson], all: usize) -> Row {
    let are_all = |state: &str| syncs.iter().filter(|sync| sync.state == state).count() == all;
    let text = count_by_state(syncs.iter().copied());
    if are_all("sent") {
        return Row::new(GOOD, format!("✓ {text}"));
    }
    if are_all("upserted") {
        return Row {
            tag: syncs.iter().filter_map(|sync| sync.tag_not_before).max(),
            ..Row::new(COUNTDOWN, text)
        };
    }
    Row::plain(text)
}
