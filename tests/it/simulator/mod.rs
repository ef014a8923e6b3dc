//! The simulator: the real program between both fakes, with leads, edits, repeats, losses, faults and kills drawn from a
//! seed, and judged at the end by what the fakes have seen. `docs/RELIABILITY.md` says how to run many seeds.

mod cast;
mod coverage;
mod fleet;
mod judge;
mod line;
mod people;
mod plan;
mod play;
mod power;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bigin_sync::clock::{Clock as _, SystemClock, until};

use self::coverage::Coverage;
use self::fleet::Ground;
use self::plan::Plan;
use self::play::Played;
use crate::cluster::{self, Cluster};

/// What the program runs on.
struct Mode {
    /// Where what is kept of a run is found.
    name: &'static str,
    /// Seeds of a run that is part of all tests. Where they do not show everything, as many again follow, three times at most.
    few: u64,
    /// Runs that take place at the same time: most of each is waiting.
    at_once: u64,
    plan: fn(u64) -> Plan,
    ground: fn(Option<&Cluster>) -> Ground<'_>,
    has_server: bool,
    required: &'static [(&'static str, u64)],
}

/// One process on a file.
const ON_SQLITE: Mode = Mode {
    name: "simulator",
    few: 12,
    at_once: 6,
    plan: Plan::of,
    ground: |_| Ground::File,
    has_server: false,
    required: &coverage::OF_ONE_PROCESS,
};

/// The same, with a power cut at each end of the process.
const WITH_POWER_CUTS: Mode = Mode {
    name: "simulator-power-cuts",
    few: 4,
    at_once: 4,
    plan: Plan::of_power_cuts,
    ground: |_| Ground::PowerCuts { is_only_a_look: false },
    has_server: false,
    required: &coverage::OF_POWER_CUTS,
};

/// Three replicas on a server.
const ON_POSTGRESQL: Mode = Mode {
    name: "simulator-postgresql",
    few: 50,
    at_once: 4,
    plan: Plan::of_replicas,
    ground: |server| Ground::Server(server.expect("it was started")),
    has_server: true,
    required: &coverage::OF_REPLICAS,
};

#[expect(
    clippy::disallowed_methods,
    reason = "how much is simulated is for whoever runs the test to say"
)]
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn whatever_happens_every_promise_holds() {
    simulate(&ON_SQLITE);
}

#[test]
fn power_cuts_lose_nothing_acknowledged() {
    simulate(&WITH_POWER_CUTS);
}

/// Else the recorder would be blind.
#[test]
fn power_cuts_lose_commits_that_were_not_flushed() {
    let folder = tempfile::tempdir().unwrap();
    let program = power::program_that_does_not_flush_commits(folder.path());
    let plan = Plan::of_power_cuts(1);
    let ground = Ground::PowerCuts { is_only_a_look: true };
    let report = in_runtime(play::play(&plan, ground, Some(&program))).power;
    assert!(!report.losses.is_empty(), "{report:?}");
    // It loses the last commits, and no more.
    assert_eq!(report.disorder, [""; 0]);
}

#[test]
#[ignore = "needs PostgreSQL"]
fn replicas_keep_every_guarantee() {
    simulate(&ON_POSTGRESQL);
}

/// `SIM_SEEDS=1000` runs as many, `SIM_SEED=17` begins with that one, `SIM_AT_ONCE=1` runs one at a time.
#[expect(clippy::print_stdout, reason = "what was seen is the result of a long run")]
fn simulate(mode: &Mode) {
    let first = setting("SIM_SEED", 1);
    let seeds = setting("SIM_SEEDS", mode.few);
    let clock = SystemClock::new();
    let began = clock.now();
    let mut coverage = Coverage::of(mode.required);
    let mut faults = BTreeMap::new();
    // One seed is a look at that seed; it cannot show everything.
    let most = if seeds == 1 { 1 } else { 4 * seeds };
    let mut next = first;
    while next < first + most && faults.is_empty() && !(next > first && coverage.missing(seeds).is_empty()) {
        run(mode, next, seeds, &mut coverage, &mut faults);
        next += seeds;
    }
    println!(
        "{} seeds from {first} on, in {} s",
        next - first,
        until(began, clock.now()).as_secs()
    );
    println!("{coverage}");
    let broken: Vec<String> = faults
        .iter()
        .map(|(seed, faults): (&u64, &Vec<String>)| format!("seed {seed}:\n  {}", faults.join("\n  ")))
        .collect();
    assert!(
        broken.is_empty(),
        "{} of {} seeds broke a guarantee; SIM_SEEDS=1 SIM_SEED=… plays one again\n{}",
        broken.len(),
        next - first,
        broken.join("\n")
    );
    let missing = coverage.missing(seeds);
    assert!(
        seeds == 1 || missing.is_empty(),
        "these happened too seldom: {missing:?}"
    );
}

/// Runs `seeds` seeds from `first` on, several at a time. Each of those that run beside each other has a server of its own,
/// so that a server that ends is that of one run.
fn run(mode: &Mode, first: u64, seeds: u64, coverage: &mut Coverage, faults: &mut BTreeMap<u64, Vec<String>>) {
    let next = AtomicU64::new(first);
    let shared = Mutex::new((coverage, faults));
    std::thread::scope(|scope| {
        for _ in 0..setting("SIM_AT_ONCE", mode.at_once).min(seeds) {
            scope.spawn(|| {
                let start = || mode.has_server.then(server);
                let mut server = start();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| one(mode, seed, server.as_ref())));
                    let found = match outcome {
                        Ok((seen, found)) => {
                            shared.lock().unwrap().0.add(&seen);
                            found
                        }
                        Err(panic) => {
                            // It may have left the server in any state.
                            server = start();
                            let text = panic.downcast_ref::<String>().cloned();
                            vec![text.unwrap_or_else(|| "it panicked".to_owned())]
                        }
                    };
                    if !found.is_empty() {
                        shared.lock().unwrap().1.insert(seed, found);
                    }
                }
            });
        }
    });
}

/// A server whose commits are not on its disk when it answers, unless the program asks for it: one that ends loses them.
fn server() -> Cluster {
    let server = Cluster::start_on(fleet::own_port());
    for statement in ["ALTER SYSTEM SET synchronous_commit = off", "SELECT pg_reload_conf()"] {
        cluster::tell(&server.url("postgres"), statement);
    }
    server
}

/// One run: what was seen, and what is wrong. Where something is, the schedule and the log are kept.
fn one(mode: &Mode, seed: u64, server: Option<&Cluster>) -> (BTreeMap<String, usize>, Vec<String>) {
    let plan = (mode.plan)(seed);
    let played = in_runtime(play::play(&plan, (mode.ground)(server), None));
    let faults = judge::judge(&plan, &played);
    if !faults.is_empty() {
        keep(mode, &plan, &played);
    }
    (coverage::seen(&played), faults)
}

fn in_runtime<T>(run: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(run)
}

fn keep(mode: &Mode, plan: &Plan, played: &Played) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{}", mode.name, plan.seed));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("plan"), format!("{plan:#?}")).unwrap();
    std::fs::write(folder.join("stored"), &played.stored).unwrap();
    for entry in std::fs::read_dir(played.stage.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_owned();
        if name.to_string_lossy().starts_with("log") {
            std::fs::copy(path, folder.join(name)).unwrap();
        }
    }
}
