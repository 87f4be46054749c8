//! tract: a pure Rust runtime, always there. One thread.

use super::{NamedTensor, Runtime, RuntimeError, RuntimeInfo, Session, SessionOptions, Values, inputs};
use crate::onnx::{decode, inspect_proto, operator_nodes};
use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::Cost;

/// Version of the tract that is built in; Cargo.toml asks for exactly this one.
const VERSION: &str = "0.23.9";

/// Names of the operators whose multiply-accumulates count.
const PRODUCTS: [&str; 3] = ["Conv", "Deconv", "EinSum"];

/// The runtime of [`RuntimeKind::Tract`](super::RuntimeKind::Tract).
#[derive(Clone, Copy, Debug)]
pub struct TractRuntime;

impl Runtime for TractRuntime {
    fn info(&self) -> RuntimeInfo {
        RuntimeInfo { name: "tract".into(), version: VERSION.into(), library: None }
    }

    fn check(&self, options: &SessionOptions) -> Result<(), RuntimeError> {
        usable(options).map_err(RuntimeError::Unavailable)
    }

    fn prepare(&self, model: &Path, options: &SessionOptions) -> Result<Box<dyn Session>, RuntimeError> {
        let failed = |reason: String| RuntimeError::Prepare { model: model.to_owned(), reason };
        usable(options).map_err(failed)?;
        let session = guarded(|| TractSession::new(model, options));
        Ok(Box::new(session.map_err(failed)?))
    }
}

fn usable(options: &SessionOptions) -> Result<(), String> {
    if let Some(provider) = &options.execution_provider {
        return Err(format!("tract has no execution providers, found `{}`: leave it out", provider.name));
    }
    match options.threads.filter(|&threads| threads != 1) {
        Some(threads) => Err(format!("tract runs on 1 thread, found `threads: {threads}`")),
        None => Ok(()),
    }
}

type Plan = Arc<TypedSimplePlan>;

struct TractSession {
    plan: Plan,
    specs: Vec<NamedTensor>,
    output_names: Vec<String>,
    bound: Option<Vec<Arc<Tensor>>>,
}

/// Multiply-accumulates of one run of any model, as tract counts them: those of convolutions and matrix products.
///
/// # Errors
/// If tract can't read the model, or a size is left open.
pub fn macs(model: &Path, options: &SessionOptions) -> Result<u64, RuntimeError> {
    let count = || {
        let typed = parse(model, options)?.model.into_typed().and_then(TypedModel::into_decluttered);
        let typed = typed.map_err(|error| reason(&error))?;
        let mut macs = 0;
        for id in typed.eval_order().map_err(|error| reason(&error))? {
            let node = typed.node(id);
            if !PRODUCTS.contains(&&*node.op.name()) {
                continue;
            }
            let facts = typed.node_input_facts(id).map_err(|error| reason(&error))?;
            for (cost, count) in node.op.cost(&facts).map_err(|error| reason(&error))? {
                if let Cost::FMA(_) = cost {
                    let count = count.to_i64().map_err(|_| format!("operator `{}` has an open size", node.name))?;
                    macs += u64::try_from(count).unwrap_or(0);
                }
            }
        }
        Ok(macs)
    };
    guarded(count).map_err(|reason| RuntimeError::Prepare { model: model.to_owned(), reason })
}

/// A model as tract reads it, with the sizes of its inputs.
struct Parsed {
    model: InferenceModel,
    specs: Vec<NamedTensor>,
    output_names: Vec<String>,
}

fn parse(path: &Path, options: &SessionOptions) -> Result<Parsed, String> {
    let mut proto = decode(path).map_err(|error| inputs::without_path(&error.to_string(), path))?;
    let info = inspect_proto(&proto, path).map_err(|error| error.to_string())?;
    let mut onnx = tract_onnx::onnx();
    // The dimensions of inner values are inferred anew: those in the file may hold symbols that are sizes now.
    onnx.ignore_value_info = true;
    refuse_unknown_operators(&onnx, &proto)?;
    proto.graph.iter_mut().for_each(split_half_gemms);
    let specs = inputs::resolve(&info.inputs, options)?;

    let folder = path.parent().and_then(Path::to_str);
    let parsed = onnx.parse(&proto, folder).map_err(|error| reason(&error))?;
    if let Some(name) = parsed.unresolved_inputs.first() {
        return Err(format!("value `{name}` is used and never made"));
    }
    let mut model = parsed.model;
    for spec in &specs {
        let outlet = parsed.outlets_by_name.get(&spec.name).ok_or_else(|| format!("input `{}` is lost", spec.name))?;
        let fact = InferenceFact::dt_shape(datum_type(&spec.values), spec.dims.as_slice());
        model.set_outlet_fact(*outlet, fact).map_err(|error| reason(&error))?;
    }
    Ok(Parsed { model, specs, output_names: info.outputs.into_iter().map(|output| output.name).collect() })
}

