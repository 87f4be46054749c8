//! The options of each execution provider, as data: names, types, allowed values. A misspelt option that reaches ONNX
//! Runtime is ignored by some providers and refused without a hint by others; here it is an error that says what was meant.
//!
//! Names are ONNX Runtime's own (<https://onnxruntime.ai/docs/execution-providers/>, and `ort`'s builders); NNAPI, ACL and
//! DirectML have flags in their place, whose names are those of `ort`'s builders.

use crate::yaml::closest;
use std::collections::BTreeMap;

/// What an option may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::runtime) enum Kind {
    /// `true` or `false` (or 1, 0).
    Flag,
    /// An integer, at least this one.
    Integer(i64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A word that begins so.
    Begins(&'static [&'static str]),
    /// Anything: a path, a list of names.
    Text,
}

use Kind::{Begins, Flag, Integer, OneOf, Text};

type Table = &'static [(&'static str, Kind)];

const ARENA: Kind = OneOf(&["kNextPowerOfTwo", "kSameAsRequested"]);

const OPENVINO: Table = &[
    ("device_type", Begins(&["CPU", "GPU", "NPU", "AUTO", "HETERO:", "MULTI:", "BATCH:"])),
    ("precision", OneOf(&["FP32", "FP16", "ACCURACY"])),
    ("num_of_threads", Integer(1)),
    ("num_streams", Integer(1)),
    ("cache_dir", Text),
    ("load_config", Text),
    ("context", Text),
    ("layout", Text),
    ("reshape_input", Text),
    ("device_luid", Text),
    ("model_priority", OneOf(&["LOW", "MEDIUM", "HIGH", "DEFAULT"])),
    ("enable_opencl_throttling", Flag),
    ("enable_qdq_optimizer", Flag),
    ("enable_causallm", Flag),
    ("disable_dynamic_shapes", Flag),
];

const CUDA: Table = &[
    ("device_id", Integer(0)),
    ("gpu_mem_limit", Integer(1)),
    ("arena_extend_strategy", ARENA),
    ("cudnn_conv_algo_search", OneOf(&["EXHAUSTIVE", "HEURISTIC", "DEFAULT"])),
    ("cudnn_conv_use_max_workspace", Flag),
    ("cudnn_conv1d_pad_to_nc1d", Flag),
    ("do_copy_in_default_stream", Flag),
    ("use_ep_level_unified_stream", Flag),
    ("enable_cuda_graph", Flag),
    ("enable_skip_layer_norm_strict_mode", Flag),
    ("use_tf32", Flag),
    ("prefer_nhwc", Flag),
    ("fuse_conv_bias", Flag),
    ("sdpa_kernel", Integer(0)),
    ("tunable_op_enable", Flag),
    ("tunable_op_tuning_enable", Flag),
    ("tunable_op_max_tuning_duration_ms", Integer(0)),
];

const TENSORRT: Table = &[
    ("device_id", Integer(0)),
    ("trt_max_workspace_size", Integer(0)),
    ("trt_min_subgraph_size", Integer(1)),
    ("trt_max_partition_iterations", Integer(1)),
    ("trt_fp16_enable", Flag),
    ("trt_bf16_enable", Flag),
    ("trt_int8_enable", Flag),
    ("trt_dla_enable", Flag),
    ("trt_dla_core", Integer(0)),
    ("trt_int8_calibration_table_name", Text),
    ("trt_int8_use_native_calibration_table", Flag),
    ("trt_engine_cache_enable", Flag),
    ("trt_engine_cache_path", Text),
    ("trt_engine_cache_prefix", Text),
    ("trt_dump_subgraphs", Flag),
    ("trt_weight_stripped_engine_enable", Flag),
    ("trt_onnx_model_folder_path", Text),
    ("trt_engine_decryption_enable", Flag),
    ("trt_engine_decryption_lib_path", Text),
    ("trt_force_sequential_engine_build", Flag),
    ("trt_context_memory_sharing_enable", Flag),
    ("trt_layer_norm_fp32_fallback", Flag),
    ("trt_timing_cache_enable", Flag),
    ("trt_timing_cache_path", Text),
    ("trt_force_timing_cache", Flag),
    ("trt_detailed_build_log", Flag),
    ("trt_build_heuristics_enable", Flag),
    ("trt_sparsity_enable", Flag),
    ("trt_builder_optimization_level", Integer(0)),
    ("trt_auxiliary_streams", Integer(-1)),
    ("trt_tactic_sources", Text),
    ("trt_extra_plugin_lib_paths", Text),
    ("trt_profile_min_shapes", Text),
    ("trt_profile_max_shapes", Text),
    ("trt_profile_opt_shapes", Text),
    ("trt_cuda_graph_enable", Flag),
    ("trt_dump_ep_context_model", Flag),
    ("trt_ep_context_file_path", Text),
    ("trt_ep_context_embed_mode", OneOf(&["0", "1"])),
    ("trt_engine_hw_compatible", Flag),
];

