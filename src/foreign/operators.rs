//! What each of ONNX's operators is in the graph.

use super::constant::Constant;
use super::node::Attributes;
use super::read::{Reader, UNREAD, Value, name_of};
use crate::graph::{Activation, BATCH_NORM_EPS, Conv2d, Margins, NodeId, Op, Shape, Window};
use std::rc::Rc;
use tract_onnx::pb::NodeProto;

/// Numbers of a file that mean 1/6 and the like.
const CLOSE: f32 = 1e-4;

fn close(left: f32, right: f32) -> bool {
    (left - right).abs() <= CLOSE * right.abs().max(1e-3)
}

impl<'a> Reader<'a> {
    /// The value of a node's first output.
    pub(super) fn read(&mut self, node: &'a NodeProto) -> Result<Value, String> {
        let attributes = Attributes::of(node);
        let of_constants = node.input.iter().filter(|name| !name.is_empty()).enumerate();
        let constants: Option<Vec<Rc<Constant>>> = of_constants.map(|(at, _)| self.constant(node, at)).collect();
        if let Some(constants) = constants {
            let inputs: Vec<&Constant> = constants.iter().map(Rc::as_ref).collect();
            if let Some(computed) = Constant::computed(&node.op_type, &attributes, &inputs) {
                return computed.map(|constant| Value::Constant(Rc::new(constant)));
            }
        }
        if !node.domain.is_empty() && node.domain != "ai.onnx" {
            return Err(format!("operators of `{}` are not known", node.domain));
        }
        let name = name_of(node);
        match node.op_type.as_str() {
            "Conv" => self.convolution(node, &attributes),
            "BatchNormalization" => self.batch_norm(node, &attributes),
            "Relu" => self.activation(node, Activation::Relu),
            "Sigmoid" => self.activation(node, Activation::Sigmoid),
            "HardSwish" => self.activation(node, Activation::HardSwish),
            "HardSigmoid" => self.hard_sigmoid(node, &attributes),
            "Clip" => self.clip(node, &attributes),
            "Add" | "Sum" | "Sub" | "Mul" | "Div" if self.constant(node, 0).or(self.constant(node, 1)).is_some() => {
                self.with_constant(node)
            }
            "Add" | "Sum" => {
                let operands: Vec<NodeId> =
                    (0..node.input.len()).map(|at| self.operand(node, at)).collect::<Result<_, _>>()?;
                if let [one] = operands[..] {
                    Ok(Value::Node(one))
                } else {
                    self.push(name, Op::Add, &operands).map(Value::Node)
                }
            }
            "Mul" => self.product(node),
            "Concat" => {
                let axis = attributes.int("axis").unwrap_or(1);
                let operands: Vec<NodeId> =
                    (0..node.input.len()).map(|at| self.operand(node, at)).collect::<Result<_, _>>()?;
                let rank = self.builder.shape(operands[0]).dims().len() as i64 + 1;
                match axis.rem_euclid(rank) {
                    1 if operands.len() == 1 => Ok(Value::Node(operands[0])),
                    1 => self.push(name, Op::Concat, &operands).map(Value::Node),
                    axis => Err(format!("along axis {axis}, expected the channels, 1")),
                }
            }
            "MaxPool" | "AveragePool" => self.pool(node, &attributes),
            "GlobalAveragePool" => self.operand(node, 0).map(Value::Pooled),
            "ReduceMean" => self.reduce_mean(node, &attributes),
            "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" => self.reshape(node, &attributes),
            "Transpose" => self.transpose(node, &attributes),
            "Gemm" | "MatMul" => self.linear(node, &attributes),
            "Identity" | "Dropout" | "Cast" => self.value(node, 0),
            "Shape" => {
                let of = self.operand(node, 0)?;
                let dims = self.builder.shape(of).dims();
                Ok(Value::Constant(Rc::new(Constant::integers([1].into_iter().chain(dims)))))
            }
            "Pad" => self.pad(node, &attributes),
            "Slice" => self.crop(node, &attributes),
            "Softmax" => self.softmax(node, &attributes),
            _ => Err("graphs have no such operator".into()),
        }
    }

