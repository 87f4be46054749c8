//! The loop; trials; the SQLite store; resume.
