//! The machine, and what the kernel says of a process on it.

use std::fs::read_to_string;
use std::time::Duration;

/// The kernel counts a process's time in hundredths of a second, whatever its own tick.
const MICROS_PER_TICK: u32 = 10_000;

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
    let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The second field is the name in brackets, which may hold anything.
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let ticks = rest
        .split(' ')
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u32>().unwrap());
    f64::from(MICROS_PER_TICK) * f64::from(ticks.sum::<u32>())
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
