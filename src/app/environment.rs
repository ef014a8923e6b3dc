//! What the program takes from the machine it runs on. The simulator replaces all of it.

use crate::clock::SharedClock;
use crate::http_client::Network;
use crate::store::Commits;

/// Time, network and disk. (Randomness comes from `chance`, which a simulation seeds.)
pub struct Environment {
    /// What time it is.
    pub clock: SharedClock,
    /// Where calls leave.
    pub network: Network,
    /// Where transactions of SQLite run.
    pub commits: Commits,
}

impl Environment {
    /// The machine's own network and disk.
    pub fn real(clock: SharedClock) -> Self {
        Self {
            clock,
            network: Network::default(),
            commits: Commits::Thread,
        }
    }
}
