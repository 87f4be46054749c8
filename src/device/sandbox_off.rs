//! The twin of `sandbox.rs` where there is none: only Linux has landlock and seccomp.

use std::path::{Path, PathBuf};

/// What this system can keep a worker from: nothing.
///
/// # Errors
/// Always.
pub fn available() -> Result<String, String> {
    Err(format!("a worker can be kept from files and the network on Linux only, this is {}", std::env::consts::OS))
}

/// Nothing can be kept from anything here.
pub(super) fn confine(_folder: &Path, _readable: &[PathBuf]) -> Result<String, String> {
    available()
}
