//! What transformers are made of, as ONNX Runtime and tract run it fastest: a layer normalisation is opset 17's own between two
//! transpositions, since it goes over the last axis (three times as fast as means over channels, spelt out); a GELU is spelt out with
//! the error function, since `Gelu` needs opset 20 (ONNX Runtime makes one operator of it again); attention is products of matrices.

use super::Writer;
use crate::graph::{Attention, AttentionKind, LAYER_NORM_EPS, LINEAR_ATTENTION_EPS, NodeId};
use crate::onnx::OnnxError;
use crate::onnx::proto::{float, int, integers, ints};

impl Writer<'_> {
    /// `[scale, shift]` are the names of initialisers.
    pub(super) fn layer_norm(&mut self, name: &str, operand: &str, parameters: &[String], value: &str) {
        let pixels_first = self.taken.unique(&format!("{name}.pixels"));
        self.emit("Transpose", &[operand], &pixels_first, vec![ints("perm", &[0, 2, 3, 1])]);
        let normal = self.taken.unique(&format!("{name}.normal"));
        let operands: Vec<&str> =
            std::iter::once(pixels_first.as_str()).chain(parameters.iter().map(String::as_str)).collect();
        let attributes = vec![int("axis", -1), float("epsilon", LAYER_NORM_EPS as f32)];
        self.emit("LayerNormalization", &operands, &normal, attributes);
        self.emit("Transpose", &[&normal], value, vec![ints("perm", &[0, 3, 1, 2])]);
    }

    /// x · (erf(x / √2) + 1) · ½
    pub(super) fn gelu(&mut self, operand: &str, value: &str) -> Result<(), OnnxError> {
        let root = self.scalar("gelu.root", std::f32::consts::SQRT_2)?;
        let (one, half) = (self.scalar("gelu.one", 1.0)?, self.scalar("gelu.half", 0.5)?);
        let scaled = self.step("Div", &[operand, &root], value, "scaled");
        let erf = self.step("Erf", &[&scaled], value, "erf");
        let sum = self.step("Add", &[&erf, &one], value, "sum");
        let product = self.step("Mul", &[operand, &sum], value, "product");
        self.emit("Mul", &[&product, &half], value, vec![]);
        Ok(())
    }

    pub(super) fn attention(
        &mut self,
        attention: Attention,
        id: NodeId,
        operands: &[&str],
        value: &str,
    ) -> Result<(), OnnxError> {
        let graph = self.graph;
        let node = graph.node(id);
        let shapes = [0, 1, 2].map(|at: usize| graph.node(node.inputs[at]).shape);
        let mut parts = vec![];
        for ((operand, shape), name) in operands.iter().zip(shapes).zip(["q", "k", "v"]) {
            let dims = [0, attention.heads, shape.channels() / attention.heads, shape.pixels()];
            parts.push(self.reshaped(operand, &dims, value, name));
        }
        let [q, k, v] = [0, 1, 2].map(|at: usize| parts[at].clone());
        // [batch, heads, pixels, channels of a head]
        let result = match attention.kind {
            AttentionKind::Softmax => {
                let factor = ((shapes[0].channels() / attention.heads) as f32).sqrt().recip();
                let factor = self.scalar(&format!("{value}.factor"), factor)?;
                let scaled = self.step("Mul", &[&q, &factor], value, "scaled");
                let [q, v] = [(scaled, "queries"), (v, "values")].map(|(of, name)| self.turned(&of, value, name));
                let scores = self.step("MatMul", &[&q, &k], value, "scores");
                let weights = self.taken.unique(&format!("{value}.weights"));
                self.emit("Softmax", &[&scores], &weights, vec![int("axis", -1)]);
                self.step("MatMul", &[&weights, &v], value, "looked")
            }
            AttentionKind::Linear => {
                let axes = self.taken.unique(&format!("{value}.axes"));
                self.initializers.push(integers(&axes, &[-1]));
                let epsilon = self.scalar("attention.epsilon", LINEAR_ATTENTION_EPS as f32)?;
                let [q, k] = [(q, "q.relu"), (k, "k.relu")].map(|(of, name)| self.step("Relu", &[&of], value, name));
                let [q, v] = [(q, "queries"), (v, "values")].map(|(of, name)| self.turned(&of, value, name));
                let state = self.step("MatMul", &[&k, &v], value, "state");
                let total = self.step("ReduceSum", &[&k, &axes], value, "total");
                let sums = self.step("MatMul", &[&q, &state], value, "sums");
                let norm = self.step("MatMul", &[&q, &total], value, "norm");
                let norm = self.step("Add", &[&norm, &epsilon], value, "norm.above");
                self.step("Div", &[&sums, &norm], value, "looked")
            }
        };
        let channels_first = self.turned(&result, value, "channels");
        let dims = [vec![0], node.shape.dims()].concat();
        let shape = self.shape_of(&dims, value, "map");
        self.emit("Reshape", &[&channels_first, &shape], value, vec![]);
        Ok(())
    }

    /// An operator on the way to `value`; gives the name of its own.
    fn step(&mut self, op_type: &str, operands: &[&str], value: &str, name: &str) -> String {
        let own = self.taken.unique(&format!("{value}.{name}"));
        self.emit(op_type, operands, &own, vec![]);
        own
    }

    /// The last two axes the other way round.
    fn turned(&mut self, operand: &str, value: &str, name: &str) -> String {
        let own = self.taken.unique(&format!("{value}.{name}"));
        self.emit("Transpose", &[operand], &own, vec![ints("perm", &[0, 1, 3, 2])]);
        own
    }

    fn reshaped(&mut self, operand: &str, dims: &[usize], value: &str, name: &str) -> String {
        let shape = self.shape_of(dims, value, name);
        self.step("Reshape", &[operand, &shape], value, name)
    }

    /// Dimensions as an initialiser; 0 is that of the operand.
    fn shape_of(&mut self, dims: &[usize], value: &str, name: &str) -> String {
        let shape = self.taken.unique(&format!("{value}.{name}.shape"));
        let dims: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
        self.initializers.push(integers(&shape, &dims));
        shape
    }
}
