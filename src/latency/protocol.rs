//! The numbers of the measurement protocol, as a profile or a study's config gives them.

use serde::{Deserialize, Serialize};

/// The fewest rounds whose bootstrap interval covers about what it says: with 3 rounds, a "95 %" interval covers
/// the true median 76 % of the time, with 5 it is 93 %, from 7 on 95 % or more.
pub const FEWEST_ROUNDS: usize = 5;

/// How a model is timed. Every field has a default, so that a profile names only what it changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Protocol {
    /// The warm-up ends at the latest after this many seconds of running.
    pub warm_up_s: f64,
    /// It is warm when the medians of two consecutive windows differ by no more than this fraction.
    pub warm_up_agreement: f64,
    /// The fewest rounds; at least [`FEWEST_ROUNDS`].
    pub rounds: usize,
    /// The most rounds.
    pub max_rounds: usize,
    /// The fewest runs in a round; fewer only where `rounds` of them would not fit the budget.
    pub runs_per_round: usize,
    /// A round goes on for at least this many seconds (but not beyond 256 runs), so that one disturbance of the
    /// system does not fill several rounds.
    pub min_round_s: f64,
    /// It is enough when half the 95 % interval's width is no more than this fraction of the median, for each of the models
    /// that take turns.
    pub target_half_width: f64,
    /// Seconds of timed running after which no further round starts.
    pub budget_s: f64,
    /// Runs at the beginning of each turn that are not timed: another model has used the caches.
    pub untimed_runs: usize,
    /// Whether the reference model takes turns, so that drift of the machine is corrected.
    pub reference: bool,
    /// Relative deviation of figures between processes, which widens each interval; the default was found with ONNX
    /// Runtime on one thread.
    pub between_process: f64,
    /// Fresh worker processes that a model is measured in. With 2 or more, the deviation between them is taken in the
    /// place of `between_process`.
    pub processes: usize,
    /// Sessions of the model in one process, whose rounds take turns: some runtimes are faster or slower from load to load.
    /// With 2 or more, the figure is the mean of the loads' medians, and their spread is in the interval.
    #[serde(skip_serializing_if = "is_one")]
    pub loads: usize,
    /// Afterwards, keep the model running for so many seconds and report the median by window; 0 for not at all.
    pub sustained_s: f64,
    /// Sessions that run at the same time for the throughput, which is measured on its own from 2 on.
    pub streams: usize,
    /// Seconds that concurrent streams run.
    pub streams_s: f64,
    /// Seed of the inputs' values, the order of turns and the bootstrap.
    pub seed: u64,
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            warm_up_s: 1.0,
            warm_up_agreement: 0.02,
            rounds: 7,
            max_rounds: 40,
            runs_per_round: 10,
            min_round_s: 0.01,
            target_half_width: 0.01,
            budget_s: 5.0,
            untimed_runs: 2,
            reference: true,
            between_process: 0.006,
            processes: 1,
            loads: 1,
            sustained_s: 0.0,
            streams: 1,
            streams_s: 1.0,
            seed: 0,
        }
    }
}

/// What is not said in stored protocols that were made before there were several loads.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_one(loads: &usize) -> bool {
    *loads == 1
}

/// A number that no measurement can be made with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("protocol.{field}: {found} found, expected {expected}")]
pub struct ProtocolError {
    /// The field.
    pub field: &'static str,
    /// What it holds.
    pub found: String,
    /// What it may hold.
    pub expected: String,
}

impl Protocol {
    /// Checks the numbers.
    ///
    /// # Errors
    /// Names the first field out of its range.
    pub fn check(&self) -> Result<(), ProtocolError> {
        let fractions = [
            ("warm_up_s", self.warm_up_s),
            ("warm_up_agreement", self.warm_up_agreement),
            ("min_round_s", self.min_round_s),
            ("target_half_width", self.target_half_width),
            ("budget_s", self.budget_s),
            ("between_process", self.between_process),
            ("sustained_s", self.sustained_s),
            ("streams_s", self.streams_s),
        ];
        for (field, found) in fractions {
            if !found.is_finite() || found < 0.0 {
                let expected = "a number from 0 on".to_owned();
                return Err(ProtocolError { field, found: found.to_string(), expected });
            }
        }
        let counts = [
            ("rounds", self.rounds, FEWEST_ROUNDS),
            ("max_rounds", self.max_rounds, self.rounds),
            ("runs_per_round", self.runs_per_round, 1),
            ("processes", self.processes, 1),
            ("loads", self.loads, 1),
            ("streams", self.streams, 1),
        ];
        for (field, found, least) in counts {
            if found < least {
                return Err(ProtocolError {
                    field,
                    found: found.to_string(),
                    expected: match field {
                        "rounds" => format!("{least} or more (fewer give no 95 % interval)"),
                        "max_rounds" => format!("no fewer than `rounds`, {least}"),
                        _ => format!("{least} or more"),
                    },
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str, expected: &str) {
        let protocol: Protocol = serde_yaml::from_str(yaml).unwrap();
        let found = protocol.check().err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(found, expected, "{yaml}");
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        check("{}", "");
        check("rounds: 9\nmin_round_s: 0.0", "");
        check("rounds: 3", "protocol.rounds: 3 found, expected 5 or more (fewer give no 95 % interval)");
        check("max_rounds: 6", "protocol.max_rounds: 6 found, expected no fewer than `rounds`, 7");
        check("runs_per_round: 0", "protocol.runs_per_round: 0 found, expected 1 or more");
        check("loads: 0", "protocol.loads: 0 found, expected 1 or more");
        check("streams: 0", "protocol.streams: 0 found, expected 1 or more");
        check("budget_s: -1", "protocol.budget_s: -1 found, expected a number from 0 on");
        check("target_half_width: .nan", "protocol.target_half_width: NaN found, expected a number from 0 on");
    }
}
