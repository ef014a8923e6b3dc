//! The rows of the tables: what was measured, beside its limit.

/// Several measurements of one thing.
#[derive(Debug, Clone, Default)]
pub struct Series(Vec<f64>);

impl Series {
    /// Adds a measurement.
    pub fn add(&mut self, measured: f64) {
        self.0.push(measured);
        self.0.sort_by(f64::total_cmp);
    }

    /// Adds several.
    pub fn extend(&mut self, measured: Vec<f64>) {
        self.0.extend(measured);
        self.0.sort_by(f64::total_cmp);
    }

    /// The one in the middle.
    pub fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    /// The measurement that so large a part is below, from 0 to 100.
    pub fn percentile(&self, part: usize) -> f64 {
        self.0[(self.0.len() * part / 100).min(self.0.len() - 1)]
    }

    /// The median, with the least and the most.
    pub fn show(&self, unit: &str) -> String {
        let (least, most) = (self.0[0], self.0[self.0.len() - 1]);
        let digits = match self.median() {
            ..10.0 => 2,
            ..1000.0 => 1,
            _ => 0,
        };
        let space = if unit.is_empty() { "" } else { " " };
        format!(
            "{:.digits$}{space}{unit} ({least:.digits$}–{most:.digits$})",
            self.median()
        )
    }
}

/// Prints a heading, with the columns of what follows.
pub fn table(title: &str) {
    columns(title, &["what", "measured", "limit", ""]);
}

/// Prints a heading, with columns of these names.
pub fn columns(title: &str, names: &[&str]) {
    println!(
        "\n## {title}\n\n| {} |\n|{}",
        names.join(" | "),
        "---|".repeat(names.len())
    );
}

/// Prints a row of such a table.
pub fn row(cells: &[&str]) {
    println!("| {} |", cells.join(" | "));
}

/// Prints a row without a limit.
pub fn figure(what: &str, measured: &str) {
    row(&[what, measured, "", ""]);
}

/// Prints a row that must stay at or under a limit.
pub fn at_most(what: &str, measured: &str, value: f64, limit: f64, unit: &str) {
    verdict(what, measured, &format!("≤ {limit} {unit}"), value <= limit);
}

/// Prints a row that must reach a limit.
pub fn at_least(what: &str, measured: &str, value: f64, limit: f64, unit: &str) {
    verdict(what, measured, &format!("≥ {limit} {unit}"), value >= limit);
}

fn verdict(what: &str, measured: &str, limit: &str, met: bool) {
    row(&[what, measured, limit, word(met)]);
}

/// Whether a limit is met, in the word of the tables.
pub fn word(met: bool) -> &'static str {
    if met { "MET" } else { "NOT MET" }
}
