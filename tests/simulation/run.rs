//! Runs seeds, several at a time, and says of those that fail what the shortest story is.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bigin_sync::clock::{Clock as _, SystemClock, until};

use super::coverage::Coverage;
use super::judge::{judge, measures};
use super::life::play;
use super::plan::Plan;
use super::shrink::shrink;

/// A run that is part of all tests has this many seeds at least, and as many as fit into this time.
const FEW: u64 = 50;
const SHORT: Duration = Duration::from_secs(20);

/// Once so many have failed, no more are run.
const MOST_FAILED: u64 = 10;

#[expect(
    clippy::disallowed_methods,
    reason = "how much is simulated is for whoever runs the test to say"
)]
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// What happened how often, and what was measured.
type Seen = Option<(BTreeMap<String, usize>, [(&'static str, u64); 10])>;

/// What is wrong with a run of a plan.
pub fn faults(plan: &Plan) -> (Seen, Vec<String>) {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let played = play(plan);
        let faults = judge(&played);
        let seen = played.world.lock().seen.clone();
        (Some((seen, measures(&played))), faults)
    }));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        (None, vec![format!("it panicked: {}", text.unwrap_or_default())])
    })
}

/// A story that a seed once told, and that must hold.
pub fn holds(plan: &Plan) {
    let (_, faults) = faults(plan);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Runs seeds from `first` on, two at a time, until `is_enough` of the number that has begun, or some have failed.
fn run(first: u64, is_enough: impl Fn(u64) -> bool + Sync) -> (u64, Coverage, BTreeMap<u64, Vec<String>>) {
    let most_failed = usize::try_from(setting("SIM_FAILURES", MOST_FAILED)).unwrap();
    let next = AtomicU64::new(first);
    let results = Mutex::new((Coverage::default(), BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..setting("SIM_THREADS", 2) {
            scope.spawn(|| {
                loop {
                    let has_failed = results.lock().unwrap().1.len() >= most_failed;
                    if has_failed || is_enough(next.load(Ordering::Relaxed) - first) {
                        return;
                    }
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let (seen, found) = faults(&Plan::of(seed));
                    let mut results = results.lock().unwrap();
                    if let Some((seen, measures)) = seen {
                        results.0.add(&seen);
                        results.0.measure(seed, measures);
                    }
                    if !found.is_empty() {
                        results.1.insert(seed, found);
                    }
                }
            });
        }
    });
    let (coverage, broken) = results.into_inner().unwrap();
    (next.into_inner() - first, coverage, broken)
}

/// `SIM_SEEDS=100000` runs as many, `SIM_SEED=17` begins with that one.
#[test]
#[expect(clippy::print_stdout, reason = "what was seen is the result of a long run")]
fn every_guarantee_holds_whatever_the_seed() {
    let first = setting("SIM_SEED", 1);
    let wanted = setting("SIM_SEEDS", 0);
    let clock = SystemClock::new();
    let began = clock.now();
    let is_enough = |begun| match wanted {
        0 => begun >= FEW && until(began, clock.now()) >= SHORT,
        wanted => begun >= wanted,
    };
    let (seeds, coverage, broken) = run(first, is_enough);
    println!("{coverage}");
    if let Some((seed, found)) = broken.first_key_value() {
        for (seed, found) in &broken {
            println!("seed {seed}: {}", found.join("\n    "));
        }
        assert!(
            setting("SIM_SHRINK", 1) > 0,
            "{} of {seeds} seeds broke a guarantee",
            broken.len()
        );
        let kind = kind(&found[0]);
        let shortest = shrink(&Plan::of(*seed), |plan| {
            faults(plan).1.iter().any(|found| self::kind(found) == kind)
        });
        let (_, found) = faults(&shortest);
        panic!(
            "{} of {seeds} seeds broke a guarantee; the shortest story of seed {seed}:\n{}\n{}",
            broken.len(),
            found.join("\n"),
            shortest.to_test()
        );
    }
    let rare = coverage.too_rare(seeds);
    assert!(rare.is_empty(), "these happened too rarely: {rare:#?}");
    println!("{seeds} seeds hold");
    println!("(from {first} on, in {} s)", until(began, clock.now()).as_secs());
}

/// What a fault is about, for a shorter story to be about the same.
fn kind(fault: &str) -> String {
    fault.chars().filter(|c| !c.is_ascii_digit()).take(24).collect()
}

/// The trace of a run, with all that the program wrote.
fn trace(seed: u64) -> String {
    let played = play(&Plan::of(seed));
    let log = String::from_utf8_lossy(&played.log).into_owned();
    let world = played.world.lock();
    // What the process uses of the machine is not the run's.
    let answers: Vec<&str> = played
        .answers
        .lines()
        .filter(|line| !line.starts_with("process_"))
        .collect();
    format!("{}\n{log}\n{}", world.trace, answers.join("\n"))
}

#[test]
fn same_seed_gives_same_run() {
    for seed in 1..=setting("SIM_TRACES", 10) {
        let (first, second) = (trace(seed), trace(seed));
        let differs = first.lines().zip(second.lines()).find(|(one, other)| one != other);
        assert!(first == second, "seed {seed} gave two runs: {differs:?}");
    }
}

/// `SIM_SEED=17` shows what happened in that run, and what the program wrote.
#[test]
#[ignore = "shows a run, and judges nothing"]
#[expect(clippy::print_stdout, reason = "this is what it is for")]
fn show() {
    let plan = Plan::of(setting("SIM_SEED", 1));
    let played = play(&plan);
    let log = String::from_utf8_lossy(&played.log);
    let world = played.world.lock();
    // Each line begins with its time; what follows a call at the same time stays after it.
    let mut lines: Vec<&str> = world.trace.lines().chain(log.lines()).collect();
    lines.sort_by_key(|line| line.get(..24));
    println!("{}\n{}", plan.to_test(), lines.join("\n"));
    drop(world);
    println!("{:?}\n{}", measures(&played), judge(&played).join("\n"));
}