const XNNPACK: Table = &[("intra_op_num_threads", Integer(1))];

const BUFFER_CACHE: Kind = OneOf(&["disabled", "lazyRelease", "simple", "bucket"]);

const WEBGPU: Table = &[
    ("preferredLayout", OneOf(&["NCHW", "NHWC"])),
    ("enableGraphCapture", Flag),
    ("enablePIXCapture", Flag),
    ("dawnProcTable", Text),
    ("dawnBackendType", OneOf(&["Vulkan", "D3D12"])),
    ("powerPreference", OneOf(&["high-performance", "low-power"])),
    ("deviceId", Integer(0)),
    ("storageBufferCacheMode", BUFFER_CACHE),
    ("uniformBufferCacheMode", BUFFER_CACHE),
    ("queryResolveBufferCacheMode", BUFFER_CACHE),
    ("defaultBufferCacheMode", BUFFER_CACHE),
    ("validationMode", OneOf(&["disabled", "wgpuOnly", "basic", "full"])),
    ("forceCpuNodeNames", Text),
];

const COREML: Table = &[
    ("ModelFormat", OneOf(&["MLProgram", "NeuralNetwork"])),
    ("MLComputeUnits", OneOf(&["ALL", "CPUAndNeuralEngine", "CPUAndGPU", "CPUOnly"])),
    ("RequireStaticInputShapes", Flag),
    ("EnableOnSubgraphs", Flag),
    ("SpecializationStrategy", OneOf(&["Default", "FastPrediction"])),
    ("ProfileComputePlan", Flag),
    ("AllowLowPrecisionAccumulationOnGPU", Flag),
    ("ModelCacheDirectory", Text),
];

const DIRECTML: Table = &[
    ("device_id", Integer(0)),
    ("performance_preference", OneOf(&["default", "high_performance", "minimum_power"])),
    ("device_filter", OneOf(&["gpu", "npu", "any"])),
];

const QNN_PERFORMANCE: &[&str] = &[
    "default",
    "burst",
    "balanced",
    "high_performance",
    "high_power_saver",
    "low_power_saver",
    "low_balanced",
    "power_saver",
    "extreme_power_saver",
    "sustained_high_performance",
];

const QNN: Table = &[
    ("backend_type", OneOf(&["htp", "cpu", "gpu", "saver", "ir"])),
    ("backend_path", Text),
    ("profiling_level", OneOf(&["off", "basic", "detailed", "optrace"])),
    ("profiling_file_path", Text),
    ("rpc_control_latency", Integer(0)),
    ("vtcm_mb", Integer(1)),
    ("htp_performance_mode", OneOf(QNN_PERFORMANCE)),
    ("htp_graph_finalization_optimization_mode", OneOf(&["0", "1", "2", "3"])),
    ("htp_arch", Integer(0)),
    ("soc_model", Text),
    ("device_id", Integer(0)),
    ("qnn_saver_path", Text),
    ("qnn_context_priority", OneOf(&["low", "normal", "normal_high", "high"])),
    ("enable_htp_fp16_precision", Flag),
    ("enable_htp_weight_sharing", Flag),
    ("enable_htp_spill_fill_buffer", Flag),
    ("enable_htp_shared_memory_allocator", Flag),
    ("offload_graph_io_quantization", Flag),
    ("dump_json_qnn_graph", Flag),
    ("json_qnn_graph_dir", Text),
];

const NNAPI: Table = &[("use_fp16", Flag), ("use_nchw", Flag), ("disable_cpu", Flag), ("cpu_only", Flag)];

