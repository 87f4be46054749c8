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

/// What changes about a machine while it works.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostState {
    /// Mean number of running processes over the last minute, where the system tells.
    pub load_1m: Option<f64>,
    /// Mean clock of the cores that this process may use, in MHz, where the system tells.
    pub clock_mhz: Option<f64>,
    /// The processor's temperature in °C, where the system tells.
    pub temperature_c: Option<f64>,
}

impl HostState {
    /// Looks at this machine.
    pub fn now() -> Self {
        let load_1m = System::load_average().ok().map(|load| load.one);
        Self { load_1m, clock_mhz: clock_mhz(&own_cores()), temperature_c: temperature_c() }
    }
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

/// Numbers of the cores that this process may use; empty where the system does not tell.
fn own_cores() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    list.trim().split(',').filter_map(range).flatten().collect()
}

/// `3` or `0-7`.
fn range(text: &str) -> Option<std::ops::RangeInclusive<usize>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

fn clock_mhz(cores: &[usize]) -> Option<f64> {
    let governed = |core: &usize| {
        let file = format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq");
        Some(std::fs::read_to_string(file).ok()?.trim().parse::<f64>().ok()? / 1000.0)
    };
    mean(&cores.iter().filter_map(governed).collect::<Vec<_>>()).or_else(|| {
        let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
        let lines =
            text.lines().filter_map(|line| line.strip_prefix("cpu MHz")?.split(':').nth(1)?.trim().parse().ok());
        let all: Vec<f64> = lines.collect();
        mean(&cores.iter().filter_map(|&core| all.get(core).copied()).collect::<Vec<_>>())
    })
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The hottest of the zones that are a processor's.
fn temperature_c() -> Option<f64> {
    let zones = std::fs::read_dir("/sys/class/thermal").ok()?.flatten().map(|entry| entry.path());
    let of_cpu = zones.filter(|zone| {
        let kind = std::fs::read_to_string(zone.join("type")).unwrap_or_default().to_lowercase();
        ["cpu", "pkg", "soc", "core"].iter().any(|word| kind.contains(word))
    });
    let read = |zone: std::path::PathBuf| std::fs::read_to_string(zone.join("temp")).ok()?.trim().parse::<f64>().ok();
    of_cpu.filter_map(read).map(|millidegrees| millidegrees / 1000.0).max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_described() {
        let host = Host::here();
        assert!(host.cores >= 1 && host.memory_mib != Some(0) && !host.os.is_empty(), "{host:?}");
    }

    #[test]
    fn clocks_and_cores_are_read_where_the_system_tells() {
        let state = HostState::now();
        assert!(state.clock_mhz.is_none_or(|clock| (100.0..10_000.0).contains(&clock)), "{state:?}");
        assert!(state.temperature_c.is_none_or(|degrees| (-40.0..150.0).contains(&degrees)), "{state:?}");
        assert_eq!(own_cores().is_empty(), !cfg!(target_os = "linux"));
        let ranges = |text: &str| text.split(',').filter_map(range).flatten().collect::<Vec<_>>();
        assert_eq!((ranges("0-2,5"), ranges("")), (vec![0, 1, 2, 5], vec![]));
    }
}
