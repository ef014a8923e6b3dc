//! The progress of the leads. On a terminal a row for each with a countdown, or one row for many leads. Elsewhere a line for
//! every change. With --json nothing before the end.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Options;
use crate::api_types::SyncJson;
use crate::cli::progress::{Row, count_by_state, state_text};
use crate::cli::text::plain;
use crate::clock::{SharedClock, until};
use crate::domain::sync::SyncId;

/// More leads get one row for all, so that they fit on the screen.
const MAX_ROWS: usize = 12;

const TOTAL: &str = "{bar:30.cyan/dim} {pos}/{len}  {wide_msg}";

pub(super) struct Show {
    clock: SharedClock,
    style: Style,
    /// The text shown last, by sync.
    shown: BTreeMap<SyncId, String>,
}

enum Style {
    /// For --json.
    Nothing,
    /// `all` with --wait; else only what the first read of the lead shows.
    Lines { all: bool },
    Bars {
        bars: MultiProgress,
        /// By sync, each with its present template.
        rows: BTreeMap<SyncId, (ProgressBar, Option<&'static str>)>,
        total: Option<ProgressBar>,
    },
}

impl Show {
    pub(super) fn new(options: &Options, clock: SharedClock) -> Self {
        let style = match (options.json, options.wait.is_some() && std::io::stdout().is_terminal()) {
            (true, _) => Style::Nothing,
            (false, false) => Style::Lines {
                all: options.wait.is_some(),
            },
            (false, true) => Style::Bars {
                bars: MultiProgress::with_draw_target(ProgressDrawTarget::stdout()),
                rows: BTreeMap::new(),
                total: None,
            },
        };
        Self {
            clock,
            style,
            shown: BTreeMap::new(),
        }
    }

    /// Whether it shows more of a sync than its state.
    pub(super) fn needs_details(&self) -> bool {
        match &self.style {
            Style::Nothing => true,
            Style::Lines { .. } => false,
            Style::Bars { total, .. } => total.is_none(),
        }
    }

    pub(super) fn accepted(&mut self, sync: &SyncJson) {
        match &self.style {
            Style::Nothing | Style::Bars { .. } => {}
            Style::Lines { .. } => self.line(&format!(
                "{}: {} (sync {})",
                plain(sync.lead_id.as_str()),
                state_text(sync),
                sync.id
            )),
        }
        self.shown.insert(sync.id, state_text(sync));
    }

    pub(super) fn changed(&mut self, sync: &SyncJson) {
        let text = state_text(sync);
        let is_new = self.shown.get(&sync.id) != Some(&text);
        let is_relevant = match &self.style {
            Style::Nothing | Style::Bars { total: None, .. } => false,
            Style::Lines { all: true } => true,
            Style::Lines { all: false } => matches!(&*sync.state, "lead_deleted" | "cancelled"),
            Style::Bars { total: Some(_), .. } => sync.is_finished() && sync.state != "sent",
        };
        // The reason is shown once, when the sync has failed.
        let is_new = is_new && sync.state != "rejected";
        if is_new && is_relevant {
            self.line(&format!("{}: {text}", plain(sync.lead_id.as_str())));
        }
        self.shown.insert(sync.id, text);
    }

    pub(super) fn draw(&mut self, syncs: &BTreeMap<SyncId, SyncJson>) {
        let Style::Bars { bars, rows, total } = &mut self.style else {
            return;
        };
        if syncs.len() > MAX_ROWS {
            let bar = total.get_or_insert_with(|| {
                let bar = bars.add(ProgressBar::no_length());
                if let Ok(style) = ProgressStyle::with_template(TOTAL) {
                    bar.set_style(style.progress_chars("━╸─"));
                }
                bar
            });
            let finished = syncs.values().filter(|sync| sync.is_finished()).count();
            bar.set_length(u64::try_from(syncs.len()).unwrap_or(u64::MAX));
            bar.set_position(u64::try_from(finished).unwrap_or(u64::MAX));
            bar.set_message(count_by_state(syncs.values()));
            bar.tick();
            return;
        }
        for (id, sync) in syncs {
            let (bar, template) = rows.entry(*id).or_insert_with(|| {
                let bar = bars.add(ProgressBar::no_length());
                bar.set_prefix(format!("{:<20}", plain(sync.lead_id.as_str())));
                (bar, None)
            });
            let row = Row::of(sync);
            let left = row.tag.map(|tag| until(self.clock.now(), tag));
            let whole = row.tag.map_or(Duration::ZERO, |tag| until(sync.changed_at, tag));
            row.draw(bar, *template != Some(row.template), left, whole);
            *template = Some(row.template);
        }
    }

    /// Shows a problem.
    pub(super) fn note(&self, what: &str) {
        let text = format!("bigin-sync: {}", plain(what));
        // A line that cannot be written must not stop the command.
        let _ = match &self.style {
            Style::Bars { bars, .. } => bars.println(text),
            Style::Nothing | Style::Lines { .. } => writeln!(std::io::stderr(), "{text}"),
        };
    }

    /// Leaves the rows on the screen.
    pub(super) fn finish(&mut self) {
        if let Style::Bars { rows, total, .. } = &self.style {
            rows.values()
                .map(|(bar, _)| bar)
                .chain(total)
                .for_each(ProgressBar::abandon);
        }
    }

    fn line(&self, text: &str) {
        let _ = match &self.style {
            Style::Bars { bars, .. } => bars.println(text),
            Style::Nothing | Style::Lines { .. } => writeln!(std::io::stdout(), "{text}"),
        };
    }
}
