//! ONNX Runtime's execution providers: by name, without silent fallback, and which nodes each one got.

pub(super) mod options;
mod typed;

use super::ExecutionProvider;
use crate::yaml::closest;
use ort::AsPointer;
use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch};
use ort::session::{Session, builder::SessionBuilder};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::fmt;
use std::ptr;

/// A provider: Tegu's name, ONNX Runtime's, and where a library that has it comes from.
pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) ort_name: &'static str,
    source: Source,
}

/// Where a library that has a provider comes from.
#[derive(Clone, Copy)]
enum Source {
    /// This PyPI package.
    Package(&'static str),
    /// Where these words say.
    Elsewhere(&'static str),
}

use Source::{Elsewhere, Package};

const fn known(name: &'static str, ort_name: &'static str, source: Source) -> Known {
    Known { name, ort_name, source }
}

/// All providers that can be asked for by name.
pub(super) const KNOWN: &[Known] = &[
    known("cpu", "CPUExecutionProvider", Package("onnxruntime")),
    known("openvino", "OpenVINOExecutionProvider", Package("onnxruntime-openvino")),
    known("cuda", "CUDAExecutionProvider", Package("onnxruntime-gpu")),
    known("tensorrt", "TensorrtExecutionProvider", Package("onnxruntime-gpu")),
    known("xnnpack", "XnnpackExecutionProvider", Elsewhere("the libraries for Android and iOS have it")),
    known("webgpu", "WebGpuExecutionProvider", Elsewhere("the library in npm's onnxruntime-node has it")),
    known("coreml", "CoreMLExecutionProvider", Elsewhere("the libraries for macOS and iOS have it")),
    known("directml", "DmlExecutionProvider", Elsewhere("PyPI's onnxruntime-directml has it, for Windows")),
    known("qnn", "QNNExecutionProvider", Elsewhere("builds for Qualcomm's chips have it (Android, Windows on ARM)")),
    known("nnapi", "NnapiExecutionProvider", Elsewhere("the library for Android has it")),
    known("migraphx", "MIGraphXExecutionProvider", Elsewhere("AMD's builds for ROCm have it")),
    known("rocm", "ROCMExecutionProvider", Elsewhere("builds for ROCm before version 1.23 have it")),
    known("onednn", "DnnlExecutionProvider", Elsewhere("a build of one's own with --use_dnnl has it")),
    known("vitisai", "VitisAIExecutionProvider", Elsewhere("AMD's Ryzen AI software has it")),
    known("acl", "ACLExecutionProvider", Elsewhere("a build of one's own with --use_acl has it, for ARM")),
    known("cann", "CANNExecutionProvider", Elsewhere("a build of one's own with --use_cann has it, for Ascend")),
];

impl Known {
    /// How to get a library that has it.
    pub(super) fn hint(&self) -> String {
        match self.source {
            Package(package) => format!("`tegu runtime install {package}` gets one that has it"),
            Elsewhere(words) => words.to_owned(),
        }
    }
}

/// The package whose library has the provider of this name, where it is known.
pub(super) fn package_of(name: &str) -> Option<&'static str> {
    match KNOWN.iter().find(|known| known.name == name)?.source {
        Package(package) => Some(package),
        Elsewhere(_) => None,
    }
}

/// Whether a profile may ask for it.
pub(super) fn is_known(name: &str) -> bool {
    name == MOCK || KNOWN.iter().any(|known| known.name == name)
}

/// The mock runtime's provider, whose options are instructions.
const MOCK: &str = "mock";

/// That there is no provider of this name, in serde's wording.
pub(super) fn unknown(name: &str) -> String {
    let all: Vec<String> = KNOWN.iter().map(|known| format!("`{}`", known.name)).collect();
    format!("unknown execution provider `{name}`, expected one of {}", all.join(", "))
}

/// The provider of this name.
pub(super) fn lookup(name: &str) -> Result<&'static Known, String> {
    KNOWN.iter().find(|known| known.name == name).ok_or_else(|| {
        let names = || KNOWN.iter().map(|known| known.name);
        let meant = closest(name, names()).map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
        let all: Vec<&str> = names().collect();
        format!("no execution provider `{name}`: there are {}{meant}", all.join(", "))
    })
}

/// Adds `provider` to a session; it is an error if it can't be had.
///
/// The CPU provider is always there and needs no registration (ort's would switch its memory arena off).
pub(super) fn register(
    builder: SessionBuilder,
    provider: &ExecutionProvider,
    threads: Option<usize>,
) -> Result<SessionBuilder, String> {
    let known = lookup(&provider.name)?;
    options::check(known.name, &provider.options)?;
    if known.name == "cpu" {
        return Ok(builder);
    }
    let present = available()?;
    if !present.iter().any(|name| name == known.ort_name) {
        return Err(format!(
            "this ONNX Runtime has no execution provider `{}`, only {}; {}",
            known.name,
            present.join(", "),
            known.hint()
        ));
    }
    let mut options = options::spelt(known.name, &provider.options);
    // These two have threads of their own, beside the session's.
    if let (Some(threads), Some(key)) = (threads, thread_option(known.name)) {
        options.entry(key.into()).or_insert_with(|| threads.to_string());
    }
    let dispatch = dispatch(known, &options).error_on_failure();
    builder
        .with_execution_providers([dispatch])
        .map_err(|error| format!("execution provider `{}` can't be used: {error}", known.name))
}