impl TractSession {
    fn new(path: &Path, options: &SessionOptions) -> Result<Self, String> {
        let Parsed { model, specs, output_names } = parse(path, options)?;
        let plan = model.into_optimized().and_then(IntoRunnable::into_runnable).map_err(|error| reason(&error))?;
        Ok(Self { plan, specs, output_names, bound: None })
    }

    fn compute(&self) -> Result<TVec<TValue>, RuntimeError> {
        let bound = self.bound.as_ref().ok_or_else(|| RuntimeError::Run("no inputs are bound".into()))?;
        let inputs = bound.iter().map(|tensor| TValue::from_const(Arc::clone(tensor))).collect();
        guarded(|| self.plan.run(inputs).map_err(|error| reason(&error))).map_err(RuntimeError::Run)
    }
}

impl Session for TractSession {
    fn inputs(&self) -> &[NamedTensor] {
        &self.specs
    }

    fn bind(&mut self, inputs: Vec<NamedTensor>) -> Result<(), RuntimeError> {
        let tensor = |input: NamedTensor| {
            let tensor = to_tract(&input).map_err(|reason| RuntimeError::Input { name: input.name, reason })?;
            Ok(Arc::new(tensor))
        };
        let inputs = inputs::check(&self.specs, inputs)?;
        self.bound = Some(inputs.into_iter().map(tensor).collect::<Result<_, RuntimeError>>()?);
        Ok(())
    }

    fn run(&mut self) -> Result<(), RuntimeError> {
        self.compute().map(|_| ())
    }

    fn outputs(&mut self) -> Result<Vec<NamedTensor>, RuntimeError> {
        let outputs = self.compute()?;
        let named = self.output_names.iter().zip(&outputs);
        named.map(|(name, value)| from_tract(name, value).map_err(RuntimeError::Run)).collect()
    }
}

/// tract leaves operators that it doesn't know to fail later, without their names.
fn refuse_unknown_operators(onnx: &tract_onnx::Onnx, proto: &tract_onnx::pb::ModelProto) -> Result<(), String> {
    let nodes = proto.graph.as_ref().map(operator_nodes).unwrap_or_default();
    let mut unknown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in nodes.into_iter().filter(|node| !onnx.op_register.0.contains_key(&node.op_type)) {
        let domain = if node.domain.is_empty() { String::new() } else { format!("{}.", node.domain) };
        unknown.entry(format!("{domain}{}", node.op_type)).or_default().push(node.name);
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let describe = |(operator, nodes): (String, Vec<String>)| match nodes.as_slice() {
        [only] => format!("{operator} (node `{only}`)"),
        [first, ..] => format!("{operator} ({} nodes, the first is `{first}`)", nodes.len()),
        [] => operator,
    };
    let all: Vec<String> = unknown.into_iter().map(describe).collect();
    Err(format!("tract can't run the operators {}", all.join(", ")))
}

/// Says the sum of a half-precision `Gemm` as an `Add` of its own: tract multiplies the third operand by a 32-bit `beta`,
/// and finds that the types differ.
fn split_half_gemms(graph: &mut GraphProto) {
    let is_half = |tensor: &&TensorProto| tensor.data_type == DataType::Float16 as i32;
    let halves: HashSet<String> = graph.initializer.iter().filter(is_half).map(|tensor| tensor.name.clone()).collect();
    let mut nodes = Vec::with_capacity(graph.node.len());
    for mut node in std::mem::take(&mut graph.node) {
        let beta = node.attribute.iter().find(|attribute| attribute.name == "beta").map_or(1.0, |beta| beta.f);
        let is_sum = node.op_type == "Gemm" && beta == 1.0 && node.input.len() == 3 && node.output.len() == 1;
        if !is_sum || !halves.contains(&node.input[2]) {
            nodes.push(node);
            continue;
        }
        let sum = node.output[0].clone();
        let product = format!("{sum}.product");
        let operands = vec![product.clone(), node.input.remove(2)];
        node.output[0] = product;
        let add = NodeProto { op_type: "Add".into(), name: format!("{}.sum", node.name), ..NodeProto::default() };
        nodes.extend([node, NodeProto { input: operands, output: vec![sum], ..add }]);
    }
    graph.node = nodes;
}

/// Runs `work` and turns a panic into an error.
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("tract panicked: {}", text.unwrap_or("without a message")))
    })
}

