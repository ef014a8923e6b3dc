//! What the system says of this process, under the names that all Prometheus clients use. Read from `/proc`; where there
//! is none, these metrics are left out.

use std::fs::read_to_string;

use super::{Kind, Text};

/// The unit of times in `/proc/PID/stat`, which Linux has kept for programs whatever the kernel's own is.
const TICKS_A_SECOND: f64 = 100.0;

/// Writes memory and processor time.
pub fn write(text: &mut Text) {
    if let Some(bytes) = resident() {
        let help = "Memory that the process holds, in bytes.";
        text.gauge("process_resident_memory_bytes", help, bytes);
    }
    if let Some(seconds) = processor() {
        let name = "process_cpu_seconds_total";
        text.family(name, Kind::Counter, "Processor time of the process, in seconds.");
        text.sample(name, &[], seconds);
    }
}

fn resident() -> Option<u64> {
    let status = read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

fn processor() -> Option<f64> {
    let stat = read_to_string("/proc/self/stat").ok()?;
    // The name, which may hold blanks and brackets, ends with the last bracket; the times are the 12th and 13th after it.
    let mut after_name = stat.rsplit(')').next()?.split_ascii_whitespace().skip(11);
    let mut ticks = || after_name.next()?.parse::<u32>().ok();
    Some((f64::from(ticks()?) + f64::from(ticks()?)) / TICKS_A_SECOND)
}