fn thread_option(name: &str) -> Option<&'static str> {
    match name {
        "openvino" => Some("num_of_threads"),
        "xnnpack" => Some("intra_op_num_threads"),
        _ => None,
    }
}

/// The provider with its options, which were checked.
fn dispatch(known: &Known, options: &BTreeMap<String, String>) -> ExecutionProviderDispatch {
    match known.name {
        "openvino" => configured(ep::OpenVINO::default(), options).build(),
        "cuda" => configured(ep::CUDA::default(), options).build(),
        "tensorrt" => configured(ep::TensorRT::default(), options).build(),
        "xnnpack" => configured(ep::XNNPACK::default(), options).build(),
        "webgpu" => configured(ep::WebGPU::default(), options).build(),
        "coreml" => configured(ep::CoreML::default(), options).build(),
        "qnn" => configured(ep::QNN::default(), options).build(),
        "rocm" => configured(ep::ROCm::default(), options).build(),
        "onednn" => configured(ep::OneDNN::default(), options).build(),
        "vitisai" => configured(ep::Vitis::default(), options).build(),
        "cann" => configured(ep::CANN::default(), options).build(),
        "directml" => typed::directml(options).build(),
        "nnapi" => typed::nnapi(options).build(),
        "migraphx" => typed::migraphx(options).build(),
        "acl" => typed::acl(options).build(),
        _ => unreachable!("`cpu` needs no registration, and there are no others"),
    }
}

fn configured<P: ArbitrarilyConfigurableExecutionProvider>(provider: P, options: &BTreeMap<String, String>) -> P {
    options.iter().fold(provider, |provider, (key, value)| provider.with_arbitrary_config(key, value))
}

/// ONNX Runtime's names of the providers that the loaded library has. A library must be loaded.
pub(super) fn available() -> Result<Vec<String>, String> {
    let (mut names, mut count) = (ptr::null_mut(), 0);
    // SAFETY: both out-pointers are valid for the call.
    succeeded(unsafe { (ort::api().GetAvailableProviders)(&mut names, &mut count) })?;
    // SAFETY: the call succeeded, so `names` holds `count` zero-terminated strings until they are released.
    let all = (0..count.max(0) as usize).map(|at| unsafe { text(*names.add(at)) }).collect();
    // SAFETY: `names` came from the call above and is not used any more.
    succeeded(unsafe { (ort::api().ReleaseAvailableProviders)(names, count) })?;
    Ok(all)
}

/// A node as a provider got it.
pub(super) struct AssignedNode {
    pub(super) op_type: String,
    pub(super) name: String,
}

impl AssignedNode {
    fn name_or_none(&self) -> &str {
        if self.name.is_empty() { "(no name)" } else { &self.name }
    }
}

impl fmt::Display for AssignedNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name_or_none(), self.op_type)
    }
}

/// Which nodes each provider got, by ONNX Runtime's name of the provider. The session must have been made with
/// [`RECORD_ASSIGNMENT`].
pub(super) fn assignment(session: &Session) -> Result<BTreeMap<String, Vec<AssignedNode>>, String> {
    let api = ort::api();
    let mut all: BTreeMap<String, Vec<AssignedNode>> = BTreeMap::new();
    let (mut subgraphs, mut count) = (ptr::null(), 0);
    // SAFETY: the session is alive and owns all that the calls below give; the out-pointers are valid; arrays
    // are read within the length that came with them, after the call succeeded.
    unsafe {
        succeeded((api.Session_GetEpGraphAssignmentInfo)(session.ptr(), &mut subgraphs, &mut count))?;
        for at in 0..count {
            let subgraph = *subgraphs.add(at);
            let mut provider = ptr::null();
            succeeded((api.EpAssignedSubgraph_GetEpName)(subgraph, &mut provider))?;
            let (mut nodes, mut node_count) = (ptr::null(), 0);
            succeeded((api.EpAssignedSubgraph_GetNodes)(subgraph, &mut nodes, &mut node_count))?;
            let assigned = all.entry(text(provider)).or_default();
            for node_at in 0..node_count {
                let node = *nodes.add(node_at);
                let (mut op_type, mut name) = (ptr::null(), ptr::null());
                succeeded((api.EpAssignedNode_GetOperatorType)(node, &mut op_type))?;
                succeeded((api.EpAssignedNode_GetName)(node, &mut name))?;
                assigned.push(AssignedNode { op_type: text(op_type), name: text(name) });
            }
        }
    }
    Ok(all)
}

