//! Running models on samples.

use super::{FloatModel, QuantizeError};
use crate::data::{DataSet, Normalisation, Part, Samples, Values as Elements};
use crate::network::standard_normal;
use crate::onnx::{Dim, ElementType};
use crate::runtime::{
    self, LoadOptions, NamedTensor, Runtime, RuntimeInfo, RuntimeKind, SessionOptions, TractRuntime, Values,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// Runs models that are in memory.
pub struct Runner {
    runtime: Box<dyn Runtime>,
    options: SessionOptions,
    folder: TempDir,
}

/// The samples that models are run on, as the model takes them.
#[derive(Clone, Debug)]
pub struct Feed {
    part: Part,
    /// None for a model that takes bytes, and of noise.
    normalisation: Option<Normalisation>,
    input: String,
    dims: Vec<usize>,
}

/// How many samples are of the class that a model says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Accuracy {
    /// Samples whose largest output is that of their class.
    pub correct: usize,
    /// All samples.
    pub samples: usize,
}

/// Samples of a run, where the model leaves them open.
const BATCH: usize = 32;
/// The metadata that says how a model's inputs were normalised.
const NORMALISATION: &str = "tegu.normalisation";

impl Accuracy {
    /// The share of correct ones, 0 to 1.
    pub fn share(&self) -> f64 {
        self.correct as f64 / self.samples.max(1) as f64
    }
}

impl Runner {
    /// Runs models with this runtime and these options.
    ///
    /// # Errors
    /// If there is no place for temporary files.
    pub fn new(runtime: Box<dyn Runtime>, options: SessionOptions) -> Result<Self, QuantizeError> {
        Ok(Self { runtime, options, folder: tempfile::tempdir().map_err(QuantizeError::Temporary)? })
    }

    /// Runs models with ONNX Runtime where its library is found, which has integer kernels, else with tract.
    ///
    /// # Errors
    /// If a library that is named can't be used, or there is no place for temporary files.
    pub fn best(library: Option<PathBuf>) -> Result<Self, QuantizeError> {
        let given = library.is_some();
        match Self::onnxruntime(library) {
            Err(QuantizeError::Runtime(error)) if !given => {
                tracing::info!("tract runs the model: {error}");
                Self::new(Box::new(TractRuntime), SessionOptions::default())
            }
            found => found,
        }
    }

    /// Runs models with ONNX Runtime; its library is looked for where absent.
    ///
    /// # Errors
    /// If the library is not there or can't be used, or there is no place for temporary files.
    pub fn onnxruntime(library: Option<PathBuf>) -> Result<Self, QuantizeError> {
        let options = LoadOptions { library, ..LoadOptions::default() };
        Self::new(runtime::load(RuntimeKind::OnnxRuntime, &options)?, SessionOptions::default())
    }

    /// What runs them.
    pub fn info(&self) -> RuntimeInfo {
        self.runtime.info()
    }

    /// The first output of a model on all samples, one row of numbers for each.
    ///
    /// # Errors
    /// If the model can't be run, or its first output has not one row of floats for each sample.
    pub fn outputs(&self, model: &[u8], feed: &Feed) -> Result<Vec<Vec<f32>>, QuantizeError> {
        let mut rows = vec![];
        self.each_batch(model, feed, |outputs, count| {
            let first = outputs.first().ok_or_else(|| unreadable(feed, "no output"))?;
            let Values::F32(values) = &first.values else {
                return Err(unreadable(feed, &format!("outputs of {}", first.values.type_name())));
            };
            let batch = feed.dims[0];
            if values.is_empty() || first.dims.first() != Some(&batch) {
                return Err(unreadable(feed, &format!("an output of {:?} for {batch} samples", first.dims)));
            }
            rows.extend(values.chunks_exact(values.len() / batch).take(count).map(<[f32]>::to_vec));
            Ok(())
        })?;
        Ok(rows)
    }

    /// How often a model's largest output is that of the sample's class.
    ///
    /// # Errors
    /// As [`Runner::outputs`].
    pub fn accuracy(&self, model: &[u8], feed: &Feed) -> Result<Accuracy, QuantizeError> {
        let rows = self.outputs(model, feed)?;
        Ok(feed.accuracy(&rows))
    }

