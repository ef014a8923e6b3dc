//! Processor time, by what has used it.
//!
//! A client that leaves work to its database looks cheap: on PostgreSQL the server's time is the larger part. So it is
//! counted, with the background processes that write the log and the pages. What the server does after the last
//! measurement, such as a checkpoint, is not.

use crate::machine::{busy_time, cpu_of, cpu_of_tree};
use crate::program::Server;

/// Microseconds of processor time: since the start, or between two moments.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Of the programs that are measured.
    pub programs: f64,
    /// Of the PostgreSQL server, if its first process was given.
    pub database: Option<f64>,
    /// Of this process: the simulated services, the sender of the webhooks, and the latency to a database.
    pub bench: f64,
    /// Of the whole machine.
    pub machine: f64,
}

impl Usage {
    /// What has been used until now. The server is given by the id of its first process.
    pub fn now(programs: &[Server], postmaster: Option<u32>) -> Self {
        Self {
            programs: programs.iter().map(Server::cpu).sum(),
            database: postmaster.map(cpu_of_tree),
            bench: cpu_of(std::process::id()),
            machine: busy_time(),
        }
    }

    /// What has been used between an earlier moment and this one.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            programs: self.programs - earlier.programs,
            database: self.database.zip(earlier.database).map(|(now, then)| now - then),
            bench: self.bench - earlier.bench,
            machine: self.machine - earlier.machine,
        }
    }

    /// The part of each of so many webhooks or leads.
    pub fn each(self, count: usize) -> Self {
        let count = count as f64;
        Self {
            programs: self.programs / count,
            database: self.database.map(|database| database / count),
            bench: self.bench / count,
            machine: self.machine / count,
        }
    }
}
