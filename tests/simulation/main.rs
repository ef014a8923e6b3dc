//! The simulator: the whole program in one thread on virtual time, between both fakes without sockets. What is asked of the
//! services is slow, hangs, is applied late, lost or contradicted, people act meanwhile, and the process dies wherever it waits
//! for a service or for the disk, all as a seed decides. The same seed gives the same run. `docs/RELIABILITY.md` says what must hold, and how to run
//! many seeds.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::unreachable,
    reason = "a test may fail in the plainest way"
)]
#![expect(
    clippy::too_many_lines,
    reason = "a long table of cases is easier to read than two short ones"
)]

#[expect(dead_code, reason = "the simulator on the real binary asks it more")]
#[path = "../it/simulator/cast.rs"]
mod cast;
mod coverage;
mod judge;
mod life;
mod log;
#[path = "../it/simulator/people.rs"]
mod people;
mod plan;
mod run;
mod shrink;
mod stories;
mod world;