/// Key of the session's configuration that has the assignment recorded.
pub(super) const RECORD_ASSIGNMENT: &str = "session.record_ep_graph_assignment_info";

/// The nodes that other providers than `wanted` run.
pub(super) fn fallen_back<'a>(
    wanted: &Known,
    assignment: &'a BTreeMap<String, Vec<AssignedNode>>,
) -> Vec<&'a AssignedNode> {
    assignment.iter().filter(|(provider, _)| *provider != wanted.ort_name).flat_map(|(_, nodes)| nodes).collect()
}

/// How many nodes each provider runs, by ONNX Runtime's name of it; `in_file` is how many the model has before anything is
/// fused.
///
/// A provider that runs node by node in a layout of its own (NHWC) gets its nodes before the layout is changed, and ONNX
/// Runtime (1.24 to 1.31, seen with WebGPU) records few or none of them; those of others are all there. So what is left of the
/// file's is taken to be its own.
pub(super) fn counts(
    asked: &ExecutionProvider,
    wanted: &Known,
    assignment: &BTreeMap<String, Vec<AssignedNode>>,
    in_file: usize,
) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<String, usize> =
        assignment.iter().map(|(provider, nodes)| (provider.clone(), nodes.len())).collect();
    let option = |key: &str| asked.options.get(key).map(String::as_str);
    let in_own_layout = match wanted.name {
        "webgpu" => option("preferredLayout") != Some("NCHW"),
        "cuda" => option("prefer_nhwc").and_then(options::flag) == Some(true),
        "xnnpack" => true,
        _ => false,
    };
    if in_own_layout {
        let left = in_file.saturating_sub(fallen_back(wanted, assignment).len());
        let own = counts.entry(wanted.ort_name.to_owned()).or_default();
        *own = left.max(*own);
    }
    counts
}

/// What is wrong if other providers than `wanted` run nodes, of which there are `total`.
pub(super) fn refuse_fallback(
    wanted: &Known,
    assignment: &BTreeMap<String, Vec<AssignedNode>>,
    total: usize,
) -> Result<(), String> {
    let fallen = fallen_back(wanted, assignment);
    let Some(first) = fallen.first() else { return Ok(()) };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    fallen.iter().for_each(|node| *counts.entry(node.op_type.as_str()).or_default() += 1);
    let operators: Vec<String> = counts.iter().map(|(operator, count)| format!("{operator} ({count})")).collect();
    Err(format!(
        "execution provider `{}` does not run {} of {total} nodes, which would fall back to the CPU: {}; the first is `{}`",
        wanted.name,
        fallen.len(),
        operators.join(", "),
        first.name_or_none()
    ))
}

fn succeeded(status: ort::sys::OrtStatusPtr) -> Result<(), String> {
    // SAFETY: the status comes from a call of ONNX Runtime's interface and is given away here.
    unsafe { ort::Error::result_from_status(status) }.map_err(|error| error.to_string())
}

/// # Safety
/// `pointer` is null or a zero-terminated string.
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: not null, so a zero-terminated string by the contract.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_provider_is_named_with_what_was_meant() {
        let error = lookup("opnvino").map(|_| ()).unwrap_err();
        assert!(error.starts_with("no execution provider `opnvino`: there are cpu, openvino,"), "{error}");
        assert!(error.ends_with("did you mean `openvino`?"), "{error}");
    }

    #[test]
    fn nodes_that_fall_back_are_named() {
        let node = |op_type: &str, name: &str| AssignedNode { op_type: op_type.into(), name: name.into() };
        let cuda = lookup("cuda").unwrap();
        let mut assignment = BTreeMap::from([("CUDAExecutionProvider".to_owned(), vec![node("Conv", "a")])]);
        assert_eq!(refuse_fallback(cuda, &assignment, 1), Ok(()));
        assignment.insert("CPUExecutionProvider".into(), vec![node("NonZero", "b"), node("NonZero", "c")]);
        let expected = "execution provider `cuda` does not run 2 of 3 nodes, which would fall back to the CPU: \
                        NonZero (2); the first is `b`";
        assert_eq!(refuse_fallback(cuda, &assignment, 3).unwrap_err(), expected);
        let named: Vec<String> = fallen_back(cuda, &assignment).iter().map(ToString::to_string).collect();
        assert_eq!(named, ["b (NonZero)", "c (NonZero)"]);
        let counts = |option: &[(&str, &str)]| {
            let options = option.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let asked = ExecutionProvider { name: "cuda".into(), options, allow_fallback: true };
            let counts = counts(&asked, cuda, &assignment, 9);
            (counts["CUDAExecutionProvider"], counts["CPUExecutionProvider"])
        };
        assert_eq!((counts(&[]), counts(&[("prefer_nhwc", "true")])), ((1, 2), (7, 2)));
    }
}