    fn activation(&mut self, node: &'a NodeProto, activation: Activation) -> Result<Value, String> {
        let of = self.operand(node, 0)?;
        self.push(name_of(node), Op::Activation(activation), &[of]).map(Value::Node)
    }

    fn convolution(&mut self, node: &'a NodeProto, attributes: &Attributes) -> Result<Value, String> {
        let input = self.operand(node, 0)?;
        let weight = self.constant(node, 1).ok_or("its weight is no constant of floats")?;
        let &[out_channels, _, rows, columns] = &weight.dims[..] else {
            return Err(format!("its weight has dimensions {:?}, expected 4", weight.dims));
        };
        let Shape::Map { height, width, .. } = self.builder.shape(input) else {
            return Err("it reads a vector".into());
        };
        let slide = attributes.slide(Some([rows, columns]), [height, width], false)?;
        let groups = attributes.int("group").unwrap_or(1).max(1) as usize;
        let bias = match node.input.get(2).filter(|name| !name.is_empty()) {
            Some(_) => Some(self.constant(node, 2).ok_or("its bias is no constant of floats")?.values.clone()),
            None => self.added_bias(node, out_channels, 2),
        };
        let input = match slide.margins {
            Some(margins) => self.push(&format!("{}.pad", name_of(node)), Op::Pad(margins), &[input])?,
            None => input,
        };
        let op = Op::Conv2d(Conv2d { out_channels, window: slide.window, groups, bias: bias.is_some() });
        let of_bias = [out_channels];
        let mut parameters: Vec<(&str, &[usize], &[f32])> = vec![("weight", &weight.dims, &weight.values)];
        parameters.extend(bias.iter().map(|bias| ("bias", &of_bias[..], &bias[..])));
        let value = Value::Node(self.push_with(name_of(node), op, input, &parameters)?);
        self.alias_sum(node, &value);
        Ok(value)
    }

    fn batch_norm(&mut self, node: &'a NodeProto, attributes: &Attributes) -> Result<Value, String> {
        if attributes.int("training_mode").unwrap_or(0) != 0 {
            return Err("it is in training mode".into());
        }
        let input = self.operand(node, 0)?;
        let constants: Option<Vec<_>> = (1..5).map(|at| self.constant(node, at)).collect();
        let constants = constants.ok_or("its parameters are no constants of floats")?;
        let [scale, shift, mean, variance] = [0, 1, 2, 3].map(|at| constants[at].values.clone());
        let epsilon = attributes.float("epsilon").unwrap_or(1e-5);
        // Another ε is a part of the variance; where there is none to take it from, of the scale.
        let own = BATCH_NORM_EPS as f32;
        let (mut scales, mut variances) = (vec![], vec![]);
        for (&scale, &variance) in scale.iter().zip(&variance) {
            let moved = (variance + epsilon - own).max(0.0);
            let factor = if epsilon == own { 1.0 } else { ((moved + own) / (variance + epsilon)).sqrt() };
            scales.push(scale * factor);
            variances.push(if epsilon == own { variance } else { moved });
        }
        let dims = [scale.len()];
        let all: [(&str, &[usize], &[f32]); 4] = [
            ("weight", &dims, &scales),
            ("bias", &dims, &shift),
            ("running_mean", &dims, &mean),
            ("running_var", &dims, &variances),
        ];
        self.push_with(name_of(node), Op::BatchNorm, input, &all).map(Value::Node)
    }

