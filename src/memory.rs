//! How much memory there is.

use std::fs;

/// Bytes of memory that a process can have here: all of the machine, or of its container where that has less; `None` where
/// the system does not say so in Linux's files.
pub fn memory() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok()?;
    let total = machine.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let total = total.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024;
    // Of cgroups of version 2, then 1; "max" is no number.
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limits = limits.iter().filter_map(|file| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok());
    Some(limits.fold(total, u64::min))
}

/// What is to be said where `estimated` bytes are more than there are.
pub fn too_much(estimated: f64) -> Option<String> {
    let there = memory()? as f64;
    let gib = |bytes: f64| format!("{:.1} GiB", bytes / f64::from(1 << 30));
    (estimated > there)
        .then(|| format!("a training step takes about {} of memory, and there are {}", gib(estimated), gib(there)))
}

/// How to take less.
pub const HINT: &str = "lower `train.batch`, or compute it in parts: `train.accumulate = 4` gives the same weights and takes a quarter \
                        of the activations";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_some_memory_and_not_endless() {
        // Other systems do not say.
        let Some(there) = memory().map(|bytes| bytes as f64) else { return };
        assert!(there > f64::from(1 << 26), "{there}");
        assert_eq!(too_much(there / 2.0), None);
        assert!(too_much(there * 1024.0).unwrap().contains("GiB of memory, and there are"));
    }
}
