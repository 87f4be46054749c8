//! Why a study's store was refused.

use std::path::PathBuf;

/// Why a study's store can't be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process writes to it.
    #[error("{}: study is in use by {}", path.display(), name(*process))]
    InUse {
        /// The store.
        path: PathBuf,
        /// The process, where it could be found out.
        process: Option<u32>,
    },
    /// The file is something else.
    #[error("{}: not a study of Tegu", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It was made by a version that stores otherwise.
    #[error(
        "{}: study has schema version {found}, this Tegu reads {supported}: use the version that made it",
        path.display()
    )]
    OtherVersion {
        /// The store.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version that can be read.
        supported: i64,
    },
    /// A file can't be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// SQLite failed.
    #[error("{}: {source}", path.display())]
    Sqlite {
        /// The store.
        path: PathBuf,
        /// What it said.
        source: rusqlite::Error,
    },
    /// A nested part is not what it should be.
    #[error("{}: {what}: {source}", path.display())]
    Json {
        /// The store.
        path: PathBuf,
        /// Which entry.
        what: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Something that is finished would change.
    #[error("{}: {what} is stored already, with other content: what is finished can't be changed", path.display())]
    Finished {
        /// The store.
        path: PathBuf,
        /// Which entry.
        what: String,
    },
    /// A failure that poses as a number.
    #[error("{what}: `{name}` is {value}: expected a finite number, or a failure with its reason")]
    NotFinite {
        /// Which entry.
        what: String,
        /// Which of its values.
        name: String,
        /// The value.
        value: f64,
    },
}

impl StoreError {
    /// Whether it is the user's input that is at fault: a folder that holds something else, or is taken.
    pub fn is_input(&self) -> bool {
        matches!(self, Self::InUse { .. } | Self::Foreign { .. } | Self::OtherVersion { .. })
    }
}

fn name(process: Option<u32>) -> String {
    process.map_or("another process".to_owned(), |id| format!("process {id}"))
}
