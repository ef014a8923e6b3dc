//! What a run measures, and with what load.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use jiff::SignedDuration;

use crate::ids::Ids;

/// Measures bigin-sync: speed, memory, calls and credits.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo bench --bench speed --")]
pub struct Options {
    /// What to measure; without it, all (with --quick: ack and journey).
    pub group: Option<Group>,

    /// Numbers of leads of a journey, each measured by itself.
    pub leads: Vec<usize>,

    /// Few leads and one round: shows that it runs. The figures mean nothing.
    #[arg(long)]
    pub small: bool,

    /// Only the processor time of a webhook at 64 connections and of a lead of 10,000: to compare a change with what was
    /// before, in one or two minutes.
    #[arg(long)]
    pub quick: bool,

    /// Ids of leads with a constant prefix and a counter, instead of random ones like Sanity's.
    #[arg(long)]
    sequential: bool,

    /// What the random ids follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// A remote PostgreSQL server: how much longer each round trip takes, such as `500us`.
    #[arg(long, value_parser = duration)]
    pub latency: Option<Duration>,

    /// Cargo adds it.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Group {
    /// What a webhook costs, beside Node and beside checking its signature alone.
    Ack,
    /// What a lead costs from its webhook to SENT: processor time, calls, credits.
    Journey,
    /// Memory, and the time from the start to the first stored webhook.
    Footprint,
    /// The same on PostgreSQL, and three replicas beside one.
    Postgres,
    /// The server that only checks signatures, which a run starts as a process of its own.
    #[value(hide = true)]
    VerifyOnly,
}

impl Options {
    /// Whether a group is part of this run.
    pub fn has(&self, group: Group) -> bool {
        match self.group {
            Some(only) => only == group,
            None if self.quick => matches!(group, Group::Ack | Group::Journey),
            None => group != Group::VerifyOnly,
        }
    }

    /// How the ids of leads are made.
    pub fn ids(&self) -> Ids {
        if self.sequential {
            Ids::Sequential
        } else {
            Ids::Random { seed: self.seed }
        }
    }

    /// The one with `--small`, otherwise the other.
    pub fn pick<T>(&self, full: T, small: T) -> T {
        if self.small { small } else { full }
    }

    /// How often a webhook's cost is measured.
    pub fn rounds(&self) -> usize {
        match (self.small, self.quick) {
            (true, _) => 1,
            (false, true) => 3,
            (false, false) => 5,
        }
    }

    /// The numbers of leads of a journey: those that were given, or the usual ones.
    pub fn journeys<'a>(&'a self, usual: &'a [usize]) -> &'a [usize] {
        match (self.leads.is_empty(), self.small, self.quick) {
            (false, ..) => &self.leads,
            (true, true, _) => &[100],
            (true, false, true) => &[10_000],
            (true, false, false) => usual,
        }
    }
}

fn duration(text: &str) -> Result<Duration, jiff::Error> {
    Ok(text.parse::<SignedDuration>()?.unsigned_abs())
}
