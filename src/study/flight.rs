//! What a device elsewhere was asked: it measures while this machine goes on.

use super::progress::Observer;
use crate::device::{Device, DeviceError, Job};
use crate::latency::Measurement;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How often an observer is asked whether to stop.
const LOOK: Duration = Duration::from_millis(100);

type Outcomes = Vec<Result<Measurement, DeviceError>>;

/// Jobs that are being measured.
pub(super) struct Flight {
    /// The device, by its number in the plan.
    pub device: usize,
    /// Whose models they are: places in the batch.
    pub places: Vec<usize>,
    outcomes: Receiver<Outcomes>,
}

impl Flight {
    /// Has `handle` measure the models of the candidates at `places`.
    pub fn begin(device: usize, mut handle: Box<dyn Device>, places: Vec<usize>, jobs: Vec<Job>) -> Self {
        let (sender, outcomes) = channel();
        std::thread::spawn(move || {
            // Nobody waits any more where the study was interrupted.
            let _ = sender.send(handle.measure_all(&jobs));
        });
        Self { device, places, outcomes }
    }

    /// Waits for the outcomes. None if the observer does not wait for them.
    pub fn land(self, observer: &mut dyn Observer) -> Option<Outcomes> {
        loop {
            match self.outcomes.recv_timeout(LOOK) {
                Ok(outcomes) => return Some(outcomes),
                Err(RecvTimeoutError::Timeout) if observer.interrupted() => return None,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let failed = |_| Err(DeviceError::Failed("the thread that asked the device is gone".to_owned()));
                    return Some(self.places.iter().map(failed).collect());
                }
            }
        }
    }
}
