//! Ctrl-C: the first one finishes what is running, the second one ends the process.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static HANDLER: OnceLock<()> = OnceLock::new();

/// Takes Ctrl-C from now on.
pub(super) fn listen() {
    HANDLER.get_or_init(|| {
        let handler = || {
            if INTERRUPTED.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            eprintln!("\ntegu: finishing what is running; once more to stop at once");
        };
        if let Err(error) = ctrlc::set_handler(handler) {
            tracing::warn!("Ctrl-C will stop at once: {error}");
        }
    });
}

/// Whether Ctrl-C was pressed.
pub(super) fn pressed() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}
