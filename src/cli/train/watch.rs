//! Progress of a training: a bar on a terminal, a line an epoch elsewhere; and its record on disk.

use crate::cli::interrupt;
use crate::train::{Epoch, Event, Observer, TrainError, TrainingRecord};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Shows what a training does, keeps its record, and passes Ctrl-C on.
pub(super) struct Watch {
    style: Style,
    record: TrainingRecord,
    folder: PathBuf,
    /// Why the record could not be written, the first time.
    failed: Option<TrainError>,
    begin: Instant,
    /// Steps of this run.
    done: usize,
}

enum Style {
    Quiet,
    Bar(ProgressBar),
    Lines,
}

impl Watch {
    pub(super) fn new(quiet: bool, record: TrainingRecord, folder: &Path) -> Self {
        let style = if quiet {
            Style::Quiet
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            let template = "{prefix:>12} [{bar:24}] {msg}";
            bar.set_style(ProgressStyle::with_template(template).expect("the template is valid").progress_chars("=> "));
            Style::Bar(bar)
        } else {
            Style::Lines
        };
        Self { style, record, folder: folder.to_owned(), failed: None, begin: Instant::now(), done: 0 }
    }

    /// Clears the bar; gives the record so far.
    pub(super) fn finish(self) -> Result<TrainingRecord, TrainError> {
        if let Style::Bar(bar) = &self.style {
            bar.finish_and_clear();
        }
        self.failed.map_or(Ok(self.record), Err)
    }

    fn epoch(&mut self, epoch: &Epoch) {
        self.record.curve.push(epoch.clone());
        if let Err(error) = self.record.save(&self.folder) {
            self.failed.get_or_insert(error);
        }
        let line = line(epoch, self.record.options.epochs);
        match &self.style {
            Style::Quiet => {}
            Style::Bar(bar) => bar.println(line),
            Style::Lines => eprintln!("{line}, {} left", self.left(0, 1)),
        }
    }

    /// Time left, with `step` of `steps` of the next epoch done.
    fn left(&self, step: usize, steps: usize) -> String {
        let (epochs, all) = (self.record.curve.len(), self.record.options.epochs);
        let of_run: f64 = self.begin.elapsed().as_secs_f64();
        let epochs_left = all.saturating_sub(epochs) as f64 - step as f64 / steps as f64;
        let per_epoch = match self.record.curve.last() {
            Some(last) => last.seconds,
            None => of_run / (step.max(1) as f64 / steps as f64),
        };
        let seconds = (epochs_left * per_epoch).max(0.0).round() as u64;
        match seconds / 3600 {
            0 => format!("{}:{:02}", seconds / 60, seconds % 60),
            hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
        }
    }
}

fn line(epoch: &Epoch, epochs: usize) -> String {
    let validation = match (epoch.validation_loss, epoch.validation_accuracy) {
        (Some(loss), Some(accuracy)) => format!(", validation {loss:.4}, {:.2} %", 100.0 * accuracy),
        _ => String::new(),
    };
    let Epoch { epoch: number, loss, accuracy, seconds, .. } = epoch;
    format!("epoch {number}/{epochs}: loss {loss:.4}, accuracy {:.2} %{validation}, {seconds:.1} s", 100.0 * accuracy)
}

impl Observer for Watch {
    fn on(&mut self, event: Event) {
        match event {
            Event::Resumed(curve) => {
                self.record.curve = curve.to_vec();
                if !matches!(self.style, Style::Quiet) {
                    eprintln!("going on behind epoch {}", curve.len());
                }
            }
            Event::Epoch(epoch) => self.epoch(epoch),
            Event::Step { epoch, step, steps, loss, accuracy } => {
                self.done += 1;
                let left = self.left(step, steps);
                if let Style::Bar(bar) = &self.style {
                    bar.set_prefix(format!("epoch {epoch}/{}", self.record.options.epochs));
                    bar.set_length(steps as u64);
                    bar.set_position(step as u64);
                    bar.set_message(format!("loss {loss:.4}, accuracy {:.2} %, {left} left", 100.0 * accuracy));
                }
            }
        }
    }

    fn interrupted(&self) -> bool {
        interrupt::pressed() || self.failed.is_some()
    }
}
