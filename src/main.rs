//! The `tegu` executable: everything is in the library.

fn main() -> std::process::ExitCode {
    // One candidate has one core; Candle's own threads would wait for each other, spinning, on all of them.
    const THREADS: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(THREADS).is_none() {
        // SAFETY: no other thread is there yet to read the environment.
        unsafe { std::env::set_var(THREADS, "1") };
    }
    tegu::cli::main()
}