/// The causes in one line, from the innermost node that could not be run.
fn reason(error: &TractError) -> String {
    let causes: Vec<String> = error.chain().map(|cause| cause.to_string().replace('\n', " ")).collect();
    summary(&causes)
}

fn summary(causes: &[String]) -> String {
    let from = causes.iter().rposition(|cause| cause.contains(" node #")).unwrap_or(0);
    let told = causes[from..].iter().filter(|cause| *cause != "Infering facts");
    let told: Vec<String> = told.map(|cause| node_of(cause).unwrap_or_else(|| cause.clone())).collect();
    format!("tract: {}", told.join(": "))
}

/// Says `Failed analyse for node #1 "name" Operator` in our words.
fn node_of(cause: &str) -> Option<String> {
    let (_, named) = cause.split_once(" node #")?;
    let mut parts = named.split('"').skip(1);
    let (name, operator) = (parts.next()?, parts.next()?.split_whitespace().next()?);
    Some(format!("can't run operator {operator} of node `{name}`"))
}

fn datum_type(values: &Values) -> DatumType {
    match values {
        Values::F32(_) => f32::datum_type(),
        Values::F16(_) => half::f16::datum_type(),
        Values::F64(_) => f64::datum_type(),
        Values::I64(_) => i64::datum_type(),
        Values::I32(_) => i32::datum_type(),
        Values::U8(_) => u8::datum_type(),
        Values::I8(_) => i8::datum_type(),
        Values::Bool(_) => bool::datum_type(),
    }
}

fn to_tract(input: &NamedTensor) -> Result<Tensor, String> {
    let dims = input.dims.as_slice();
    let tensor = match &input.values {
        Values::F32(values) => Tensor::from_shape(dims, values),
        Values::F16(values) => Tensor::from_shape(dims, values),
        Values::F64(values) => Tensor::from_shape(dims, values),
        Values::I64(values) => Tensor::from_shape(dims, values),
        Values::I32(values) => Tensor::from_shape(dims, values),
        Values::U8(values) => Tensor::from_shape(dims, values),
        Values::I8(values) => Tensor::from_shape(dims, values),
        Values::Bool(values) => Tensor::from_shape(dims, values),
    };
    tensor.map_err(|error| reason(&error))
}

fn from_tract(name: &str, value: &Tensor) -> Result<NamedTensor, String> {
    fn elements<T: Datum + Copy>(value: &Tensor) -> Result<Vec<T>, String> {
        let view = value.to_plain_array_view::<T>().map_err(|error| reason(&error))?;
        Ok(view.iter().copied().collect())
    }
    // Sizes are symbolic integers in tract; ONNX knows 64-bit ones.
    let cast = if value.datum_type() == TDim::datum_type() {
        value.cast_to::<i64>().map_err(|error| reason(&error))?
    } else {
        std::borrow::Cow::Borrowed(value)
    };
    let value = cast.as_ref();
    let values = match value.datum_type() {
        DatumType::F32 => Values::F32(elements(value)?),
        DatumType::F16 => Values::F16(elements(value)?),
        DatumType::F64 => Values::F64(elements(value)?),
        DatumType::I64 => Values::I64(elements(value)?),
        DatumType::I32 => Values::I32(elements(value)?),
        DatumType::U8 => Values::U8(elements(value)?),
        DatumType::I8 => Values::I8(elements(value)?),
        DatumType::Bool => Values::Bool(elements(value)?),
        other => return Err(format!("output `{name}` has elements of type {other:?}, which can't be read")),
    };
    Ok(NamedTensor { name: name.to_owned(), dims: value.shape().to_vec(), values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(causes: &[&str], expected: &str) {
        let causes: Vec<String> = causes.iter().map(|cause| (*cause).to_owned()).collect();
        assert_eq!(summary(&causes), expected);
    }

    #[test]
    fn the_innermost_node_is_named() {
        let outer = "Failed analyse for node #5 \"If_0\" If";
        let inner = "Failed analyse for node #1 \"decoder/Squeeze\" Squeeze13 ToTypedTranslator";
        let causes = [outer, "Infering facts", inner, "Infering facts", "not one"];
        check(&causes, "tract: can't run operator Squeeze13 of node `decoder/Squeeze`: not one");
        check(&["odd", "because"], "tract: odd: because");
    }

    #[test]
    fn a_panic_is_an_error() {
        let result: Result<(), String> = guarded(|| panic!("at {}", 3));
        assert_eq!(result.unwrap_err(), "tract panicked: at 3");
    }
}
