//! Energy by Intel's RAPL counters (`/sys/class/powercap`), of the whole processor package: what else runs on it counts
//! as well. Hosts without them, or that keep them from ordinary users, have no counter, not a counter of 0.

use std::path::{Path, PathBuf};

/// The package counters of this machine.
#[derive(Clone, Debug)]
pub struct EnergyCounter {
    packages: Vec<Package>,
}

#[derive(Clone, Debug)]
struct Package {
    counter: PathBuf,
    /// The counter begins anew beyond this.
    range_uj: u64,
}

/// The counters at one moment, in µJ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnergyReading(Vec<u64>);

impl EnergyCounter {
    /// The counters, where there are any that can be read.
    pub fn open() -> Option<Self> {
        Self::in_folder(Path::new("/sys/class/powercap"))
    }

    /// The counters in `folder`, where they are not in the system's own place (a container that is shown them elsewhere).
    pub fn in_folder(folder: &Path) -> Option<Self> {
        let entries = std::fs::read_dir(folder).ok()?.flatten();
        // `intel-rapl:0` is a package, `intel-rapl:0:1` a part of it.
        let is_package = |name: &str| name.strip_prefix("intel-rapl:").is_some_and(|rest| !rest.contains(':'));
        let mut packages: Vec<Package> = entries
            .filter(|entry| entry.file_name().to_str().is_some_and(is_package))
            .filter_map(|entry| {
                let range_uj = number(&entry.path().join("max_energy_range_uj"))?;
                Some(Package { counter: entry.path().join("energy_uj"), range_uj })
            })
            .collect();
        packages.sort_by(|left, right| left.counter.cmp(&right.counter));
        let counter = Self { packages };
        (!counter.packages.is_empty() && counter.read().is_some()).then_some(counter)
    }

    /// Reads all counters.
    pub fn read(&self) -> Option<EnergyReading> {
        self.packages.iter().map(|package| number(&package.counter)).collect::<Option<_>>().map(EnergyReading)
    }

    /// Joules between two readings.
    pub fn joules(&self, from: &EnergyReading, to: &EnergyReading) -> f64 {
        let pairs = from.0.iter().zip(&to.0).zip(&self.packages);
        let used = pairs.map(
            |((from, to), package)| {
                if to >= from { to - from } else { (package.range_uj + to).saturating_sub(*from) }
            },
        );
        used.sum::<u64>() as f64 * 1e-6
    }
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_summed_and_counters_begin_anew() {
        let folder = tempfile::tempdir().unwrap();
        let write = |zone: &str, file: &str, value: u64| {
            std::fs::create_dir_all(folder.path().join(zone)).unwrap();
            std::fs::write(folder.path().join(zone).join(file), format!("{value}\n")).unwrap();
        };
        assert!(EnergyCounter::in_folder(folder.path()).is_none());
        for (zone, value) in [("intel-rapl:0", 900_000), ("intel-rapl:1", 5), ("intel-rapl:0:0", 77), ("dtpm", 3)] {
            write(zone, "energy_uj", value);
            write(zone, "max_energy_range_uj", 1_000_000);
        }
        let counter = EnergyCounter::in_folder(folder.path()).unwrap();
        let before = counter.read().unwrap();
        write("intel-rapl:0", "energy_uj", 100_000);
        write("intel-rapl:1", "energy_uj", 300_005);
        assert!((counter.joules(&before, &counter.read().unwrap()) - 0.5).abs() < 1e-12);
    }
}
