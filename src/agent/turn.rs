//! Agents of one machine take turns: what one measures, another one would disturb.

use super::AgentError;
use std::fs::File;
use std::path::Path;

/// Waits until no other agent of this machine is at work; none is until the file is dropped.
pub(super) fn wait(path: &Path) -> Result<File, AgentError> {
    let failed = |source| AgentError::File { path: path.to_owned(), source };
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}
