//! Peak memory of a session: how far the process's resident memory rose while the model was loaded and first run.
//!
//! Linux alone tells: writing `5` to `/proc/self/clear_refs` sets the high-water mark `VmHWM` back to what is resident
//! now. What an earlier model left to the allocator is given back first, or the next one would seem to need less.

/// The memory before a session was made.
#[derive(Clone, Copy, Debug)]
pub struct PeakMemory {
    before_kib: u64,
}

impl PeakMemory {
    /// Begins to watch, where the system tells.
    pub fn begin() -> Option<Self> {
        give_back();
        std::fs::write("/proc/self/clear_refs", "5").ok()?;
        Some(Self { before_kib: status_kib("VmRSS:")? })
    }

    /// By how many MiB the memory rose at most since then.
    pub fn rise_mib(self) -> Option<f64> {
        Some(status_kib("VmHWM:")?.saturating_sub(self.before_kib) as f64 / 1024.0)
    }
}

/// Resident memory of this process in bytes, where the system tells.
pub(crate) fn resident_bytes() -> Option<u64> {
    Some(status_kib("VmRSS:")? * 1024)
}

fn status_kib(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_back() {
    // SAFETY: it takes any padding and touches only memory that nobody holds.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn what_was_held_for_a_while_counts() {
        let memory = PeakMemory::begin().unwrap();
        let block = vec![1_u8; 64 << 20];
        assert!(std::hint::black_box(&block).iter().step_by(4096).all(|&byte| byte == 1));
        drop(block);
        let rise = memory.rise_mib().unwrap();
        assert!((60.0..200.0).contains(&rise), "{rise} MiB");
    }
}
