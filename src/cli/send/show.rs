//! What is seen of leads on their way: on a terminal a row for each, whose delay counts down, or one for all where they are
//! many; elsewhere a line for every change; and for machines nothing before the end.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Options;
use crate::cli::api::{SyncJob, plain};
use crate::cli::progress::{Look, counted, words};
use crate::clock::{SharedClock, until};

/// Leads that have a row of their own; more would run off the screen.
const MOST_ROWS: usize = 12;

const TOTAL: &str = "{bar:30.cyan/dim} {pos}/{len}  {wide_msg}";

/// Shows how leads fare.
pub(super) struct Show {
    clock: SharedClock,
    style: Style,
    /// What was shown last of each sync.
    shown: BTreeMap<i64, String>,
}

enum Style {
    /// For machines.
    Nothing,
    /// One for every change that is waited for: without --wait, for what shows when the lead is read.
    Lines { all: bool },
    Bars {
        bars: MultiProgress,
        /// By sync, with the template that each has.
        rows: BTreeMap<i64, (ProgressBar, Option<&'static str>)>,
        total: Option<ProgressBar>,
    },
}

impl Show {
    /// As is fit for where it is seen.
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

    /// Whether it shows more of a lead than its state.
    pub(super) fn wants_all(&self) -> bool {
        match &self.style {
            Style::Nothing => true,
            Style::Lines { .. } => false,
            Style::Bars { total, .. } => total.is_none(),
        }
    }

    /// A lead was accepted.
    pub(super) fn accepted(&mut self, sync: &SyncJob) {
        match &self.style {
            Style::Nothing | Style::Bars { .. } => {}
            Style::Lines { .. } => self.line(&format!("{}: accepted (sync {})", plain(&sync.lead_id), sync.id)),
        }
        self.shown.insert(sync.id, words(sync));
    }

    /// Something happened to a lead.
    pub(super) fn changed(&mut self, sync: &SyncJob) {
        let words = words(sync);
        let is_new = self.shown.get(&sync.id) != Some(&words);
        let is_worth_it = match &self.style {
            Style::Nothing | Style::Bars { total: None, .. } => false,
            Style::Lines { all: true } => true,
            // What shows as soon as the lead is read.
            Style::Lines { all: false } => matches!(sync.state.as_str(), "lead_deleted" | "cancelled"),
            Style::Bars { total: Some(_), .. } => sync.is_over() && sync.state != "sent",
        };
        // Its reason is said once, with its end.
        let is_new = is_new && sync.state != "rejected";
        if is_new && is_worth_it {
            self.line(&format!("{}: {words}", plain(&sync.lead_id)));
        }
        self.shown.insert(sync.id, words);
    }

    /// Draws the rows.
    pub(super) fn draw(&mut self, syncs: &BTreeMap<i64, SyncJob>) {
        let Style::Bars { bars, rows, total } = &mut self.style else {
            return;
        };
        if syncs.len() > MOST_ROWS {
            let bar = total.get_or_insert_with(|| {
                let bar = bars.add(ProgressBar::no_length());
                if let Ok(style) = ProgressStyle::with_template(TOTAL) {
                    bar.set_style(style.progress_chars("━╸─"));
                }
                bar
            });
            let over = syncs.values().filter(|sync| sync.is_over()).count();
            bar.set_length(u64::try_from(syncs.len()).unwrap_or(u64::MAX));
            bar.set_position(u64::try_from(over).unwrap_or(u64::MAX));
            bar.set_message(counted(syncs.values()));
            bar.tick();
            return;
        }
        for (id, sync) in syncs {
            let (bar, template) = rows.entry(*id).or_insert_with(|| {
                let bar = bars.add(ProgressBar::no_length());
                bar.set_prefix(format!("{:<20}", plain(&sync.lead_id)));
                (bar, None)
            });
            let look = Look::of(sync);
            let left = look.tag.map(|tag| until(self.clock.now(), tag));
            let whole = look.tag.map_or(Duration::ZERO, |tag| until(sync.changed_at, tag));
            look.draw(bar, *template != Some(look.template), left, whole);
            *template = Some(look.template);
        }
    }

    /// Says what stands in the way.
    pub(super) fn note(&self, what: &str) {
        let text = format!("bigin-sync: {}", plain(what));
        // Beside the data; a line that cannot be written is no reason to stop.
        let _ = match &self.style {
            Style::Bars { bars, .. } => bars.println(text),
            Style::Nothing | Style::Lines { .. } => writeln!(std::io::stderr(), "{text}"),
        };
    }

    /// Leaves the rows as they are.
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