    fn hard_sigmoid(&mut self, node: &'a NodeProto, attributes: &Attributes) -> Result<Value, String> {
        let (alpha, beta) = (attributes.float("alpha").unwrap_or(0.2), attributes.float("beta").unwrap_or(0.5));
        let mut input = self.operand(node, 0)?;
        if !close(alpha, 1.0 / 6.0) || !close(beta, 0.5) {
            let channels = self.builder.shape(input).channels();
            let (scale, shift) = (vec![6.0 * alpha; channels], vec![6.0 * beta - 3.0; channels]);
            input = self.affine(&format!("{}.slope", name_of(node)), input, &scale, &shift)?;
        }
        self.push(name_of(node), Op::Activation(Activation::HardSigmoid), &[input]).map(Value::Node)
    }

    fn clip(&mut self, node: &'a NodeProto, attributes: &Attributes) -> Result<Value, String> {
        let bound = |reader: &Self, at: usize, name: &str, open: f32| match reader.constant(node, at) {
            Some(bound) => bound.scalar(),
            None => Some(attributes.float(name).unwrap_or(open)),
        };
        let low = bound(self, 1, "min", f32::MIN).ok_or("its lower bound is no number")?;
        let high = bound(self, 2, "max", f32::MAX).ok_or("its upper bound is no number")?;
        match (self.value(node, 0)?, low, high) {
            (Value::PlusThree(of), 0.0, 6.0) => Ok(Value::Clipped(of)),
            (_, 0.0, 6.0) => self.activation(node, Activation::Relu6),
            (_, 0.0, high) if high >= f32::MAX => self.activation(node, Activation::Relu),
            _ => Err(format!("between {low} and {high}, expected 0 and 6, or 0 and nothing")),
        }
    }

    /// A sum, difference, product or quotient with a constant.
    fn with_constant(&mut self, node: &'a NodeProto) -> Result<Value, String> {
        let is_first = self.constant(node, 0).is_some();
        let other = usize::from(!is_first);
        let constant = self.constant(node, other).ok_or("it reads a constant that could not be read")?;
        if node.input.len() != 2 || (is_first && matches!(node.op_type.as_str(), "Sub" | "Div")) {
            return Err("expected a value and a constant behind it".into());
        }
        let value = self.value(node, 1 - other)?;
        let operator = node.op_type.as_str();
        match (&value, operator, constant.scalar()) {
            (Value::Node(of), "Add", Some(3.0)) => return Ok(Value::PlusThree(*of)),
            (Value::Clipped(_) | Value::Gated(_), "Div" | "Mul", Some(by)) => {
                let sixth = if operator == "Div" { close(by, 6.0) } else { close(by, 1.0 / 6.0) };
                let (of, activation) = match value {
                    Value::Gated(of) => (of, Activation::HardSwish),
                    Value::Clipped(of) => (of, Activation::HardSigmoid),
                    _ => unreachable!("the pattern is of these two"),
                };
                if !sixth {
                    return Err(format!("a hard sigmoid by {by}, expected a sixth of it"));
                }
                return self.push(name_of(node), Op::Activation(activation), &[of]).map(Value::Node);
            }
            _ => {}
        }
        let of = self.node_of(&value)?;
        let shape = self.builder.shape(of);
        if matches!(shape, Shape::Vector(_)) {
            return Err("of a vector by a constant, expected a bias behind a fully connected layer".into());
        }
        let channels = shape.channels();
        let by = constant.by_channel(channels, 2);
        let by = by.ok_or_else(|| format!("by a constant {:?}, expected one number a channel", constant.dims))?;
        let (scale, shift): (Vec<f32>, Vec<f32>) = match operator {
            "Mul" => (by, vec![0.0; channels]),
            "Div" => (by.iter().map(|by| by.recip()).collect(), vec![0.0; channels]),
            "Sub" => (vec![1.0; channels], by.iter().map(|by| -by).collect()),
            _ => (vec![1.0; channels], by),
        };
        self.affine(name_of(node), of, &scale, &shift).map(Value::Node)
    }

