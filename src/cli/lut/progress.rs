//! Progress of a table's build: a bar on a terminal, plain lines elsewhere.

use crate::cli::interrupt;
use crate::lut::{BuildEvent, Observer};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Least time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

pub(super) struct Progress {
    bar: Option<ProgressBar>,
    last: Option<Instant>,
    quiet: bool,
}

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let template = "{prefix:>9} [{bar:32}] {pos}/{len}  {msg}{eta} left";
            let style = ProgressStyle::with_template(template).expect("the template is valid");
            ProgressBar::new(0).with_style(style.progress_chars("=> "))
        });
        Self { bar, last: None, quiet }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn show(&mut self, name: &'static str, done: usize, total: usize, facts: &str) {
        if let Some(bar) = &self.bar {
            if bar.prefix() != name {
                bar.set_prefix(name);
                bar.reset();
            }
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            bar.set_message(facts.to_owned());
        } else if !self.quiet && (done == total || self.last.is_none_or(|last| last.elapsed() >= LINE_EVERY)) {
            self.last = Some(Instant::now());
            eprintln!("{name}: {done}/{total} {}", facts.trim_end_matches(", "));
        }
    }
}

impl Observer for Progress {
    fn on(&mut self, event: BuildEvent) {
        match event {
            BuildEvent::Operators { done, total } => self.show("operators", done, total, ""),
            BuildEvent::Timed { done, total, error, left_s } => {
                let error = error.map(|error| format!("error {:.2} %, ", 100.0 * error)).unwrap_or_default();
                let clock = |left_s: f64| format!("{}:{:02} of the budget, ", left_s as u64 / 60, left_s as u64 % 60);
                self.show("timed", done, total, &(error + &left_s.map(clock).unwrap_or_default()));
            }
        }
    }

    fn interrupted(&self) -> bool {
        interrupt::pressed()
    }
}
