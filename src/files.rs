//! Files that are there as a whole or not at all.

use std::io::Write;
use std::path::Path;

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