const MIGRAPHX: Table = &[
    ("device_id", Integer(0)),
    ("migraphx_fp16_enable", Flag),
    ("migraphx_fp8_enable", Flag),
    ("migraphx_int8_enable", Flag),
    ("migraphx_use_native_calibration_table", Flag),
    ("migraphx_int8_calibration_table_name", Text),
    ("migraphx_save_model_path", Text),
    ("migraphx_load_model_path", Text),
    ("migraphx_exhaustive_tune", Flag),
    ("migraphx_mem_limit", Integer(1)),
    ("migraphx_arena_extend_strategy", ARENA),
];

const ROCM: Table = &[
    ("device_id", Integer(0)),
    ("gpu_mem_limit", Integer(1)),
    ("arena_extend_strategy", ARENA),
    ("miopen_conv_exhaustive_search", Flag),
    ("miopen_conv_use_max_workspace", Flag),
    ("do_copy_in_default_stream", Flag),
    ("enable_hip_graph", Flag),
    ("tunable_op_enable", Flag),
    ("tunable_op_tuning_enable", Flag),
    ("tunable_op_max_tuning_duration_ms", Integer(0)),
];

const ONEDNN: Table = &[("use_arena", Flag)];

const VITISAI: Table = &[
    ("config_file", Text),
    ("cache_dir", Text),
    ("cache_key", Text),
    ("enable_cache_file_io_in_mem", Flag),
    ("xclbin", Text),
    ("opt_level", OneOf(&["0", "1", "2", "3", "65536"])),
    ("target", OneOf(&["X1", "X2"])),
];

const ACL: Table = &[("fast_math", Flag)];

const CANN: Table = &[
    ("device_id", Integer(0)),
    ("npu_mem_limit", Integer(1)),
    ("arena_extend_strategy", ARENA),
    ("enable_cann_graph", Flag),
    ("dump_graphs", Flag),
    ("dump_om_model", Flag),
    (
        "precision_mode",
        OneOf(&["force_fp32", "force_fp16", "allow_fp32_to_fp16", "must_keep_origin_dtype", "allow_mix_precision"]),
    ),
    ("op_select_impl_mode", OneOf(&["high_precision", "high_performance"])),
    ("optypelist_for_implmode", Text),
];

/// The options of the provider of this name; none where the name is not known.
fn table(provider: &str) -> Option<Table> {
    Some(match provider {
        "cpu" => &[],
        "openvino" => OPENVINO,
        "cuda" => CUDA,
        "tensorrt" => TENSORRT,
        "xnnpack" => XNNPACK,
        "webgpu" => WEBGPU,
        "coreml" => COREML,
        "directml" => DIRECTML,
        "qnn" => QNN,
        "nnapi" => NNAPI,
        "migraphx" => MIGRAPHX,
        "rocm" => ROCM,
        "onednn" => ONEDNN,
        "vitisai" => VITISAI,
        "acl" => ACL,
        "cann" => CANN,
        _ => return None,
    })
}

/// What the option `key` of `provider` may hold; anything, where the provider is not known (the mock).
///
/// # Errors
/// If the provider has no such option; in serde's wording, which `yaml` finishes with what was meant.
pub(in crate::runtime) fn kind(provider: &str, key: &str) -> Result<Kind, String> {
    let Some(table) = table(provider) else { return Ok(Text) };
    if table.is_empty() {
        return Err(format!("execution provider {provider} has no options, found `{key}`"));
    }
    table.iter().find(|(name, _)| *name == key).map(|(_, kind)| *kind).ok_or_else(|| {
        format!("unknown option `{key}` of execution provider {provider}, expected one of {}", quoted(names(table)))
    })
}

/// Checks all options.
///
/// # Errors
/// Names the first that is none of the provider's (and what was meant), or holds what it can't hold.
pub(in crate::runtime) fn check(provider: &str, options: &BTreeMap<String, String>) -> Result<(), String> {
    for (key, value) in options {
        let kind = kind(provider, key).map_err(|reason| {
            let meant = closest(key, table(provider).into_iter().flat_map(names));
            reason + &meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default()
        })?;
        kind.check(value).map_err(|reason| format!("option `{key}` of execution provider {provider}: {reason}"))?;
    }
    Ok(())
}