    fn product(&mut self, node: &'a NodeProto) -> Result<Value, String> {
        let (left, right) = (self.value(node, 0)?, self.value(node, 1)?);
        for (value, gate) in [(&left, &right), (&right, &left)] {
            let &Value::Node(of) = value else { continue };
            match gate {
                Value::Clipped(gate) if *gate == of => return Ok(Value::Gated(of)),
                Value::Node(gate)
                    if self.ops[gate.index()] == Op::Activation(Activation::HardSigmoid)
                        && self.inputs[gate.index()] == [of] =>
                {
                    let op = Op::Activation(Activation::HardSwish);
                    return self.push(name_of(node), op, &[of]).map(Value::Node);
                }
                _ => {}
            }
        }
        let (left, right) = (self.node_of(&left)?, self.node_of(&right)?);
        let pixels = |id: NodeId| self.builder.shape(id).pixels();
        let operands = if pixels(left) >= pixels(right) { [left, right] } else { [right, left] };
        self.push(name_of(node), Op::Mul, &operands).map(Value::Node)
    }

    fn pool(&mut self, node: &'a NodeProto, attributes: &Attributes) -> Result<Value, String> {
        let input = self.operand(node, 0)?;
        let Shape::Map { height, width, .. } = self.builder.shape(input) else {
            return Err("it reads a vector".into());
        };
        let name = name_of(node);
        let is_maximum = node.op_type == "MaxPool";
        let counts = attributes.int("count_include_pad").unwrap_or(0) != 0;
        let slide = attributes.slide(None, [height, width], counts && !is_maximum)?;
        if !is_maximum && slide.window.kernel() == [height, width] && slide.margins.is_none() {
            let whole = slide.window.each(|side| side.padding) == [0; 2];
            if whole {
                return Ok(Value::Pooled(input));
            }
        }
        let input = match slide.margins {
            None => input,
            Some(_) if is_maximum && !self.is_positive(input) => {
                return Err("padding that differs from side to side (or ceil_mode) of what may be negative".into());
            }
            Some(_) if !is_maximum && !counts => {
                return Err("padding that does not count and differs from side to side (or ceil_mode)".into());
            }
            Some(margins) => self.push(&format!("{name}.pad"), Op::Pad(margins), &[input])?,
        };
        let op = if is_maximum { Op::MaxPool(slide.window) } else { Op::AvgPool(slide.window) };
        self.push(name, op, &[input]).map(Value::Node)
    }

    /// Whether a node's numbers are 0 or more, so that zeros around it change no maximum.
    fn is_positive(&self, id: NodeId) -> bool {
        match self.ops[id.index()] {
            Op::Activation(of) => of != Activation::HardSwish,
            Op::MaxPool(_) | Op::AvgPool(_) | Op::Pad(_) | Op::Concat | Op::Add | Op::Mul | Op::Dropout { .. } => {
                self.inputs[id.index()].iter().all(|&input| self.is_positive(input))
            }
            _ => false,
        }
    }

    fn reduce_mean(&mut self, node: &'a NodeProto, attributes: &Attributes) -> Result<Value, String> {
        let axes = self.constant(node, 1).map(|axes| axes.as_integers()).or_else(|| attributes.ints("axes"));
        let mut axes: Vec<i64> = axes.unwrap_or_default().iter().map(|axis| axis.rem_euclid(4)).collect();
        axes.sort_unstable();
        match (self.value(node, 0)?, &axes[..]) {
            (Value::ChannelsLast(map), [1, 2]) => Ok(Value::Pooled(map)),
            (value, [2, 3]) => Ok(Value::Pooled(self.node_of(&value)?)),
            _ => Err(format!("over axes {axes:?}, expected those of all pixels")),
        }
    }

