//! The networks of `benches/training.rs`, and what they are in Python.

use serde_json::{Value, json};
use std::collections::HashMap;
use tegu::graph::{Activation, Conv2d, Graph, GraphBuilder, Margins, NodeId, Op, Shape, Window};

struct Net(GraphBuilder);

impl Net {
    fn op(&mut self, op: Op, inputs: &[NodeId]) -> NodeId {
        let name = format!("{}.{inputs:?}.{:?}", self.0.shape(inputs[0]), op);
        let mut at = 0;
        loop {
            at += 1;
            if let Ok(node) = self.0.push(format!("{name}.{at}"), op, inputs) {
                return node;
            }
        }
    }

    fn conv(&mut self, from: NodeId, out_channels: usize, window: Window, groups: usize) -> NodeId {
        let conv = self.op(Op::Conv2d(Conv2d { out_channels, window, groups, bias: false }), &[from]);
        self.op(Op::BatchNorm, &[conv])
    }

    fn act(&mut self, from: NodeId, activation: Activation) -> NodeId {
        self.op(Op::Activation(activation), &[from])
    }

    fn channels(&self, node: NodeId) -> usize {
        self.0.shape(node).channels()
    }

    /// Squeeze and excitation (Hu et al. 2018).
    fn gated(&mut self, from: NodeId) -> NodeId {
        let (Shape::Map { height: side, .. }, channels) = (self.0.shape(from), self.channels(from)) else {
            unreachable!("a map is gated")
        };
        let all = Window::new([side; 2], [side; 2], [0; 2], [1; 2]);
        let mut gate = self.op(Op::AvgPool(all), &[from]);
        for (out_channels, activation) in [(channels / 4, Activation::Relu), (channels, Activation::Sigmoid)] {
            let conv = Conv2d { out_channels, window: Window::same(1, 1), groups: 1, bias: true };
            gate = self.op(Op::Conv2d(conv), &[gate]);
            gate = self.act(gate, activation);
        }
        self.op(Op::Mul, &[from, gate])
    }

    fn finish(mut self, from: NodeId) -> Graph {
        let pooled = self.op(Op::GlobalAvgPool, &[from]);
        let logits = self.op(Op::Linear { out_features: 10, bias: true }, &[pooled]);
        self.0.finish(logits)
    }
}

/// The cells of NAS-Bench-201: `edges` are those into node 1, then 2 and 3, as 3×3, 1×1, average pool or skip.
pub fn cells(input: [usize; 3], edges: &str, depth: usize) -> Graph {
    let mut net = Net(GraphBuilder::new(Shape::map(input[0], input[1], input[2])));
    let input = net.0.input();
    let mut x = net.conv(input, 16, Window::same(3, 1), 1);
    for stage in 0..3 {
        let channels = 16 << stage;
        if stage > 0 {
            let relu = net.act(x, Activation::Relu);
            let body = net.conv(relu, channels, Window::same(3, 2), 1);
            let body = net.act(body, Activation::Relu);
            let body = net.conv(body, channels, Window::same(3, 1), 1);
            let half = net.op(Op::AvgPool(Window::new([2; 2], [2; 2], [0; 2], [1; 2])), &[x]);
            let conv = Conv2d { out_channels: channels, window: Window::same(1, 1), groups: 1, bias: false };
            let shortcut = net.op(Op::Conv2d(conv), &[half]);
            x = net.op(Op::Add, &[body, shortcut]);
        }
        for _ in 0..depth {
            let mut nodes = vec![x];
            let mut relus = HashMap::new();
            let mut edges = edges.chars();
            for _ in 1..4 {
                let mut sum = Vec::new();
                for &from in &nodes {
                    let mut relu =
                        |net: &mut Net| *relus.entry(from).or_insert_with(|| net.act(from, Activation::Relu));
                    sum.push(match edges.next() {
                        Some('3') => {
                            let relu = relu(&mut net);
                            net.conv(relu, channels, Window::same(3, 1), 1)
                        }
                        Some('1') => {
                            let relu = relu(&mut net);
                            net.conv(relu, channels, Window::same(1, 1), 1)
                        }
                        Some('a') => net.op(Op::AvgPool(Window::same(3, 1)), &[from]),
                        _ => from,
                    });
                }
                nodes.push(if sum.len() > 1 { net.op(Op::Add, &sum) } else { sum[0] });
            }
            x = nodes[3];
        }
    }
    let last = net.op(Op::BatchNorm, &[x]);
    let last = net.act(last, Activation::Relu);
    net.finish(last)
}

