//! The unit of latencies that somebody else wrote down.

use serde::{Deserialize, Serialize};

/// Unit of the latencies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Seconds.
    S,
}

impl Unit {
    /// How many microseconds one is.
    pub fn in_us(self) -> f64 {
        match self {
            Self::Us => 1.0,
            Self::Ms => 1e3,
            Self::S => 1e6,
        }
    }

    /// The unit that the name of a column ends with, as `latency_ms` does.
    pub fn of_column(name: &str) -> Option<Self> {
        match name.rsplit_once('_')?.1 {
            "ms" => Some(Self::Ms),
            "us" => Some(Self::Us),
            "s" => Some(Self::S),
            _ => None,
        }
    }
}
