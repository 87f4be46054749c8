//! Facts about the machine that a measurement was made on.

use serde::{Deserialize, Serialize};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// The machine and its state when a measurement began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// The processor's name, where the system tells.
    pub cpu: Option<String>,
    /// Logical cores that this process may use.
    pub cores: usize,
    /// Physical cores, where the system tells.
    pub physical_cores: Option<usize>,
    /// Main memory in MiB, where the system tells.
    pub memory_mib: Option<u64>,
    /// Operating system and its version.
    pub os: String,
    /// Kernel version, where the system tells.
    pub kernel: Option<String>,
    /// `x86_64`, `aarch64`, …
    pub arch: String,
    /// Mean number of running processes over the last minute; high means that something else was busy.
    pub load_1m: Option<f64>,
    /// How the first core's clock is governed (`performance`, `schedutil`, …), where the system tells.
    pub governor: Option<String>,
}

impl Host {
    /// Looks at this machine.
    pub fn here() -> Self {
        let kind = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(kind).ok();
        let cpu = system.as_ref().and_then(|system| Some(system.cpus().first()?.brand().trim().to_owned()));
        Self {
            cpu: cpu.filter(|name| !name.is_empty()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            physical_cores: System::physical_core_count().ok(),
            memory_mib: system.map(|system| system.total_memory() / (1024 * 1024)),
            os: System::long_os_version().unwrap_or_else(|_| std::env::consts::OS.to_owned()),
            kernel: System::kernel_version().ok(),
            arch: std::env::consts::ARCH.to_owned(),
            load_1m: System::load_average().ok().map(|load| load.one),
            governor: governor(),
        }
    }
}

fn governor() -> Option<String> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_described() {
        let host = Host::here();
        assert!(host.cores >= 1 && host.memory_mib != Some(0) && !host.os.is_empty(), "{host:?}");
    }
}