    /// Hands the outputs of each batch to `take`, with the number of samples in it.
    pub(super) fn each_batch(
        &self,
        model: &[u8],
        feed: &Feed,
        mut take: impl FnMut(&[NamedTensor], usize) -> Result<(), QuantizeError>,
    ) -> Result<(), QuantizeError> {
        let path = self.folder.path().join("model.onnx");
        std::fs::write(&path, model).map_err(QuantizeError::Temporary)?;
        let mut options = self.options.clone();
        options.input_dims.insert(feed.input.clone(), feed.dims.clone());
        let mut session = self.runtime.prepare(&path, &options)?;
        let batch = feed.dims[0];
        for begin in (0..feed.part.len()).step_by(batch) {
            session.bind(vec![feed.batch(begin)])?;
            take(&session.outputs()?, batch.min(feed.part.len() - begin))?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").field("runtime", &self.runtime.info()).field("options", &self.options).finish()
    }
}

fn unreadable(feed: &Feed, found: &str) -> QuantizeError {
    QuantizeError::Range {
        value: feed.input.clone(),
        reason: format!("the model gives {found}, expected a row of float32 each"),
    }
}

impl Feed {
    /// The samples of `part`, which is one of `set`, for `model`: normalised as its metadata say, else as fits the training
    /// part of the set; not at all where the model takes bytes.
    ///
    /// # Errors
    /// If the samples are not of the shape or type that the model takes.
    pub fn new(model: &FloatModel, set: &DataSet, part: Part) -> Result<Self, QuantizeError> {
        let misfit = |reason: String| QuantizeError::Misfit { data: set.path().to_owned(), reason };
        let input = model.input();
        let [channels, height, width] = part.shape();
        let wanted = input.dims.clone().unwrap_or_else(|| vec![Dim::Open(None); 4]);
        let sample = if wanted.len() == 2 { vec![channels * height * width] } else { vec![channels, height, width] };
        let fits = |(found, wanted): (&usize, &Dim)| !matches!(wanted, Dim::Fixed(size) if size != found);
        if wanted.len() != sample.len() + 1 || !sample.iter().zip(&wanted[1..]).all(fits) {
            let reason = format!("its samples are {channels}×{height}×{width}, the model takes {input}");
            return Err(misfit(reason));
        }
        let bytes = matches!(part.samples().values(), Elements::U8(_));
        let normalisation = match input.element {
            ElementType::UInt8 if bytes => None,
            ElementType::UInt8 => return Err(misfit(format!("it holds features, the model takes bytes ({input})"))),
            _ => Some(normalisation(model, set)?),
        };
        if let Some(of) = normalisation.as_ref().filter(|of| of.channels() != channels) {
            return Err(misfit(format!(
                "its samples have {channels} channels, the model's normalisation {}",
                of.channels()
            )));
        }
        let batch = model.batch().unwrap_or(BATCH.min(part.len()).max(1));
        let dims = std::iter::once(batch).chain(sample).collect();
        Ok(Self { part, normalisation, input: input.name.clone(), dims })
    }

    /// `count` samples of white noise of variance 1, for a model of floats of which no data are known.
    ///
    /// # Errors
    /// If the model takes bytes, or leaves another size open than that of the batch.
    pub fn noise(model: &FloatModel, count: usize, seed: u64) -> Result<Self, QuantizeError> {
        let input = model.input();
        let sizes = input.dims.iter().flatten().skip(1).map(|dim| match dim {
            Dim::Fixed(size) => Some(*size),
            Dim::Open(_) => None,
        });
        let sizes: Option<Vec<usize>> = sizes.collect();
        let shape = match sizes.as_deref() {
            Some(&[features]) => [features, 1, 1],
            Some(&[channels, height, width]) => [channels, height, width],
            _ => [0; 3],
        };
        let elements = shape.iter().product::<usize>();
        if input.element != ElementType::Float32 || elements == 0 {
            let reason = format!("it takes {input}, noise is for images of float32");
            return Err(QuantizeError::Unfit { path: model.path().to_owned(), reason });
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let values = (0..count * elements).map(|_| standard_normal(&mut rng)).collect();
        let samples = Samples::new(shape, Elements::F32(values), vec![0; count]);
        let batch = model.batch().unwrap_or(BATCH.min(count).max(1));
        let dims = std::iter::once(batch).chain(sizes.unwrap_or_default()).collect();
        let part = Part::whole(&Arc::new(samples), 1);
        Ok(Self { part, normalisation: None, input: input.name.clone(), dims })
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.part.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.part.is_empty()
    }

    /// How often the largest of a row is that of the sample's class.
    pub(super) fn accuracy(&self, rows: &[Vec<f32>]) -> Accuracy {
        let right = |(at, row): (usize, &Vec<f32>)| {
            let likeliest = (0..row.len()).reduce(|best, class| if row[class] > row[best] { class } else { best });
            likeliest == Some(self.part.label(at) as usize)
        };
        Accuracy { correct: rows.iter().enumerate().filter(|&row| right(row)).count(), samples: rows.len() }
    }

    /// The batch that begins at a position; the last one is filled up with its first sample.
    pub(super) fn batch(&self, begin: usize) -> NamedTensor {
        let elements = self.part.samples().elements();
        let samples = self.part.samples();
        let positions = (0..self.dims[0]).map(|at| if begin + at < self.part.len() { begin + at } else { begin });
        let indices: Vec<usize> = positions.map(|position| self.part.indices()[position] as usize).collect();
        let values = match (&self.normalisation, samples.values()) {
            (None, Elements::U8(pixels)) => {
                let sample = |index: &usize| pixels[index * elements..(index + 1) * elements].iter().copied();
                Values::U8(indices.iter().flat_map(sample).collect())
            }
            (normalisation, _) => {
                let mut all = vec![0.0; indices.len() * elements];
                for (sample, &index) in all.chunks_exact_mut(elements).zip(&indices) {
                    samples.write(index, sample);
                    if let Some(normalisation) = normalisation {
                        normalisation.apply(sample);
                    }
                }
                Values::F32(all)
            }
        };
        NamedTensor { name: self.input.clone(), dims: self.dims.clone(), values }
    }
}

fn normalisation(model: &FloatModel, set: &DataSet) -> Result<Normalisation, QuantizeError> {
    match model.metadata(NORMALISATION) {
        Some(text) => serde_json::from_str(text).map_err(|error| QuantizeError::Unfit {
            path: model.path().to_owned(),
            reason: format!("metadata `{NORMALISATION}`: {error}"),
        }),
        None => Ok(Normalisation::fit(&set.train())),
    }
}