fn names(table: Table) -> impl Iterator<Item = &'static str> {
    table.iter().map(|(name, _)| *name)
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl Kind {
    /// # Errors
    /// What was found and expected, and what was meant where that can be told.
    pub(in crate::runtime) fn check(self, value: &str) -> Result<(), String> {
        let (fits, expected) = match self {
            Flag => (flag(value).is_some(), "true or false".to_owned()),
            Integer(least) => {
                (value.parse::<i64>().is_ok_and(|value| value >= least), format!("an integer from {least} on"))
            }
            OneOf(words) => (words.contains(&value), format!("one of {}", quoted(words.iter().copied()))),
            Begins(starts) => {
                let fits = starts.iter().any(|start| value.starts_with(start));
                (fits, format!("a word that begins with one of {}", quoted(starts.iter().copied())))
            }
            Text => (!value.contains('\0'), "text without a zero byte".to_owned()),
        };
        if fits {
            return Ok(());
        }
        let meant = match self {
            OneOf(words) | Begins(words) => {
                let same = words.iter().copied().find(|word| word.eq_ignore_ascii_case(value));
                same.or_else(|| closest(value, words.iter().copied()))
            }
            _ => None,
        };
        let meant = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
        Err(format!("found `{value}`, expected {expected}{meant}"))
    }
}

/// The truth value that a text stands for.
pub(super) fn flag(value: &str) -> Option<bool> {
    match value {
        "1" | "true" | "True" => Some(true),
        "0" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Options as ONNX Runtime reads them: most providers know truth values as 1 and 0, OpenVINO as words.
pub(super) fn spelt(provider: &str, options: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let words = if provider == "openvino" { ["false", "true"] } else { ["0", "1"] };
    let spell = |(key, value): (&String, &String)| {
        let truth = (kind(provider, key) == Ok(Flag)).then(|| flag(value)).flatten();
        (key.clone(), truth.map_or_else(|| value.clone(), |truth| words[usize::from(truth)].to_owned()))
    };
    options.iter().map(spell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::provider::KNOWN;

    #[test]
    fn every_provider_has_a_table() {
        for known in KNOWN {
            let table = table(known.name).unwrap();
            let distinct: std::collections::BTreeSet<_> = names(table).collect();
            assert_eq!(distinct.len(), table.len(), "{}", known.name);
        }
    }

    #[track_caller]
    fn refused(provider: &str, key: &str, value: &str, expected: &str) {
        let error = check(provider, &[(key.to_owned(), value.to_owned())].into()).unwrap_err();
        assert_eq!(error, expected);
    }

    #[test]
    fn what_is_no_option_or_no_value_is_named() {
        refused("cpu", "arena", "1", "execution provider cpu has no options, found `arena`");
        refused(
            "xnnpack",
            "intra_op_threads",
            "1",
            "unknown option `intra_op_threads` of execution provider xnnpack, expected one of `intra_op_num_threads`; \
             did you mean `intra_op_num_threads`?",
        );
        let of = |key: &str, provider: &str| format!("option `{key}` of execution provider {provider}: ");
        refused(
            "cuda",
            "device_id",
            "first",
            &(of("device_id", "cuda") + "found `first`, expected an integer from 0 on"),
        );
        refused("cuda", "use_tf32", "yes", &(of("use_tf32", "cuda") + "found `yes`, expected true or false"));
        let units = "found `CpuOnly`, expected one of `ALL`, `CPUAndNeuralEngine`, `CPUAndGPU`, `CPUOnly`; \
                     did you mean `CPUOnly`?";
        refused("coreml", "MLComputeUnits", "CpuOnly", &(of("MLComputeUnits", "coreml") + units));
        assert_eq!(check("openvino", &[("device_type".to_owned(), "GPU.1".to_owned())].into()), Ok(()));
    }

    #[test]
    fn truth_values_are_spelt_as_the_provider_reads_them() {
        let asked = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
        let key = "trt_fp16_enable";
        assert_eq!(spelt("tensorrt", &asked(key, "true")), asked(key, "1"));
        let key = "enable_qdq_optimizer";
        assert_eq!(spelt("openvino", &asked(key, "0")), asked(key, "false"));
        assert_eq!(spelt("cuda", &asked("device_id", "1")), asked("device_id", "1"));
    }
}
