//! What this process has counted since it started, and the text that Prometheus reads.
//!
//! What only the process knows (answers, calls, durations) is counted here. Whatever is in the store is read from there
//! when it is asked for: it outlives a restart, and is true however many processes work on it. `http/metrics.rs` puts both
//! together.
//!
//! Label values are `&'static str`, so that neither an id nor a text of anybody's can become one, and their number is that
//! of the words in this program.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

pub use text::{Kind, Text};

pub mod process;
mod text;

/// Seconds of a call or a commit: from what memory takes to what no deadline allows.
const SHORT: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Seconds of a state or a whole sync: from less than a call to a day.
const LONG: &[f64] = &[
    0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0, 86400.0,
];

/// Syncs of a claim, which are a hundred at most.
const BATCH: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0];

/// Writes of a commit.
const GROUP: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 512.0];

/// Counters of this process.
#[derive(Debug)]
pub struct Metrics {
    /// How often a worker ended or panicked and was started again.
    pub worker_restarts: Counter,
    /// Webhooks rejected for their signature.
    pub signatures_rejected: Counter,
    /// Those of them since a good one.
    pub rejected_in_a_row: InARow,
    /// Logins to the pages that failed, or were not looked at since too many had; and calls of the API with a wrong token.
    pub logins_failed: Counter,
    /// Webhooks by what was answered and its HTTP status.
    pub webhooks: Counters<2>,
    /// Calls by service, operation and result.
    pub calls: Counters<3>,
    /// Seconds of calls that were sent, by service and operation.
    pub call_seconds: Histograms<2>,
    /// Syncs of a claim, by stage.
    pub batch_syncs: Histograms<1>,
    /// Seconds in a state, by the state that was left.
    pub state_seconds: Histograms<1>,
    /// Seconds from opening to end, by outcome.
    pub sync_seconds: Histograms<1>,
    pub commit_seconds: Histograms<0>,
    pub commit_writes: Histograms<0>,
    /// Transactions that were lost.
    pub commits_failed: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            worker_restarts: Counter::default(),
            signatures_rejected: Counter::default(),
            rejected_in_a_row: InARow::default(),
            logins_failed: Counter::default(),
            webhooks: Counters::default(),
            calls: Counters::default(),
            call_seconds: Histograms::new(SHORT),
            batch_syncs: Histograms::new(BATCH),
            state_seconds: Histograms::new(LONG),
            sync_seconds: Histograms::new(LONG),
            commit_seconds: Histograms::new(SHORT),
            commit_writes: Histograms::new(GROUP),
            commits_failed: Counter::default(),
        }
    }
}

