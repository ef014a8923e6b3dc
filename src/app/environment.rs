//! What the application uses of the machine. The simulator replaces all of it.

use crate::clock::SharedClock;
use crate::http_client::Network;
use crate::store::Commits;

/// Time, network and disk. Randomness comes from `random`, which a simulation seeds.
pub struct Environment {
    /// The time.
    pub clock: SharedClock,
    /// The network for all calls.
    pub network: Network,
    /// How transactions of SQLite run.
    pub commits: Commits,
}

impl Environment {
    /// The machine's network and disk.
    pub fn real(clock: SharedClock) -> Self {
        Self {
            clock,
            network: Network::default(),
            commits: Commits::Thread,
        }
    }
}
