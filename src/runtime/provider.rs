//! ONNX Runtime's execution providers: by name, without silent fallback, and which nodes each one got.

use super::ExecutionProvider;
use crate::yaml::closest;
use ort::AsPointer;
use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider};
use ort::session::{Session, builder::SessionBuilder};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::fmt;
use std::ptr;

/// A provider: Tegu's name, ONNX Runtime's, and the PyPI package whose library has it.
pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) ort_name: &'static str,
    pub(super) package: Option<&'static str>,
}

const fn known(name: &'static str, ort_name: &'static str, package: Option<&'static str>) -> Known {
    Known { name, ort_name, package }
}

/// All providers that can be asked for by name.
pub(super) const KNOWN: &[Known] = &[
    known("cpu", "CPUExecutionProvider", Some("onnxruntime")),
    known("openvino", "OpenVINOExecutionProvider", Some("onnxruntime-openvino")),
    known("cuda", "CUDAExecutionProvider", Some("onnxruntime-gpu")),
    known("tensorrt", "TensorrtExecutionProvider", Some("onnxruntime-gpu")),
    known("xnnpack", "XnnpackExecutionProvider", None),
    known("webgpu", "WebGpuExecutionProvider", None),
    known("coreml", "CoreMLExecutionProvider", None),
    known("directml", "DmlExecutionProvider", None),
    known("qnn", "QNNExecutionProvider", None),
    known("nnapi", "NnapiExecutionProvider", None),
    known("migraphx", "MIGraphXExecutionProvider", None),
    known("rocm", "ROCMExecutionProvider", None),
    known("onednn", "DnnlExecutionProvider", None),
    known("vitisai", "VitisAIExecutionProvider", None),
    known("acl", "ACLExecutionProvider", None),
    known("cann", "CANNExecutionProvider", None),
];

/// The package whose library has the provider of this name, where it is known.
pub(super) fn package_of(name: &str) -> Option<&'static str> {
    KNOWN.iter().find(|known| known.name == name)?.package
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
    if known.name == "cpu" {
        return match provider.options.keys().next() {
            Some(key) => Err(format!("execution provider `cpu` has no option `{key}`")),
            None => Ok(builder),
        };
    }
    let present = available()?;
    if !present.iter().any(|name| name == known.ort_name) {
        let get = known.package.map(|package| format!("; `tegu runtime install {package}` gets one that has it"));
        return Err(format!(
            "this ONNX Runtime has no execution provider `{}`, only {}{}",
            known.name,
            present.join(", "),
            get.unwrap_or_default()
        ));
    }
    let mut options = provider.options.clone();
    // These two have threads of their own, beside the session's.
    if let (Some(threads), Some(key)) = (threads, thread_option(known.name)) {
        options.entry(key.into()).or_insert_with(|| threads.to_string());
    }
    append(builder, known, &options)
        .map_err(|error| format!("execution provider `{}` can't be used: {error}", known.name))
}

fn thread_option(name: &str) -> Option<&'static str> {
    match name {
        "openvino" => Some("num_of_threads"),
        "xnnpack" => Some("intra_op_num_threads"),
        _ => None,
    }
}

fn append(
    mut builder: SessionBuilder,
    known: &Known,
    options: &BTreeMap<String, String>,
) -> Result<SessionBuilder, String> {
    let text = |text: &str| CString::new(text).map_err(|_| format!("option `{text}` holds a zero byte"));
    let keys = options.keys().map(|key| text(key)).collect::<Result<Vec<_>, _>>()?;
    let values = options.values().map(|value| text(value)).collect::<Result<Vec<_>, _>>()?;
    let dispatch = match known.name {
        // Two with an interface of their own.
        "cuda" => configured(ep::CUDA::default(), options).build(),
        "tensorrt" => configured(ep::TensorRT::default(), options).build(),
        _ => {
            let name = CString::new(known.ort_name).expect("names of providers hold no zero byte");
            let key_pointers: Vec<*const c_char> = keys.iter().map(|key| key.as_ptr()).collect();
            let value_pointers: Vec<*const c_char> = values.iter().map(|value| value.as_ptr()).collect();
            // SAFETY: the builder is alive, the strings are zero-terminated and outlive the call, which copies
            // them; both arrays have the given length.
            let status = unsafe {
                (ort::api().SessionOptionsAppendExecutionProvider)(
                    builder.ptr_mut(),
                    name.as_ptr(),
                    key_pointers.as_ptr(),
                    value_pointers.as_ptr(),
                    key_pointers.len(),
                )
            };
            succeeded(status)?;
            return Ok(builder);
        }
    };
    builder.with_execution_providers([dispatch.error_on_failure()]).map_err(|error| error.to_string())
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

impl fmt::Display for AssignedNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.op_type)
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

/// What is wrong if other providers than `wanted` run nodes.
pub(super) fn refuse_fallback(wanted: &Known, assignment: &BTreeMap<String, Vec<AssignedNode>>) -> Result<(), String> {
    let total: usize = assignment.values().map(Vec::len).sum();
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
        first.name
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
        assert_eq!(refuse_fallback(cuda, &assignment), Ok(()));
        assignment.insert("CPUExecutionProvider".into(), vec![node("NonZero", "b"), node("NonZero", "c")]);
        let expected = "execution provider `cuda` does not run 2 of 3 nodes, which would fall back to the CPU: \
                        NonZero (2); the first is `b`";
        assert_eq!(refuse_fallback(cuda, &assignment).unwrap_err(), expected);
        let named: Vec<String> = fallen_back(cuda, &assignment).iter().map(ToString::to_string).collect();
        assert_eq!(named, ["b (NonZero)", "c (NonZero)"]);
    }
}
