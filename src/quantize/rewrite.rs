//! Writing a plan into a graph: pairs of `QuantizeLinear` and `DequantizeLinear`, and integers for weights.

use super::fold::{drop_unread_initializers, is_transposed};
use super::model::{floats, initializers};
use super::plan::{Plan, weight_at};
use super::ranges::{Grid, Ranges, range_of};
use super::weights::{round_bias, round_weight};
use super::{Activations, FloatModel, Precision, QuantizeError, Scheme};
use crate::onnx::proto::{floats as float_tensor, int, node as operator, tensor};
use crate::onnx::{Names, OnnxModel};
use crate::yaml::closest;
use prost::Message;
use std::collections::{BTreeMap, HashMap, HashSet};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

impl FloatModel {
    /// The model with what `scheme` says on integers.
    ///
    /// # Errors
    /// If the scheme names a layer that is not there, a range is missing, or a weight is no number.
    pub fn quantize(&self, ranges: &Ranges, scheme: &Scheme) -> Result<OnnxModel, QuantizeError> {
        self.check(scheme)?;
        let mut proto = self.proto.clone();
        let graph = proto.graph.as_mut().expect("it was there when the model was read");
        let plan = Plan::new(graph, scheme);
        let mut writer = Writer::new(graph, &plan, ranges, scheme)?;
        writer.write()?;
        let Writer { nodes, added, .. } = writer;
        graph.node = nodes;
        graph.initializer.extend(added);
        // Shapes and types of inner values that were written down are those of the float model.
        graph.value_info.clear();
        drop_unread_initializers(graph);
        Ok(OnnxModel { bytes: proto.encode_to_vec(), external_data: None })
    }

    /// Layers that a scheme names must be there.
    fn check(&self, scheme: &Scheme) -> Result<(), QuantizeError> {
        let layers: Vec<String> = self.layers().into_iter().map(|layer| layer.name).collect();
        let others = self.other_operators();
        let known = || layers.iter().chain(&others).map(String::as_str);
        let Some(name) = scheme.layers.keys().find(|name| !known().any(|known| known == name.as_str())) else {
            return Ok(());
        };
        let hint = closest(name, known()).map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
        let mut some: Vec<&str> = layers.iter().take(6).map(String::as_str).collect();
        if layers.len() > some.len() {
            some.push("…");
        }
        Err(QuantizeError::UnknownLayer { name: name.clone(), hint, known: some.join(", ") })
    }
}

struct Writer<'a> {
    graph: &'a GraphProto,
    plan: &'a Plan,
    scheme: &'a Scheme,
    initializers: HashMap<&'a str, &'a TensorProto>,
    grids: BTreeMap<&'a str, Grid>,
    outputs: HashSet<&'a str>,
    taken: Names,
    nodes: Vec<NodeProto>,
    added: Vec<TensorProto>,
    /// The rounded value of each value that has one, once it is written.
    rounded: HashMap<&'a str, String>,
}

impl<'a> Writer<'a> {
    fn new(graph: &'a GraphProto, plan: &'a Plan, ranges: &Ranges, scheme: &'a Scheme) -> Result<Self, QuantizeError> {
        let mut grids: BTreeMap<&str, Grid> = BTreeMap::new();
        for (name, rounded) in &plan.rounded {
            // Values that only pass on hold the numbers of the one that they come from.
            let (mut source, mut like) = (name, &rounded.like);
            while let Some(before) = like {
                source = before;
                like = &plan.rounded[before].like;
            }
            grids.insert(name, range_of(ranges, source)?.grid(scheme.activations));
        }
        let names = graph.node.iter().flat_map(|node| node.input.iter().chain(&node.output).chain([&node.name]));
        let taken = names.chain(graph.initializer.iter().map(|tensor| &tensor.name)).cloned().collect();
        let outputs = graph.output.iter().map(|output| output.name.as_str()).collect();
        let (initializers, nodes, added, rounded) = (initializers(graph), vec![], vec![], HashMap::new());
        Ok(Self { graph, plan, scheme, initializers, grids, outputs, taken, nodes, added, rounded })
    }

    fn write(&mut self) -> Result<(), QuantizeError> {
        for input in &self.graph.input {
            if let Some((name, _)) = self.plan.rounded.get_key_value(&input.name) {
                self.round(name, name.clone());
            }
        }
        for (at, node) in self.graph.node.iter().enumerate() {
            let mut node = node.clone();
            let integer = self.plan.layers.contains_key(&at) || self.plan.others.contains(&at);
            for input in &mut node.input {
                let made = self.plan.rounded.get(input.as_str()).is_some_and(|rounded| rounded.made);
                if let Some(rounded) = self.rounded.get(input.as_str()).filter(|_| integer || made) {
                    input.clone_from(rounded);
                }
            }
            if let Some(&precision) = self.plan.layers.get(&at) {
                self.integer_weight(&self.graph.node[at], &mut node, precision)?;
            }
            let mut to_round = vec![];
            for output in &mut node.output {
                let Some((name, rounded)) = self.plan.rounded.get_key_value(output.as_str()) else { continue };
                // An output of the model keeps its name, which its rounded value takes where an integer operator makes it.
                if rounded.made && self.outputs.contains(name.as_str()) {
                    *output = self.taken.unique(&format!("{name}.float"));
                }
                to_round.push((name, output.clone()));
            }
            self.nodes.push(node);
            for (name, value) in to_round {
                self.round(name, value);
            }
        }
        Ok(())
    }

