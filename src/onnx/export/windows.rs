//! Sliding windows and margins in ONNX. Zeros in front of a convolution that alone reads them are its `pads`, which may differ
//! from side to side; a graph's windows have as many before as behind.

use super::super::proto::{int, integers, ints};
use super::super::{OnnxError, Precision};
use super::Writer;
use crate::graph::{Conv2d, Margins, NodeId, Op, Window};
use half::f16;
use tract_onnx::pb::AttributeProto;

/// Attributes of a convolution of a map with zeros around it.
pub(super) fn convolution(conv: &Conv2d, around: Margins) -> Vec<AttributeProto> {
    let mut attributes = window_attributes(&conv.window, around);
    attributes.push(ints("dilations", &conv.window.each(|side| side.dilation)));
    attributes.push(int("group", conv.groups as i64));
    attributes
}

/// A window on a map with zeros around it, which are padding.
pub(super) fn window_attributes(window: &Window, around: Margins) -> Vec<AttributeProto> {
    let padding = window.each(|side| side.padding);
    let pads = [around.before, around.after].map(|margins| {
        [0, 1].map(|axis| padding[axis].checked_add_signed(margins[axis]).expect("margins that are padding add"))
    });
    let strides = window.each(|side| side.stride);
    vec![ints("kernel_shape", &window.kernel()), ints("strides", &strides), ints("pads", &pads.concat())]
}

impl Writer<'_> {
    /// What is cut off as a slice, then the zeros.
    pub(super) fn pad(&mut self, id: NodeId, margins: Margins, operand: &str, value: &str) -> Result<(), OnnxError> {
        let name = &self.graph.node(id).name;
        let Margins { before, after } = margins;
        let adds = before.iter().chain(&after).any(|&side| side > 0);
        let mut at = operand.to_owned();
        if !margins.adds() {
            let starts = before.map(|side| side.min(0).unsigned_abs() as i64);
            let ends = after.map(|side| if side < 0 { side as i64 } else { i64::from(i32::MAX) });
            let mut operands = vec![at];
            for (of, values) in [("starts", starts), ("ends", ends), ("axes", [2, 3])] {
                let name = self.taken.unique(&format!("{name}.{of}"));
                self.initializers.push(integers(&name, &values));
                operands.push(name);
            }
            at = if adds { self.taken.unique(&format!("{name}.cut")) } else { value.to_owned() };
            let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
            self.emit("Slice", &operands, &at, vec![]);
        }
        if adds || margins.adds() {
            let [top, left, bottom, right] = [before[0], before[1], after[0], after[1]].map(|side| side.max(0) as i64);
            let (pads, zero) = (self.taken.unique(&format!("{name}.pads")), self.taken.unique(&format!("{name}.zero")));
            self.initializers.push(integers(&pads, &[0, 0, top, left, 0, 0, bottom, right]));
            // ONNX Runtime takes zeros in front of a maximum for its padding, which is less than all numbers.
            let mut readers = self.graph.nodes().iter().filter(|node| node.inputs.contains(&id));
            let number = match readers.any(|node| matches!(node.op, Op::MaxPool(_))) {
                true if self.precision == Precision::F16 => f16::MIN_POSITIVE_SUBNORMAL.to_f32(),
                true => f32::MIN_POSITIVE,
                false => 0.0,
            };
            let tensor = self.tensor(&zero, &[], &[number])?;
            self.initializers.push(tensor);
            self.emit("Pad", &[&at, &pads, &zero], value, vec![]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{GraphBuilder, Shape, Side};
    use crate::network::{Init, Weights};
    use crate::onnx::{ExportOptions, Metadata, export};
    use candle_core::Device;
    use prost::Message;
    use tract_onnx::pb::ModelProto;

    #[test]
    fn zeros_before_a_convolution_are_its_padding() {
        let pads = |readers: usize| {
            let mut builder = GraphBuilder::new(Shape::map(2, 7, 8));
            let margins = Margins::new([0, 1], [1, 2]);
            let padded = builder.push("around", Op::Pad(margins), &[builder.input()]).unwrap();
            let window = Window { rows: Side::same(3, 2), columns: Side::same(1, 1) };
            let conv = Op::Conv2d(Conv2d { out_channels: 2, window, groups: 1, bias: false });
            let convs = (0..readers).map(|at| builder.push(format!("conv{at}"), conv, &[padded]).unwrap());
            let convs: Vec<NodeId> = convs.collect();
            let sum = if readers > 1 { builder.push("sum", Op::Add, &convs).unwrap() } else { convs[0] };
            let graph = builder.finish(sum);
            let weights = Weights::random(&graph, Init::default(), 0, &Device::Cpu).unwrap();
            let model = export(&graph, &weights, &Metadata::new(), ExportOptions::default()).unwrap();
            let model = ModelProto::decode(model.bytes.as_slice()).unwrap();
            let nodes = model.graph.unwrap().node;
            let conv = nodes.iter().find(|node| node.op_type == "Conv").unwrap();
            let pads = conv.attribute.iter().find(|attribute| attribute.name == "pads").unwrap();
            (nodes.len(), pads.ints.clone())
        };
        assert_eq!(pads(1), (1, vec![1, 1, 2, 2]));
        assert_eq!(pads(2), (4, vec![1, 0, 1, 0]));
    }
}
