//! Shapes of maps and vectors, and which shape an operator makes of its operands'.

use super::{Attention, Conv2d, Op, Window};
use std::fmt;

/// Shape of one sample, without the batch dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// A feature map `[channels, height, width]`.
    Map {
        /// Channels.
        channels: usize,
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// A vector `[features]`.
    Vector(usize),
}

impl Shape {
    /// A map of these dimensions.
    pub fn map(channels: usize, height: usize, width: usize) -> Self {
        Self::Map { channels, height, width }
    }

    /// Channels of a map, features of a vector.
    pub fn channels(&self) -> usize {
        match *self {
            Self::Map { channels, .. } => channels,
            Self::Vector(features) => features,
        }
    }

    /// Pixels of a map, 1 for a vector.
    pub fn pixels(&self) -> usize {
        match *self {
            Self::Map { height, width, .. } => height * width,
            Self::Vector(_) => 1,
        }
    }

    /// Number of elements of one sample.
    pub fn elements(&self) -> usize {
        self.channels() * self.pixels()
    }

    /// The dimensions, without the batch.
    pub fn dims(&self) -> Vec<usize> {
        match *self {
            Self::Map { channels, height, width } => vec![channels, height, width],
            Self::Vector(features) => vec![features],
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self.dims().iter().map(usize::to_string).collect();
        write!(f, "[{}]", dims.join(", "))
    }
}

/// The shape that `op` makes of its operands' shapes, or what is wrong with them.
pub(super) fn infer(op: &Op, operands: &[Shape]) -> Result<Shape, String> {
    match op {
        Op::Input => Err("a graph has one input only".into()),
        Op::Conv2d(conv) => convolution(conv, one(operands)?),
        Op::MaxPool(window) | Op::AvgPool(window) => {
            if let Some(side) = window.sides().iter().find(|side| side.padding > side.kernel / 2) {
                return Err(format!("padding {} is more than half of the kernel {}", side.padding, side.kernel));
            }
            let input = one(operands)?;
            slide(window, input, input.channels())
        }
        Op::Add => {
            let first = at_least_two(operands)?;
            match operands.iter().find(|&&shape| shape != first) {
                Some(other) => Err(format!("can't add {first} and {other}: expected equal shapes")),
                None => Ok(first),
            }
        }
        Op::Mul => match operands {
            [a, b] if a == b => Ok(*a),
            [a @ Shape::Map { .. }, b]
                if b.channels() == a.channels() && matches!(b, Shape::Map { .. }) && b.pixels() == 1 =>
            {
                Ok(*a)
            }
            [a, b] => {
                Err(format!("can't multiply {a} and {b}: expected equal shapes, or a gate [{}, 1, 1]", a.channels()))
            }
            _ => Err(format!("expected 2 operands, found {}", operands.len())),
        },
        Op::Concat => concatenation(operands),
        Op::GlobalAvgPool => match one(operands)? {
            Shape::Map { channels, .. } => Ok(Shape::Vector(channels)),
            shape => Err(format!("expected a map [channels, height, width], found {shape}")),
        },
        Op::Linear { out_features, .. } => match one(operands)? {
            Shape::Vector(_) => Ok(Shape::Vector(*out_features)),
            shape => Err(format!("expected a vector [features], found {shape}: pool it first")),
        },
        Op::Softmax => match one(operands)? {
            shape @ Shape::Vector(_) => Ok(shape),
            shape => Err(format!("expected a vector [features], found {shape}: pool it first")),
        },
        Op::Attention(attention) => look(attention, operands),
        Op::BatchNorm | Op::LayerNorm | Op::PositionEmbedding => match one(operands)? {
            shape @ Shape::Map { .. } => Ok(shape),
            shape => Err(format!("expected a map [channels, height, width], found {shape}")),
        },
        Op::Pad(margins) => match one(operands)? {
            Shape::Map { channels, height, width } => match margins.output([height, width]) {
                Some([height, width]) => Ok(Shape::map(channels, height, width)),
                None => Err(format!("nothing of {height}x{width} pixels is left with {margins:?}")),
            },
            shape => Err(format!("expected a map [channels, height, width], found {shape}")),
        },
        Op::Activation(_) | Op::Dropout { .. } | Op::Zero | Op::Identity => one(operands),
    }
}

fn one(operands: &[Shape]) -> Result<Shape, String> {
    match operands {
        [shape] => Ok(*shape),
        _ => Err(format!("expected 1 operand, found {}", operands.len())),
    }
}

fn at_least_two(operands: &[Shape]) -> Result<Shape, String> {
    match operands {
        [first, _, ..] => Ok(*first),
        _ => Err(format!("expected 2 or more operands, found {}", operands.len())),
    }
}

fn convolution(conv: &Conv2d, input: Shape) -> Result<Shape, String> {
    let groups = conv.groups;
    let divided = |channels: usize| groups > 0 && channels.is_multiple_of(groups);
    if !divided(input.channels()) || !divided(conv.out_channels) || conv.out_channels == 0 {
        return Err(format!(
            "{groups} groups must divide the {} input channels and the {} output channels",
            input.channels(),
            conv.out_channels
        ));
    }
    slide(&conv.window, input, conv.out_channels)
}

fn look(attention: &Attention, operands: &[Shape]) -> Result<Shape, String> {
    let &[q @ Shape::Map { height, width, .. }, k @ Shape::Map { .. }, v @ Shape::Map { .. }] = operands else {
        let found: Vec<String> = operands.iter().map(Shape::to_string).collect();
        return Err(format!("expected 3 maps [channels, height, width], found {}", found.join(", ")));
    };
    if k.channels() != q.channels() || k.dims()[1..] != v.dims()[1..] {
        return Err(format!(
            "q {q}, k {k} and v {v}: expected q and k of as many channels, k and v of the same pixels"
        ));
    }
    let divides = |channels: usize| attention.heads > 0 && channels.is_multiple_of(attention.heads);
    if !divides(q.channels()) || !divides(v.channels()) {
        let (heads, q, v) = (attention.heads, q.channels(), v.channels());
        return Err(format!("{heads} heads must divide the {q} channels of q and the {v} channels of v"));
    }
    Ok(Shape::map(v.channels(), height, width))
}

fn slide(window: &Window, input: Shape, channels: usize) -> Result<Shape, String> {
    let Shape::Map { height, width, .. } = input else {
        return Err(format!("expected a map [channels, height, width], found {input}"));
    };
    if window.sides().iter().any(|side| side.kernel.min(side.stride).min(side.dilation) == 0) {
        return Err("kernel, stride and dilation must be at least 1".into());
    }
    match window.output([height, width]) {
        Some([height, width]) => Ok(Shape::map(channels, height, width)),
        None => Err(format!("a window of {window} does not fit into {input}")),
    }
}

fn concatenation(operands: &[Shape]) -> Result<Shape, String> {
    let first = at_least_two(operands)?;
    let channels = operands.iter().map(Shape::channels).sum();
    match first {
        Shape::Vector(_) if operands.iter().all(|s| matches!(s, Shape::Vector(_))) => Ok(Shape::Vector(channels)),
        Shape::Map { height, width, .. }
            if operands
                .iter()
                .all(|s| matches!(s, Shape::Map { height: h, width: w, .. } if (*h, *w) == (height, width))) =>
        {
            Ok(Shape::map(channels, height, width))
        }
        _ => {
            let all: Vec<String> = operands.iter().map(Shape::to_string).collect();
            Err(format!("can't concatenate {}: expected equal heights and widths", all.join(" and ")))
        }
    }
}
