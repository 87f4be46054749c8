//! The reference model: a small convolutional network that is measured beside every other one, so that a machine that
//! gets slower is told from a model that is slow.
//!
//! It has what candidates are made of (3×3, 1×1 and depthwise convolutions, pooling, a sum), 6.1 M MACs with fixed
//! weights: 100 to 300 µs on one core of a desktop processor. Another network is another unit, so its SHA-256 stands
//! in each measurement.

use crate::graph::{Activation, Conv2d, GraphBuilder, GraphError, NodeId, Op, Shape, Window};
use crate::network::{Init, Weights};
use crate::onnx::{self, ExportOptions, Metadata, OnnxError, OnnxModel};

/// Builds the reference model; the same bytes each time.
///
/// # Errors
/// If its weights can't be held.
pub fn reference_model() -> Result<OnnxModel, OnnxError> {
    let graph = network()?;
    let weights = Weights::random(&graph, Init::KaimingNormal, 0, &candle_core::Device::Cpu)?;
    let metadata = Metadata { architecture: Some("tegu-reference-1".to_owned()), ..Metadata::new() };
    onnx::export(&graph, &weights, &metadata, ExportOptions::default())
}

fn network() -> Result<crate::graph::Graph, GraphError> {
    let mut net = Net(GraphBuilder::new(Shape::map(3, 32, 32)));
    let input = net.0.input();
    let stem = net.conv("stem", input, 24, Window::same(3, 2), 1)?;
    let body = net.conv("body", stem, 24, Window::same(3, 1), 1)?;
    let sum = net.0.push("sum", Op::Add, &[body, stem])?;
    let pooled = net.0.push("pooled", Op::AvgPool(Window::same(3, 1)), &[sum])?;
    let wide = net.conv("wide", pooled, 96, Window::same(1, 1), 1)?;
    let depthwise = net.conv("depthwise", wide, 96, Window::same(3, 2), 96)?;
    let narrow = net.conv("narrow", depthwise, 64, Window::same(1, 1), 1)?;
    let last = net.conv("last", narrow, 96, Window::same(3, 1), 1)?;
    let features = net.0.push("features", Op::GlobalAvgPool, &[last])?;
    let classes = net.0.push("classes", Op::Linear { out_features: 10, bias: true }, &[features])?;
    Ok(net.0.finish(classes))
}

struct Net(GraphBuilder);

impl Net {
    /// Convolution, batch normalisation, ReLU.
    fn conv(
        &mut self,
        name: &str,
        input: NodeId,
        out_channels: usize,
        window: Window,
        groups: usize,
    ) -> Result<NodeId, GraphError> {
        let conv = Conv2d { out_channels, window, groups, bias: false };
        let conv = self.0.push(format!("{name}.conv"), Op::Conv2d(conv), &[input])?;
        let norm = self.0.push(format!("{name}.norm"), Op::BatchNorm, &[conv])?;
        self.0.push(format!("{name}.relu"), Op::Activation(Activation::Relu), &[norm])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_each_time() {
        let model = reference_model().unwrap();
        assert_eq!(model, reference_model().unwrap());
        assert!(model.external_data.is_none());
    }

    #[test]
    fn its_size_is_as_documented() {
        let macs = network().unwrap().cost().macs;
        assert_eq!(macs, 6_071_232);
    }
}