    /// Writes the pair that rounds `value`, which is known as `name`.
    fn round(&mut self, name: &'a str, value: String) {
        let grid = self.grids[name];
        let [scale, zero_point] =
            [self.taken.unique(&format!("{name}.scale")), self.taken.unique(&format!("{name}.zero_point"))];
        self.added.push(float_tensor(&scale, &[], &[grid.scale]));
        let data_type = match self.scheme.activations {
            Activations::Asymmetric => DataType::Uint8,
            Activations::Symmetric => DataType::Int8,
        };
        self.added.push(tensor(&zero_point, &[], data_type, vec![grid.zero_point as u8]));
        let quantized = self.taken.unique(&format!("{name}.quantized"));
        let quantize = operator("QuantizeLinear", &[&value, &scale, &zero_point], &quantized, vec![]);
        let keeps_name = self.plan.rounded[name].made && self.outputs.contains(name);
        let back = if keeps_name { name.to_owned() } else { self.taken.unique(&format!("{name}.rounded")) };
        let dequantize = operator("DequantizeLinear", &[&quantized, &scale, &zero_point], &back, vec![]);
        // A node that has been there may have the name of the value.
        for (node, what) in [(quantize, "quantize"), (dequantize, "dequantize")] {
            let name = self.taken.unique(&format!("{name}.{what}"));
            self.nodes.push(NodeProto { name, ..node });
        }
        self.rounded.insert(name, back);
    }

    /// Replaces weight and bias of a layer by integers.
    fn integer_weight(
        &mut self,
        before: &NodeProto,
        node: &mut NodeProto,
        precision: Precision,
    ) -> Result<(), QuantizeError> {
        let at = weight_at(before, &self.initializers).expect("the plan has layers with weights alone");
        let weight = self.initializers[before.input[at].as_str()];
        let dims: Vec<usize> = weight.dims.iter().map(|&dim| dim as usize).collect();
        let values = floats(weight).expect("the plan has weights of floats alone");
        // Outputs are rows, or columns of a matrix that is multiplied from the right.
        let axis = usize::from(before.op_type == "MatMul" || (before.op_type == "Gemm" && !is_transposed(before)));
        let channels = dims[axis];
        let inner: usize = dims[axis + 1..].iter().product();
        let bias_name = before.input.get(2).filter(|name| !name.is_empty());
        let bias = bias_name.and_then(|name| floats(self.initializers[name.as_str()]));
        // A bias that is broadcast stays as it is.
        let bias = bias.filter(|bias| bias.len() == channels);
        let input_scale = self.grids[before.input[0].as_str()].scale;
        let rounded = round_weight(
            &values,
            channels,
            |element| element / inner % channels,
            (bias.as_deref(), input_scale),
            (precision, self.scheme.reduce_range),
            &weight.name,
        )?;
        let data_type = if precision == Precision::Asymmetric { DataType::Uint8 } else { DataType::Int8 };
        let bytes = rounded.values.iter().map(|&value| value as u8).collect();
        let name = format!("{}.weight", before.name);
        let zeros = vec![rounded.zero_point as u8; rounded.scales.len()];
        let per_channel = (rounded.scales.len() > 1 || precision == Precision::Symmetric).then_some(axis);
        node.input[at] = self.dequantized(&name, (&dims, data_type, bytes), &rounded.scales, zeros, per_channel);
        if let Some(bias) = bias {
            let (integers, scales) = round_bias(&bias, input_scale, &rounded.scales);
            let bytes = integers.iter().flat_map(|value| value.to_le_bytes()).collect();
            let zeros = vec![0; 4 * channels];
            let name = format!("{}.bias", before.name);
            node.input[2] = self.dequantized(&name, (&[channels], DataType::Int32, bytes), &scales, zeros, Some(0));
        }
        Ok(())
    }

    /// Writes integers with what makes floats of them; gives the name of the floats.
    fn dequantized(
        &mut self,
        name: &str,
        (dims, data_type, bytes): (&[usize], DataType, Vec<u8>),
        scales: &[f32],
        zeros: Vec<u8>,
        axis: Option<usize>,
    ) -> String {
        let [integers, scale, zero_point, back] =
            ["integers", "scale", "zero_point", "rounded"].map(|what| self.taken.unique(&format!("{name}.{what}")));
        let of_scales = if axis.is_some() { vec![scales.len()] } else { vec![] };
        self.added.push(tensor(&integers, dims, data_type, bytes));
        self.added.push(float_tensor(&scale, &of_scales, scales));
        self.added.push(tensor(&zero_point, &of_scales, data_type, zeros));
        let attributes = axis.map(|axis| int("axis", axis as i64)).into_iter().collect();
        self.nodes.push(operator("DequantizeLinear", &[&integers, &scale, &zero_point], &back, attributes));
        back
    }
}
