//! What happened in all runs together.

use std::collections::BTreeMap;
use std::fmt;

/// How often each thing happened.
#[derive(Debug, Default)]
pub struct Coverage(BTreeMap<String, usize>, BTreeMap<&'static str, (u64, u64)>);

impl Coverage {
    /// Keeps the greatest of each measure, and of which seed it is.
    pub fn measure(&mut self, seed: u64, measures: [(&'static str, u64); 5]) {
        for (what, value) in measures {
            let greatest = self.1.entry(what).or_default();
            *greatest = (value, seed).max(*greatest);
        }
    }

    pub fn add(&mut self, seen: &BTreeMap<String, usize>) {
        for (what, times) in seen {
            *self.0.entry(what.clone()).or_default() += times;
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, times) in &self.0 {
            writeln!(f, "{times:>9}  {what}")?;
        }
        for (what, (value, seed)) in &self.1 {
            writeln!(f, "{value:>9}  {what} (seed {seed})")?;
        }
        Ok(())
    }
}
