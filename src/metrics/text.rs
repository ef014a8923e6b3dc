//! The text format of Prometheus (version 0.0.4): a family's help and kind, then a line for each sample. A hand-written
//! writer, since the format is these few lines and the known crates either speak OpenMetrics, which `promtool check metrics`
//! does not read, or take labels that a compiler cannot check.

use std::fmt::{Display, Write as _};

/// What a family's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// A text being written.
#[derive(Debug, Default)]
pub struct Text(String);

/// Names and values of labels. None needs escaping: they are words of this program.
type Labels<'a> = &'a [(&'static str, &'static str)];

impl Text {
    /// Begins a family. `help` is a sentence.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// A number of the family that was begun.
    pub fn sample(&mut self, name: &'static str, labels: Labels<'_>, value: impl Display) {
        self.value(name, "", labels, None, value);
    }

    /// A family of one number without labels that only grows.
    pub fn counter(&mut self, name: &'static str, help: &'static str, value: impl Display) {
        self.family(name, Kind::Counter, help);
        self.sample(name, &[], value);
    }

    /// A family of one number without labels.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: impl Display) {
        self.family(name, Kind::Gauge, help);
        self.sample(name, &[], value);
    }

    pub(super) fn histogram(
        &mut self,
        name: &'static str,
        labels: Labels<'_>,
        bounds: &[f64],
        counts: &[u64],
        all: u64,
        sum: f64,
    ) {
        let mut below = 0;
        for (bound, count) in bounds.iter().zip(counts) {
            below += count;
            self.value(name, "_bucket", labels, Some(&bound.to_string()), below);
        }
        self.value(name, "_bucket", labels, Some("+Inf"), all);
        self.value(name, "_sum", labels, None, sum);
        self.value(name, "_count", labels, None, all);
    }

    fn value(&mut self, name: &str, part: &str, labels: Labels<'_>, le: Option<&str>, value: impl Display) {
        let mut pairs: Vec<String> = labels.iter().map(|(label, is)| format!("{label}=\"{is}\"")).collect();
        pairs.extend(le.map(|le| format!("le=\"{le}\"")));
        let pairs = match pairs.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", pairs.join(",")),
        };
        self.line(format_args!("{name}{part}{pairs} {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{line}");
    }

    /// The whole text.
    pub fn into_string(self) -> String {
        self.0
    }
}
