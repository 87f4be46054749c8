//! The execution providers whose interface takes flags and numbers, not pairs of text.

use super::options::flag;
use ort::ep::{ACL, ArenaExtendStrategy, DirectML, MIGraphX, NNAPI, directml};
use std::collections::BTreeMap;

type Options = BTreeMap<String, String>;

fn is_set(options: &Options, key: &str) -> bool {
    options.get(key).and_then(|value| flag(value)).unwrap_or(false)
}

fn text<'a>(options: &'a Options, key: &str) -> Option<&'a str> {
    options.get(key).map(String::as_str)
}

fn number<T: std::str::FromStr>(options: &Options, key: &str) -> Option<T> {
    options.get(key)?.parse().ok()
}

pub(super) fn directml(options: &Options) -> DirectML {
    let preference = match text(options, "performance_preference") {
        Some("high_performance") => directml::PerformancePreference::HighPerformance,
        Some("minimum_power") => directml::PerformancePreference::MinimumPower,
        _ => directml::PerformancePreference::Default,
    };
    let filter = match text(options, "device_filter") {
        Some("npu") => directml::DeviceFilter::Npu,
        Some("any") => directml::DeviceFilter::Any,
        _ => directml::DeviceFilter::Gpu,
    };
    let provider = DirectML::default().with_performance_preference(preference).with_device_filter(filter);
    number(options, "device_id").map_or(provider.clone(), |id| provider.with_device_id(id))
}

pub(super) fn nnapi(options: &Options) -> NNAPI {
    NNAPI::default()
        .with_fp16(is_set(options, "use_fp16"))
        .with_nchw(is_set(options, "use_nchw"))
        .with_disable_cpu(is_set(options, "disable_cpu"))
        .with_cpu_only(is_set(options, "cpu_only"))
}

pub(super) fn acl(options: &Options) -> ACL {
    ACL::default().with_fast_math(is_set(options, "fast_math"))
}

pub(super) fn migraphx(options: &Options) -> MIGraphX {
    let mut provider = MIGraphX::default()
        .with_device_id(number(options, "device_id").unwrap_or(0))
        .with_fp16(is_set(options, "migraphx_fp16_enable"))
        .with_fp8(is_set(options, "migraphx_fp8_enable"))
        .with_int8(is_set(options, "migraphx_int8_enable"))
        .with_exhaustive_tune(is_set(options, "migraphx_exhaustive_tune"));
    if let Some(table) = text(options, "migraphx_int8_calibration_table_name") {
        let native = is_set(options, "migraphx_use_native_calibration_table");
        provider = provider.with_int8_calibration_table(table, native);
    }
    if let Some(path) = text(options, "migraphx_save_model_path") {
        provider = provider.with_save_model(path);
    }
    if let Some(path) = text(options, "migraphx_load_model_path") {
        provider = provider.with_load_model(path);
    }
    if let Some(bytes) = number(options, "migraphx_mem_limit") {
        provider = provider.with_mem_limit(bytes);
    }
    match text(options, "migraphx_arena_extend_strategy") {
        Some("kSameAsRequested") => provider.with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested),
        _ => provider,
    }
}