    fn reshape(&mut self, node: &'a NodeProto, attributes: &Attributes) -> Result<Value, String> {
        let value = self.value(node, 0)?;
        let of = match value {
            Value::Pooled(_) | Value::Flat(_) => return Ok(value),
            ref value => self.node_of(value)?,
        };
        let shape = self.builder.shape(of);
        let one_pixel = shape.pixels() == 1;
        let flat = if one_pixel { Value::Pooled(of) } else { Value::Flat(of) };
        let wanted = match node.op_type.as_str() {
            "Flatten" if attributes.int("axis").unwrap_or(1) == 1 => return Ok(flat),
            "Reshape" => self.constant(node, 1).map(|shape| shape.as_integers()).or_else(|| attributes.ints("shape")),
            "Squeeze" | "Unsqueeze" if one_pixel => return Ok(flat),
            _ => None,
        };
        let wanted = wanted.ok_or("its shape is not known before it runs")?;
        let elements = shape.elements() as i64;
        match wanted[..] {
            [_, size] if size == elements || size == -1 => Ok(flat),
            [_, channels, 1, 1] if one_pixel && (channels == elements || channels == -1) => Ok(flat),
            [_, a, b, c] if [a, b, c].map(|dim| dim.max(0) as usize) == shape.dims()[..] => Ok(Value::Node(of)),
            _ => Err(format!("of {shape} to {wanted:?}, expected a vector of all of it (is it a channel shuffle?)")),
        }
    }

    fn transpose(&mut self, node: &'a NodeProto, attributes: &Attributes) -> Result<Value, String> {
        let perm = attributes.ints("perm").unwrap_or_default();
        match (self.value(node, 0)?, &perm[..]) {
            (Value::Unknown, _) => Err(UNREAD.into()),
            (Value::ChannelsLast(map), [0, 3, 1, 2]) => Ok(Value::Node(map)),
            (value @ (Value::Pooled(_) | Value::Flat(_)), [0, 1]) => Ok(value),
            (value @ Value::Pooled(_), [0, 2, 3, 1] | [0, 3, 1, 2]) => Ok(value),
            (value, [0, 2, 3, 1]) => self.node_of(&value).map(Value::ChannelsLast),
            _ => Err(format!("to the order {perm:?}, expected channels first or last (is it a channel shuffle?)")),
        }
    }

    fn linear(&mut self, node: &'a NodeProto, attributes: &Attributes) -> Result<Value, String> {
        let is_gemm = node.op_type == "Gemm";
        let scale = |name: &str| attributes.float(name).unwrap_or(1.0);
        if is_gemm && (attributes.int("transA").unwrap_or(0) != 0 || scale("alpha") != 1.0 || scale("beta") != 1.0) {
            return Err("with transA, alpha or beta, expected input · weight + bias".into());
        }
        let weight = self.constant(node, 1).ok_or("its second operand is no constant of floats")?;
        let [_, _] = weight.dims[..] else {
            return Err(format!("its weight has dimensions {:?}, expected 2", weight.dims));
        };
        let is_transposed = is_gemm && attributes.int("transB").unwrap_or(0) != 0;
        let weight = if is_transposed { weight.as_ref().clone() } else { weight.transposed(&[1, 0])? };
        let [out_features, in_features] = [weight.dims[0], weight.dims[1]];
        let bias = match self.constant(node, 2) {
            Some(bias) if is_gemm => bias.by_channel(out_features, 0),
            _ => self.added_bias(node, out_features, 0),
        };
        let of_bias = [out_features];
        let name = name_of(node);
        let (input, op, dims) = match self.value(node, 0)? {
            Value::Flat(map) => {
                let Shape::Map { channels, height, width } = self.builder.shape(map) else {
                    return Err("it reads a vector of a vector".into());
                };
                let window = Window::new([height, width], [1; 2], [0; 2], [1; 2]);
                let op = Op::Conv2d(Conv2d { out_channels: out_features, window, groups: 1, bias: bias.is_some() });
                (map, op, vec![out_features, channels, height, width])
            }
            value => {
                let input = match value {
                    Value::Pooled(map) => self.mean(map, true)?,
                    ref value => self.node_of(value)?,
                };
                (input, Op::Linear { out_features, bias: bias.is_some() }, vec![out_features, in_features])
            }
        };
        if dims[1..].iter().product::<usize>() != in_features {
            return Err(format!("its weight reads {in_features} numbers, expected {:?}", &dims[1..]));
        }
        let mut parameters: Vec<(&str, &[usize], &[f32])> = vec![("weight", &dims, &weight.values)];
        parameters.extend(bias.iter().map(|bias| ("bias", &of_bias[..], &bias[..])));
        let made = self.push_with(name, op, input, &parameters)?;
        // One pixel that is read as a vector next.
        let value = if matches!(op, Op::Conv2d(_)) { Value::Node(self.mean(made, true)?) } else { Value::Node(made) };
        self.alias_sum(node, &value);
        Ok(value)
    }