impl Metrics {
    /// Writes all of them.
    pub fn write(&self, text: &mut Text) {
        self.webhooks.write(
            text,
            "bigin_sync_webhook_answers_total",
            "Webhooks, by what was answered and its HTTP status.",
            ["answer", "code"],
        );
        text.counter(
            "bigin_sync_signatures_rejected_total",
            "Webhooks rejected for their signature.",
            self.signatures_rejected.get(),
        );
        text.counter(
            "bigin_sync_logins_failed_total",
            "Logins to the dashboard, and calls of the API, with a wrong token.",
            self.logins_failed.get(),
        );
        self.calls.write(
            text,
            "bigin_sync_remote_calls_total",
            "Calls to a remote service, by operation and result.",
            ["remote", "operation", "result"],
        );
        self.call_seconds.write(
            text,
            "bigin_sync_remote_call_duration_seconds",
            "Time from sending a call to its whole answer, or until it was given up.",
            ["remote", "operation"],
        );
        self.batch_syncs
            .write(text, "bigin_sync_batch_syncs", "Syncs in one claim.", ["stage"]);
        self.state_seconds.write(
            text,
            "bigin_sync_state_duration_seconds",
            "Time that syncs were in a state, by the state they left.",
            ["state"],
        );
        self.sync_seconds.write(
            text,
            "bigin_sync_sync_duration_seconds",
            "Time from the opening of a sync to its end, by how it ended.",
            ["outcome"],
        );
        self.commit_seconds.write(
            text,
            "bigin_sync_store_commit_duration_seconds",
            "Time of a transaction with its flush to disk.",
            [],
        );
        self.commit_writes.write(
            text,
            "bigin_sync_store_commit_writes",
            "Writes that were committed together.",
            [],
        );
        text.counter(
            "bigin_sync_store_commits_failed_total",
            "Transactions that could not be committed.",
            self.commits_failed.get(),
        );
        text.counter(
            "bigin_sync_worker_restarts_total",
            "Workers that ended or panicked and were started again.",
            self.worker_restarts.get(),
        );
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Returns the number before.
    pub fn add(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// How many there are.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often something has happened since it last did not, and when the last time was.
#[derive(Debug, Default)]
pub struct InARow(Mutex<(u64, Option<Timestamp>)>);

impl InARow {
    /// Once more.
    pub fn add(&self, at: Timestamp) {
        let mut row = lock(&self.0);
        *row = (row.0 + 1, Some(at));
    }

    /// It did not happen.
    pub fn end(&self) {
        *lock(&self.0) = (0, None);
    }

    /// How often, and when the last time was.
    pub fn get(&self) -> (u64, Option<Timestamp>) {
        *lock(&self.0)
    }
}

/// Counters that differ in the values of `N` labels.
#[derive(Debug)]
pub struct Counters<const N: usize>(Mutex<BTreeMap<[&'static str; N], u64>>);

impl<const N: usize> Default for Counters<N> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<const N: usize> Counters<N> {
    /// Shows a counter before anything is counted: what Prometheus first sees at 1 has not grown, to it.
    pub fn show(&self, labels: [&'static str; N]) {
        lock(&self.0).entry(labels).or_default();
    }

    /// One more.
    pub fn add(&self, labels: [&'static str; N]) {
        *lock(&self.0).entry(labels).or_default() += 1;
    }

    /// Whether anything was counted whose first label is this.
    pub fn any(&self, first: &'static str) -> bool {
        let counts = lock(&self.0);
        counts
            .iter()
            .any(|(labels, count)| labels.first() == Some(&first) && *count > 0)
    }

    fn write(&self, text: &mut Text, name: &'static str, help: &'static str, labels: [&'static str; N]) {
        text.family(name, Kind::Counter, help);
        for (values, count) in &*lock(&self.0) {
            text.sample(name, &pairs(labels, *values), count);
        }
    }
}

/// Histograms that differ in the values of `N` labels.
#[derive(Debug)]
pub struct Histograms<const N: usize> {
    bounds: &'static [f64],
    by: Mutex<BTreeMap<[&'static str; N], Histogram>>,
}

#[derive(Debug)]
struct Histogram {
    /// How many were at most the bound in the same place, and more than the one before.
    counts: Vec<u64>,
    all: u64,
    sum: f64,
}

impl<const N: usize> Histograms<N> {
    fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            by: Mutex::default(),
        }
    }

    /// Counts a time.
    pub fn time(&self, labels: [&'static str; N], took: Duration) {
        self.observe(labels, took.as_secs_f64());
    }

    /// Counts a number of things.
    pub fn size(&self, labels: [&'static str; N], things: usize) {
        self.observe(labels, f64::from(u32::try_from(things).unwrap_or(u32::MAX)));
    }

    fn observe(&self, labels: [&'static str; N], value: f64) {
        let mut by = lock(&self.by);
        let histogram = by.entry(labels).or_insert_with(|| Histogram {
            counts: vec![0; self.bounds.len()],
            all: 0,
            sum: 0.0,
        });
        if let Some(place) = self.bounds.iter().position(|bound| value <= *bound) {
            histogram.counts[place] += 1;
        }
        histogram.all += 1;
        histogram.sum += value;
    }

    fn write(&self, text: &mut Text, name: &'static str, help: &'static str, labels: [&'static str; N]) {
        text.family(name, Kind::Histogram, help);
        for (values, histogram) in &*lock(&self.by) {
            let labels = pairs(labels, *values);
            text.histogram(
                name,
                &labels,
                self.bounds,
                &histogram.counts,
                histogram.all,
                histogram.sum,
            );
        }
    }
}

fn pairs<const N: usize>(labels: [&'static str; N], values: [&'static str; N]) -> Vec<(&'static str, &'static str)> {
    labels.into_iter().zip(values).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_counts_what_is_at_most_its_bound() {
        let histograms = Histograms::new(BATCH);
        for things in [1, 2, 3, 100, 101] {
            histograms.size(["upsert"], things);
        }
        let mut text = Text::default();
        histograms.write(&mut text, "batch", "Batches.", ["stage"]);
        let text = text.into_string();
        let counted = |bound: &str| {
            let line = text.lines().find(|line| line.contains(&format!("le=\"{bound}\"")));
            line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        };
        let cases = [("1", 1), ("2", 2), ("5", 3), ("75", 3), ("100", 4), ("+Inf", 5)];
        for (bound, count) in cases {
            assert_eq!(counted(bound), Some(count), "{bound}: {text}");
        }
        assert!(text.contains("batch_sum{stage=\"upsert\"} 207\n"), "{text}");
        assert!(text.contains("batch_count{stage=\"upsert\"} 5\n"), "{text}");
    }

    #[test]
    fn a_counter_is_shown_at_nought_and_keeps_what_it_has() {
        let counters = Counters::default();
        counters.show(["a"]);
        counters.add(["b"]);
        counters.show(["b"]);
        let mut text = Text::default();
        counters.write(&mut text, "n", "N.", ["of"]);
        assert_eq!(
            text.into_string(),
            "# HELP n N.\n# TYPE n counter\nn{of=\"a\"} 0\nn{of=\"b\"} 1\n"
        );
    }
}
