//! The machine, and what the kernel says of a process on it.

use std::fs::read_to_string;
use std::time::Duration;

/// The kernel counts a process's time in hundredths of a second, whatever its own tick.
const MICROS_PER_TICK: f64 = 10_000.0;

/// Prints what the figures depend on.
pub fn describe() {
    let processors = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!(
        "machine: {cores} × {}, Linux {}",
        model.map_or("?", |(_, name)| name),
        kernel.trim()
    );
    let folder = std::env::temp_dir();
    println!(
        "files: {} on {}; one fdatasync of 4 KiB: {}",
        folder.display(),
        filesystem(&folder),
        flush(&folder)
    );
    load();
}

/// Prints how busy the machine is.
pub fn load() {
    let load = read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "load of the machine: {}",
        load.split(' ').take(3).collect::<Vec<_>>().join(" ")
    );
}

/// What the file system of a folder is: the one mounted at the longest part of its path.
fn filesystem(folder: &std::path::Path) -> String {
    let mounts = read_to_string("/proc/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (at, kind) = (words.next()?, words.next()?);
        folder.starts_with(at).then(|| (at.len(), kind.to_owned()))
    });
    mounts.max().map_or_else(|| "?".to_owned(), |(_, kind)| kind)
}

/// What it costs to have a page on the disk, in wall time and in processor time: the floor under every commit.
fn flush(folder: &std::path::Path) -> String {
    use bigin_sync::clock::{Clock as _, SystemClock, until};
    use std::os::unix::fs::FileExt as _;
    const TIMES: u32 = 300;
    let file = tempfile::tempfile_in(folder).unwrap();
    let clock = SystemClock::new();
    let (began, busy) = (clock.now(), cpu_of(std::process::id()));
    for page in 0..TIMES {
        file.write_all_at(&[7; 4096], u64::from(page) * 4096).unwrap();
        file.sync_data().unwrap();
    }
    let (wall, busy) = (until(began, clock.now()), cpu_of(std::process::id()) - busy);
    format!(
        "{:.0} µs, {:.0} µs of it processor time",
        micros(wall / TIMES),
        busy / f64::from(TIMES)
    )
}

/// A time in microseconds.
pub fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The processor time of a process so far in microseconds: all threads, its own and the kernel's on its behalf.
pub fn cpu_of(pid: u32) -> f64 {
    times_of(pid).expect("the process exists").own
}

/// The same of a process and of all that it has started, directly or not, those included that have exited.
pub fn cpu_of_tree(pid: u32) -> f64 {
    loop {
        let before = times_of(pid).expect("the process exists");
        let children: f64 = children_of(pid).into_iter().map(cpu_of_child).sum();
        let after = times_of(pid).expect("the process exists");
        // A child that exits moves from the one sum to the other, and could be missed by both.
        if before.exited.total_cmp(&after.exited).is_eq() {
            return after.own + after.exited + children;
        }
    }
}

/// One that has exited meanwhile is counted by its parent.
fn cpu_of_child(pid: u32) -> f64 {
    let children: f64 = children_of(pid).into_iter().map(cpu_of_child).sum();
    times_of(pid).map_or(0.0, |times| times.own + times.exited) + children
}

fn children_of(pid: u32) -> Vec<u32> {
    let children = read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// The processor time of a process in microseconds.
struct Times {
    own: f64,
    /// Of its children that have exited, with theirs.
    exited: f64,
}

fn times_of(pid: u32) -> Option<Times> {
    let stat = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in brackets, which may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let ticks: Vec<f64> = rest
        .split(' ')
        .skip(11)
        .take(4)
        .map(|ticks| ticks.parse().unwrap())
        .collect();
    Some(Times {
        own: (ticks[0] + ticks[1]) * MICROS_PER_TICK,
        exited: (ticks[2] + ticks[3]) * MICROS_PER_TICK,
    })
}

/// How long the machine's cores have been busy in all, in microseconds.
pub fn busy_time() -> f64 {
    let stat = read_to_string("/proc/stat").unwrap();
    let ticks: Vec<f64> = stat
        .lines()
        .next()
        .unwrap()
        .split_whitespace()
        .skip(1)
        .map(|ticks| ticks.parse().unwrap())
        .collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; what follows is part of the first two.
    (ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6] + ticks[7]) * MICROS_PER_TICK
}

/// A number of `/proc/PID/status` that is in KiB: `VmRSS` (resident now) or `VmHWM` (the most it has been).
pub fn memory_of(pid: u32, field: &str) -> f64 {
    let status = read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).unwrap();
    kib.parse::<f64>().unwrap() / 1024.0
}
