//! Which device Candle computes on, chosen in this one place.

use candle_core::Device;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// A compute device as a user names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compute {
    /// A GPU where there is one and Tegu is built for it, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device of this number (`--features cuda`).
    Cuda(usize),
    /// Apple's GPU (`--features metal`).
    Metal,
}

impl Compute {
    /// Opens the device.
    ///
    /// # Errors
    /// If it is not there, or Tegu is built without it. `auto` and `cpu` always succeed.
    pub fn open(self) -> Result<Device, candle_core::Error> {
        match self {
            Self::Auto => Ok(Device::cuda_if_available(0)
                .ok()
                .filter(Device::is_cuda)
                .or_else(|| Device::metal_if_available(0).ok())
                .unwrap_or(Device::Cpu)),
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(number) => Device::new_cuda(number),
            Self::Metal => Device::new_metal(0),
        }
    }
}

impl FromStr for Compute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("unknown compute device `{text}`, expected auto, cpu, cuda:N or metal");
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "metal" => Ok(Self::Metal),
            _ => text.strip_prefix("cuda:").and_then(|n| n.parse().ok()).map(Self::Cuda).ok_or_else(wrong),
        }
    }
}

impl fmt::Display for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

impl Serialize for Compute {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Compute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        // An error that a visitor gives is an error with its place in the file.
        impl de::Visitor<'_> for Name {
            type Value = Compute;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("auto, cpu, cuda:N or metal")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Compute, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Name)
    }
}
