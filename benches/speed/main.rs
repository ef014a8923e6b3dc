//! How fast, how small, at what cost: the program itself as it is released, beside what a user would pick instead. Each
//! group of rows is one command, and `docs/PERFORMANCE.md` says what they showed:
//!
//! ```text
//! cargo bench --bench speed -- ack         what a webhook costs, beside Node and beside checking its signature alone
//! cargo bench --bench speed -- journey     what a lead costs from its webhook to SENT: processor time, calls, credits
//! cargo bench --bench speed -- footprint   memory, and the time from the start to the first stored webhook
//! cargo bench --bench speed -- postgres    the same on PostgreSQL, and three replicas beside one
//! ```
//!
//! `--small` runs a group with few leads, to see that it runs. What must hold whatever the speed (every acknowledged webhook
//! is stored, what is paid to Bigin, one grant of a token) is asserted; what depends on the machine is printed beside its limit.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that fails may do so in the plainest way"
)]
#![expect(clippy::print_stdout, reason = "the figures are what this is for")]
#![expect(clippy::cast_precision_loss, reason = "nothing here is counted to 2^52")]

mod ack;
mod footprint;
mod journey;
mod load;
mod machine;
mod postgres;
mod program;
mod rows;
mod verify_only;

#[expect(dead_code, reason = "the tests need more of it than the measurements")]
#[path = "../../tests/it/cluster.rs"]
mod cluster;

use machine::Size;

fn main() {
    // Cargo adds `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let is_small = args.iter().any(|arg| arg == "--small");
    let size = if is_small { Size::Small } else { Size::Full };
    let leads: Vec<usize> = args.iter().filter_map(|arg| arg.parse().ok()).collect();
    let group = args
        .iter()
        .find(|arg| !arg.starts_with("--") && arg.parse::<usize>().is_err());
    if group.is_some_and(|group| group == verify_only::NAME) {
        return verify_only::serve();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        machine::describe();
        match group.map(String::as_str) {
            Some("ack") => ack::run(size).await,
            Some("journey") => journey::run(size, &leads).await,
            Some("footprint") => footprint::run(size, None).await,
            Some("postgres") => postgres::run(size).await,
            Some(other) => panic!("no such group: {other}"),
            None => {
                ack::run(size).await;
                journey::run(size, &leads).await;
                footprint::run(size, None).await;
                postgres::run(size).await;
            }
        }
        machine::load();
    });
}