    fn pad(&mut self, node: &'a NodeProto, attributes: &Attributes) -> Result<Value, String> {
        let mode = attributes.text("mode").unwrap_or_else(|| "constant".into());
        let filled =
            self.constant(node, 2).and_then(|value| value.scalar()).or(attributes.float("value")).unwrap_or(0.0);
        if mode != "constant" || filled != 0.0 || node.input.len() > 3 {
            return Err(format!("mode {mode} with {filled}, expected zeros"));
        }
        let pads = self.constant(node, 1).map(|pads| pads.as_integers()).or_else(|| attributes.ints("pads"));
        let [0, 0, top, left, 0, 0, bottom, right] = pads.as_deref().unwrap_or_default()[..] else {
            return Err(format!("pads {pads:?}, expected those of rows and columns"));
        };
        let input = self.operand(node, 0)?;
        let margins = Margins::new([top as isize, left as isize], [bottom as isize, right as isize]);
        self.push(name_of(node), Op::Pad(margins), &[input]).map(Value::Node)
    }

    /// Rows and columns that are cut off at the edges.
    fn crop(&mut self, node: &'a NodeProto, attributes: &Attributes) -> Result<Value, String> {
        let input = self.operand(node, 0)?;
        let Shape::Map { height, width, .. } = self.builder.shape(input) else {
            return Err("of a vector, expected a map".into());
        };
        let given = |at: usize, name: &str| {
            self.constant(node, at).map(|all| all.as_integers()).or_else(|| attributes.ints(name))
        };
        let (Some(starts), Some(ends)) = (given(1, "starts"), given(2, "ends")) else {
            return Err("its bounds are not known before it runs".into());
        };
        let axes = given(3, "axes").unwrap_or_else(|| (0..starts.len() as i64).collect());
        let is_whole = given(4, "steps").is_none_or(|steps| steps.iter().all(|&step| step == 1));
        if !is_whole || axes.len() != starts.len() || ends.len() != starts.len() {
            return Err(format!("along axes {axes:?}, expected a bound of each and steps of 1"));
        }
        let (mut before, mut after) = ([0; 2], [0; 2]);
        for ((axis, start), end) in axes.into_iter().zip(starts).zip(ends) {
            let (side, size) = match axis.rem_euclid(4) {
                2 => (0, height as i64),
                3 => (1, width as i64),
                _ => return Err(format!("along axis {axis}, expected rows or columns")),
            };
            let bound = |at: i64| (if at < 0 { at + size } else { at }).clamp(0, size);
            before[side] = -(bound(start) as isize);
            after[side] = (bound(end) - size) as isize;
        }
        self.push(name_of(node), Op::Pad(Margins::new(before, after)), &[input]).map(Value::Node)
    }

    fn softmax(&mut self, node: &'a NodeProto, attributes: &Attributes) -> Result<Value, String> {
        let axis = attributes.int("axis").unwrap_or(if self.opset < 13 { 1 } else { -1 });
        let (of, is_last) = match self.value(node, 0)? {
            Value::Pooled(map) => (self.mean(map, true)?, self.opset < 13),
            value => (self.node_of(&value)?, true),
        };
        match self.builder.shape(of) {
            Shape::Vector(_) if axis == 1 || (axis == -1 && is_last) => {
                self.push(name_of(node), Op::Softmax, &[of]).map(Value::Node)
            }
            shape => Err(format!("of {shape} along axis {axis}, expected a vector")),
        }
    }
}
