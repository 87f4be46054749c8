//! The loop; trials; the SQLite store; resume.

pub mod store;
