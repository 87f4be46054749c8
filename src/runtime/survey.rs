//! What is here: `tegu runtime list`.

use super::library::{Located, locate};
use super::onnxruntime::explained;
use super::provider::{KNOWN, available};
use super::{ExecutionProvider, LoadOptions, OnnxRuntime, Runtime, SessionOptions, TractRuntime};
use serde::Serialize;
use std::path::PathBuf;

/// A runtime, here or not.
#[derive(Clone, Debug, Serialize)]
pub struct RuntimeSurvey {
    /// `tract` or `onnxruntime`.
    pub name: String,
    /// Its version; absent where it can't be used.
    pub version: Option<String>,
    /// The library, where there is one.
    pub library: Option<PathBuf>,
    /// Where the library was found and where it was looked for before.
    pub located: Option<Located>,
    /// Why it can't be used; absent where it can.
    pub reason: Option<String>,
    /// Its execution providers.
    pub providers: Vec<ProviderSurvey>,
}

/// An execution provider, here or not.
#[derive(Clone, Debug, Serialize)]
pub struct ProviderSurvey {
    /// Its name in a hardware profile.
    pub name: String,
    /// Why it can't be used; absent where it can.
    pub reason: Option<String>,
}

/// Looks at every runtime. Loads ONNX Runtime's library, the one in `options` or the first that is found, into this
/// process and tries each of its providers: foreign code, so in a process that does nothing else.
pub fn survey(options: &LoadOptions) -> Vec<RuntimeSurvey> {
    let tract = TractRuntime.info();
    let tract = RuntimeSurvey {
        name: tract.name,
        version: Some(tract.version),
        library: None,
        located: None,
        reason: None,
        providers: vec![],
    };
    vec![tract, onnxruntime(options)]
}

fn onnxruntime(options: &LoadOptions) -> RuntimeSurvey {
    let mut found = RuntimeSurvey {
        name: "onnxruntime".into(),
        version: None,
        library: None,
        located: None,
        reason: None,
        providers: vec![],
    };
    let located = match locate(options.library.as_deref(), options.execution_provider.as_deref()) {
        Ok(located) => located,
        Err(error) => return RuntimeSurvey { reason: Some(error.to_string()), ..found },
    };
    found.library = Some(located.path.clone());
    let opened = OnnxRuntime::open(located.path.clone());
    found.located = Some(located);
    match opened {
        Ok(runtime) => {
            found.version = Some(runtime.info().version);
            found.providers = providers(&runtime);
        }
        Err(error) => found.reason = Some(error.to_string()),
    }
    found
}

fn providers(runtime: &OnnxRuntime) -> Vec<ProviderSurvey> {
    let present = available().unwrap_or_default();
    let survey = |known: &super::provider::Known| {
        let reason = if present.iter().any(|name| name == known.ort_name) {
            let provider = ExecutionProvider { name: known.name.into(), ..Default::default() };
            let options = SessionOptions { execution_provider: Some(provider), ..Default::default() };
            runtime.builder(&options).err().map(|reason| explained(&reason))
        } else {
            Some(format!("not in this library; {}", known.hint()))
        };
        ProviderSurvey { name: known.name.into(), reason }
    };
    KNOWN.iter().map(survey).collect()
}
