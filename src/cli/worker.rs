//! `tegu worker`: measures models for the process that started it.

use crate::device::worker::{Confinement, serve_stdio};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Be confined to reading what programs need and writing to this folder
    #[arg(long, value_name = "DIR")]
    sandbox: Option<PathBuf>,
    /// What may be read beside that
    #[arg(long, value_name = "PATH", requires = "sandbox")]
    readable: Vec<PathBuf>,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let readable = args.readable.clone();
    let confinement = args.sandbox.clone().map(|folder| Confinement { folder, readable });
    match serve_stdio(confinement.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The client has its last words.
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
