//! The simulator: the real program between both fakes, with leads, edits, repeats, losses, faults and kills drawn from a
//! seed, and judged at the end by what the fakes have seen. `docs/RELIABILITY.md` says how to run many seeds.

mod cast;
mod coverage;
mod judge;
mod people;
mod plan;
mod play;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bigin_sync::clock::{Clock as _, SystemClock, until};

use self::coverage::Coverage;
use self::plan::Plan;

/// Runs that take place at the same time: most of each is waiting.
const AT_ONCE: u64 = 6;

/// Seeds of a run that is part of all tests. Where they do not show everything, as many again follow, three times at most.
const FEW: u64 = 12;

#[expect(
    clippy::disallowed_methods,
    reason = "how much is simulated is for whoever runs the test to say"
)]
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// `SIM_SEEDS=1000` runs as many, `SIM_SEED=17` begins with that one, `SIM_AT_ONCE=1` runs one at a time.
#[test]
#[expect(clippy::print_stdout, reason = "what was seen is the result of a long run")]
fn whatever_happens_every_promise_holds() {
    let first = setting("SIM_SEED", 1);
    let seeds = setting("SIM_SEEDS", FEW);
    let clock = SystemClock::new();
    let began = clock.now();
    let mut coverage = Coverage::default();
    let mut faults = BTreeMap::new();
    // One seed is a look at that seed; it cannot show everything.
    let most = if seeds == 1 { 1 } else { 4 * seeds };
    let mut next = first;
    while next < first + most && faults.is_empty() && !(next > first && coverage.missing(seeds).is_empty()) {
        run(next, seeds, &mut coverage, &mut faults);
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
        "{} of {} seeds broke a promise; SIM_SEEDS=1 SIM_SEED=… plays one again\n{}",
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

/// Runs `seeds` seeds from `first` on, several at a time.
fn run(first: u64, seeds: u64, coverage: &mut Coverage, faults: &mut BTreeMap<u64, Vec<String>>) {
    let next = AtomicU64::new(first);
    let shared = Mutex::new((coverage, faults));
    std::thread::scope(|scope| {
        for _ in 0..setting("SIM_AT_ONCE", AT_ONCE).min(seeds) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    let outcome = std::panic::catch_unwind(|| one(seed));
                    let mut shared = shared.lock().unwrap();
                    match outcome {
                        Ok((seen, found)) => {
                            shared.0.add(&seen);
                            if !found.is_empty() {
                                shared.1.insert(seed, found);
                            }
                        }
                        Err(panic) => {
                            let text = panic.downcast_ref::<String>().cloned();
                            shared
                                .1
                                .insert(seed, vec![text.unwrap_or_else(|| "it panicked".to_owned())]);
                        }
                    }
                }
            });
        }
    });
}

/// One run: what was seen, and what is wrong. Where something is, the schedule and the log are kept.
fn one(seed: u64) -> (BTreeMap<String, usize>, Vec<String>) {
    let plan = Plan::of(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let played = play::play(&plan).await;
        let faults = judge::judge(&plan, &played);
        if !faults.is_empty() {
            keep(&plan, &played.stage.log());
        }
        (coverage::seen(&played), faults)
    })
}

fn keep(plan: &Plan, log: &str) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("simulator-{}", plan.seed));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("plan"), format!("{plan:#?}")).unwrap();
    std::fs::write(folder.join("log"), log).unwrap();
}
