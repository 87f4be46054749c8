//! The `tegu` executable: everything is in the library's `cli`.
fn main() -> std::io::Result<()> {
    if std::env::args().nth(1).is_some_and(|command| command == "worker") {
        return tegu::device::worker::serve_stdio();
    }
    Ok(())
}
