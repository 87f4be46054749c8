//! Progress of what has many steps, such as a study: a bar on a terminal, plain lines elsewhere.

use super::interrupt;
use crate::study::store::TrialState;
use crate::study::{Event, Observer, Role};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Least time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows what a study does, and passes Ctrl-C on.
pub(super) struct Progress {
    style: Style,
    stage: Option<Stage>,
}

enum Style {
    Quiet,
    Bar(ProgressBar),
    Lines { last: Option<Instant> },
}

/// What the bar is about.
struct Stage {
    name: &'static str,
    begin: Instant,
    /// Steps before it began, or that an earlier run had done: they don't count for the rate.
    before: usize,
}

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        let style = if quiet {
            Style::Quiet
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            let template = "{prefix:>9} [{bar:32}] {pos}/{len}  {msg}";
            bar.set_style(ProgressStyle::with_template(template).expect("the template is valid").progress_chars("=> "));
            Style::Bar(bar)
        } else {
            Style::Lines { last: None }
        };
        Self { style, stage: None }
    }

    /// Clears the bar.
    pub(super) fn finish(&mut self) {
        if let Style::Bar(bar) = &self.style {
            bar.finish_and_clear();
        }
    }

    /// So many steps of a stage are done; where `resumed`, an earlier run had done them.
    pub(super) fn show(&mut self, name: &'static str, done: usize, total: usize, resumed: bool, facts: &str) {
        if self.stage.as_ref().is_none_or(|stage| stage.name != name) {
            self.stage = Some(Stage { name, begin: Instant::now(), before: done });
        }
        let stage = self.stage.as_mut().expect("it was just set");
        if resumed {
            (stage.begin, stage.before) = (Instant::now(), done);
        }
        let pace = pace(done - stage.before.min(done), total - done.min(total), stage.begin.elapsed());
        let message = [pace, facts.to_owned()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
        match &mut self.style {
            Style::Quiet => {}
            Style::Bar(bar) => {
                bar.set_prefix(name);
                bar.set_length(total as u64);
                bar.set_position(done as u64);
                bar.set_message(message.join(", "));
            }
            Style::Lines { last } => {
                if done == total || last.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
                    *last = Some(Instant::now());
                    eprintln!("{name}: {done}/{total} {}", message.join(", "));
                }
            }
        }
    }
}

impl Progress {
    /// What goes on within a batch.
    fn say(&self, message: &str) {
        match &self.style {
            Style::Bar(bar) => bar.set_message(message.to_owned()),
            _ => tracing::debug!("{message}"),
        }
    }
}

/// Rate and time left.
fn pace(done: usize, left: usize, elapsed: Duration) -> String {
    if done == 0 || elapsed.is_zero() {
        return String::new();
    }
    let rate = done as f64 / elapsed.as_secs_f64();
    let left_s = (left as f64 / rate).round();
    format!("{rate:.1}/s, {}:{:02} left", (left_s / 60.0) as u64, left_s as u64 % 60)
}

impl Observer for Progress {
    fn on(&mut self, event: &Event) {
        match event {
            Event::Reference { done, total } => self.show("reference", *done, *total, false, ""),
            Event::Scoring { done, total } => self.say(&format!("scored {done} of {total}")),
            Event::Training { done, total } => self.say(&format!("training {} of {total}", done + 1)),
            Event::Measuring { done, together, total } => {
                self.say(&format!("measuring {} to {} of {total}", done + 1, done + together));
            }
            Event::Trial { role, record, done, total, resumed, hypervolume } => {
                let name = match role {
                    Role::Search => "search",
                    Role::Control => "control",
                };
                match &record.state {
                    TrialState::Complete { objectives } => {
                        tracing::info!("{name} {}: {} {objectives:?}", record.number, record.arch);
                    }
                    TrialState::Failed { reason } => {
                        let message = format!("{name} trial {} failed: {reason}", record.number);
                        match &self.style {
                            Style::Quiet => {}
                            Style::Bar(bar) => bar.println(message),
                            Style::Lines { .. } => eprintln!("{message}"),
                        }
                    }
                }
                let hypervolume = hypervolume.map(|value| format!("hypervolume {value:.4}")).unwrap_or_default();
                self.show(name, *done, *total, *resumed, &hypervolume);
            }
        }
    }

    fn interrupted(&self) -> bool {
        interrupt::pressed()
    }
}
