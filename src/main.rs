//! The `tegu` executable: everything is in the library.

fn main() -> std::process::ExitCode {
    tegu::cli::main()
}
