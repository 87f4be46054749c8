//! Files that are there as a whole or not at all; and where Tegu's own are.

use std::io::Write;
use std::path::{Path, PathBuf};

/// What the names of drafts begin with, which a killed process may leave behind.
pub(crate) const DRAFT: &str = ".tmp";

/// Writes a file under a temporary name in the same folder, on the disk to its last byte, and renames it: `path` has the old
/// contents or the new ones, whatever happens.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(DRAFT).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    #[cfg(unix)]
    {
        // Temporary files are private; what is kept is for everybody to read.
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    file.persist(path)?;
    Ok(())
}

/// Removes the drafts that a killed process has left in `folder`.
pub(crate) fn remove_drafts(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(DRAFT) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A file of this name in `folder`, if there is one; else the name as it is.
pub(crate) fn beside(folder: &Path, name: &str) -> String {
    let path = folder.join(name);
    if path.is_file() { path.to_string_lossy().into_owned() } else { name.to_owned() }
}

/// Tegu's own folder: `TEGU_HOME`, else `tegu` in the platform's folder of application data.
pub fn tegu_home() -> PathBuf {
    let home = || path_variable("HOME").unwrap_or_else(|| PathBuf::from("."));
    path_variable("TEGU_HOME").unwrap_or_else(|| {
        let data = if cfg!(windows) {
            path_variable("LOCALAPPDATA").unwrap_or_else(home)
        } else if cfg!(target_os = "macos") {
            home().join("Library/Application Support")
        } else {
            path_variable("XDG_DATA_HOME").unwrap_or_else(|| home().join(".local/share"))
        };
        data.join("tegu")
    })
}

/// The path in an environment variable, if there is one.
pub(crate) fn path_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