/// Inverted residuals, some with gates.
pub fn mobile() -> Graph {
    let mut net = Net(GraphBuilder::new(Shape::map(3, 32, 32)));
    let input = net.0.input();
    let stem = net.conv(input, 32, Window::same(3, 1), 1);
    let mut x = net.act(stem, Activation::Relu);
    for (layers, out, kernel, expansion, gate) in [(2, 64, 3, 3, false), (3, 128, 5, 6, true), (3, 256, 3, 3, false)] {
        for layer in 0..layers {
            let (from, wide) = (x, net.channels(x) * expansion);
            let activation = if gate { Activation::HardSwish } else { Activation::Relu6 };
            x = net.conv(x, wide, Window::same(1, 1), 1);
            x = net.act(x, activation);
            x = net.conv(x, wide, Window::same(kernel, if layer == 0 { 2 } else { 1 }), wide);
            x = net.act(x, activation);
            x = if gate { net.gated(x) } else { x };
            x = net.conv(x, out, Window::same(1, 1), 1);
            x = if layer > 0 { net.op(Op::Add, &[x, from]) } else { x };
        }
    }
    let head = net.conv(x, 1280, Window::same(1, 1), 1);
    let head = net.act(head, Activation::Relu);
    net.finish(head)
}

/// Residual blocks of two 3×3 convolutions.
pub fn residual(input: [usize; 3]) -> Graph {
    let mut net = Net(GraphBuilder::new(Shape::map(input[0], input[1], input[2])));
    let input = net.0.input();
    let stem = net.conv(input, 32, Window::same(3, 1), 1);
    let mut x = net.act(stem, Activation::Relu);
    for (stride, out) in [(1, 32), (1, 32), (2, 64), (1, 64), (2, 128), (1, 128)] {
        let body = net.conv(x, out, Window::same(3, stride), 1);
        let body = net.act(body, Activation::Relu);
        let body = net.conv(body, out, Window::same(3, 1), 1);
        let shortcut = match stride {
            1 => x,
            _ => net.conv(x, out, Window::same(1, stride), 1),
        };
        let sum = net.op(Op::Add, &[body, shortcut]);
        x = net.act(sum, Activation::Relu);
    }
    net.finish(x)
}

/// The network as `training.py` reads it.
pub fn describe(graph: &Graph, batch: usize) -> Value {
    let nodes = graph.nodes().iter().map(|node| {
        let mut all = serde_json::Map::new();
        let window = match node.op {
            Op::Conv2d(conv) => Some(conv.window),
            Op::MaxPool(window) | Op::AvgPool(window) => Some(window),
            _ => None,
        };
        if let Some(window) = window {
            let Value::Object(fields) = json!(window) else { unreachable!("a window has fields") };
            all.extend(fields);
        }
        if let Op::Pad(Margins { before, after }) = node.op {
            all.insert("margins".into(), json!([before[1], after[1], before[0], after[0]]));
        }
        let (op, groups, bias) = match node.op {
            Op::Input => ("input", 1, false),
            Op::Conv2d(conv) => ("conv", conv.groups, conv.bias),
            Op::BatchNorm => ("batch_norm", 1, false),
            Op::Activation(Activation::Relu) => ("relu", 1, false),
            Op::Activation(Activation::Relu6) => ("relu6", 1, false),
            Op::Activation(Activation::HardSwish) => ("hardswish", 1, false),
            Op::Activation(Activation::Sigmoid) => ("sigmoid", 1, false),
            Op::Activation(Activation::HardSigmoid) => ("hardsigmoid", 1, false),
            Op::Add => ("add", 1, false),
            Op::Mul => ("mul", 1, false),
            Op::Concat => ("concat", 1, false),
            Op::MaxPool(_) => ("max_pool", 1, false),
            Op::AvgPool(_) => ("avg_pool", 1, false),
            Op::GlobalAvgPool => ("global_avg_pool", 1, false),
            Op::Linear { bias, .. } => ("linear", 1, bias),
            Op::Softmax => ("softmax", 1, false),
            Op::Pad(_) => ("pad", 1, false),
            Op::Dropout { .. } | Op::Identity | Op::Zero => ("identity", 1, false),
            Op::Activation(Activation::Gelu) | Op::LayerNorm | Op::Attention(_) | Op::PositionEmbedding => {
                panic!("{}: training.py knows no transformers", node.name)
            }
        };
        all.insert("op".into(), op.into());
        all.insert("groups".into(), groups.into());
        all.insert("bias".into(), bias.into());
        all.insert("inputs".into(), node.inputs.iter().map(|input| input.index()).collect::<Vec<_>>().into());
        let ins = node.inputs.first().map_or(0, |&input| graph.node(input).shape.channels());
        all.insert("in".into(), ins.into());
        all.insert("out".into(), node.shape.channels().into());
        Value::Object(all)
    });
    let last = std::env::var("TEGU_TORCH_CHANNELS_LAST").is_ok_and(|set| set == "1");
    let input = [vec![batch], graph.input_shape().dims()].concat();
    let threads = rayon::current_num_threads();
    json!({"nodes": nodes.collect::<Vec<_>>(), "input": input, "threads": threads, "channels_last": last})
}
