//! What networks that come with weights are looked at with: a calibration set, and the whole model as their teacher.

use super::batches::Batches;
use super::diswot::Teacher;
use super::{IndicatorError, Settings};
use crate::graph::Graph;
use crate::network::Weights;
use crate::space::SearchSpace;
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// The model that a space's networks are parts of, and samples for all sizes that they take.
#[derive(Debug)]
pub(super) struct Brought {
    pub(super) original: (Graph, Weights),
    /// By the dimensions of a network's input. The first batch is for gradients, the second is the calibration set.
    pub(super) batches: BTreeMap<Vec<usize>, Batches>,
    pub(super) teacher: OnceLock<Teacher>,
}

impl Brought {
    /// None where the space brings no weights, or there is no data.
    pub(super) fn of(
        space: &SearchSpace,
        settings: &Settings,
        device: &Device,
    ) -> Result<Option<Self>, IndicatorError> {
        let (Some((graph, weights)), Some(data)) = (space.original(), &settings.data) else { return Ok(None) };
        let classes = graph.output_shape().elements();
        let mut batches = BTreeMap::new();
        for calibration in data.calibration().values() {
            let unfit = |reason| IndicatorError::Unfit { indicator: "indicators.data", reason };
            calibration.check_classes(classes).map_err(unfit)?;
            let [channels, height, width] = calibration.shape;
            let count = calibration.labels.len();
            let all = Tensor::from_slice(&calibration.values, (count, channels, height, width), device)?;
            let first = settings.batch.min(count);
            let images = [all.narrow(0, 0, first)?, all];
            let labels = [calibration.labels[..first].to_vec(), calibration.labels.clone()];
            batches.insert(calibration.shape.to_vec(), Batches { images, labels });
        }
        let weights = weights.map(|_, tensor| tensor.to_device(device))?;
        Ok(Some(Self { original: (graph.clone(), weights), batches, teacher: OnceLock::new() }))
    }
}
