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
//! `--help` shows the options: `--quick` to judge a change, `--small` to see that everything runs. What must hold at any
//! speed (every acknowledged webhook is stored, what is paid to Bigin, one grant of a token) is asserted; what depends on
//! the machine is printed beside its limit.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that fails may do so in the plainest way"
)]
#![expect(clippy::print_stdout, reason = "the figures are what this is for")]
#![expect(clippy::cast_precision_loss, reason = "nothing here is counted to 2^52")]

mod ack;
mod footprint;
mod ids;
mod journey;
mod load;
mod machine;
mod options;
mod postgres;
mod program;
mod proxy;
mod rows;
mod usage;
mod verify_only;

#[expect(dead_code, reason = "the tests need more of it than the measurements")]
#[path = "../../tests/it/cluster.rs"]
mod cluster;

use clap::Parser as _;
use options::{Group, Options};

fn main() {
    let options = Options::parse();
    if options.group == Some(Group::VerifyOnly) {
        return verify_only::serve();
    }
    assert!(
        options.latency.is_none() || options.has(Group::Postgres),
        "--latency is that of a PostgreSQL server, which this run has none of"
    );
    assert!(
        options.leads.is_empty() || matches!(options.group, Some(Group::Journey | Group::Postgres)),
        "these groups have no journeys: {:?}",
        options.group
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        machine::describe();
        println!("ids of leads: {}", options.ids());
        if options.has(Group::Ack) {
            ack::run(&options).await;
        }
        if options.has(Group::Journey) {
            journey::run(&options).await;
        }
        if options.has(Group::Footprint) {
            footprint::run(&options, None).await;
        }
        if options.has(Group::Postgres) {
            postgres::run(&options).await;
        }
        machine::load();
    });
}
