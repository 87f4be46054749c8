//! Networks that a network learns from: ONNX models, run by tract, and networks of a search space, run by Candle.
//!
//! A teacher gets the images that the student gets, normalised as for the student; a model of bytes gets them as pixels.
//! What a teacher says are its logits, or the logarithms of its probabilities where it ends with a softmax.

use super::TrainError;
use super::logits::logits;
use super::loss::Taught;
use super::options::{Distillation, NetworkTeacher, TeacherOptions};
use crate::data::Normalisation;
use crate::graph::Graph;
use crate::network::{Mode, Weights, forward};
use crate::onnx;
use crate::runtime::{NamedTensor, Runtime, RuntimeError, Session, SessionOptions, TractRuntime, Values};
use crate::space::{NetworkChanges, Scale, SearchSpace};
use candle_core::{Device, Tensor};
use std::path::Path;

/// The teachers of a training, ready to run.
pub struct Teachers {
    teachers: Vec<Teacher>,
    normalisation: Normalisation,
}

/// What a teacher has to fit.
#[derive(Clone, Copy, Debug)]
pub struct Lesson<'a> {
    /// Shape of a sample, `[channels, height, width]`.
    pub shape: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// Samples of a batch.
    pub batch: usize,
    /// How the student's images are normalised.
    pub normalisation: &'a Normalisation,
}

struct Teacher {
    /// Its file, or what it is of.
    name: String,
    kind: Kind,
}

enum Kind {
    Onnx(Model),
    Network(Box<(Graph, Weights)>),
}

struct Model {
    session: Box<dyn Session>,
    /// Name, dimensions and element type of its input.
    input: NamedTensor,
    softmax: bool,
}

impl Teachers {
    /// Opens the teachers of `distillation`.
    ///
    /// # Errors
    /// [`TrainError::Teacher`] if one can't be read or run, or is of other images or classes.
    pub fn open(distillation: &Distillation, lesson: Lesson, device: &Device) -> Result<Self, TrainError> {
        let mut teachers = vec![];
        for options in &distillation.teachers {
            let (name, kind) = match options {
                TeacherOptions::Onnx(path) => (path.display().to_string(), Model::open(path, lesson).map(Kind::Onnx)),
                TeacherOptions::Network(network) => {
                    let name = format!("{} {}", network.space, network.arch);
                    (name, of_space(network, lesson, device).map(|both| Kind::Network(Box::new(both))))
                }
            };
            let kind = kind.map_err(|reason| TrainError::Teacher { teacher: name.clone(), reason })?;
            teachers.push(Teacher { name, kind });
        }
        Ok(Self { teachers, normalisation: lesson.normalisation.clone() })
    }

    /// What they say of `images` `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// If one can't be run.
    pub fn teach(&mut self, images: &Tensor) -> Result<Taught, TrainError> {
        let normalisation = &self.normalisation;
        let say = |teacher: &mut Teacher| match &mut teacher.kind {
            Kind::Onnx(model) => model
                .logits(images, normalisation)
                .map_err(|error| TrainError::Teacher { teacher: teacher.name.clone(), reason: error.to_string() }),
            Kind::Network(network) => Ok(forward(&network.0, &network.1, images, Mode::Inference)?.detach()),
        };
        Ok(Taught { logits: self.teachers.iter_mut().map(say).collect::<Result<_, _>>()? })
    }
}

fn of_space(teacher: &NetworkTeacher, lesson: Lesson, device: &Device) -> Result<(Graph, Weights), String> {
    let changes = NetworkChanges {
        input: teacher.network.input.or(Some(lesson.shape)),
        classes: teacher.network.classes.or(Some(lesson.classes)),
        ..teacher.network.clone()
    };
    let space = SearchSpace::open(&teacher.space).map_err(|error| error.to_string())?;
    let space = space.with_network(&changes).map_err(|error| error.to_string())?;
    let genotype = space.parse_arch(&teacher.arch).map_err(|error| error.to_string())?;
    let graph = space.lower(&genotype, Scale::Full).map_err(|error| error.to_string())?;
    let graph = graph.live().and_then(|live| logits(&live)).map_err(|error| error.to_string())?;
    let found = (graph.input_shape().dims(), graph.output_shape().elements());
    if found != (lesson.shape.to_vec(), lesson.classes) {
        return Err(misfit(&found.0, found.1, lesson));
    }
    let weights = Weights::load(&graph, &teacher.weights, device);
    Ok((graph, weights.map_err(|error| format!("{}: {error}", teacher.weights.display()))?))
}

fn misfit(input: &[usize], classes: usize, lesson: Lesson) -> String {
    let Lesson { shape, classes: expected, .. } = lesson;
    format!("takes {input:?} and tells {classes} classes apart, expected {shape:?} and the data's {expected} classes")
}

impl Model {
    fn open(path: &Path, lesson: Lesson) -> Result<Self, String> {
        let told = |error: String| error.replace(&format!("{}: ", path.display()), "");
        let proto = onnx::decode(path).map_err(|error| told(error.to_string()))?;
        let graph = proto.graph.ok_or("it has no graph")?;
        let result = graph.output.first().map(|output| output.name.clone()).ok_or("it has no output")?;
        let softmax = graph.node.iter().any(|node| node.op_type == "Softmax" && node.output.contains(&result));
        let options = SessionOptions { batch: Some(lesson.batch), ..SessionOptions::default() };
        let session = TractRuntime.prepare(path, &options).map_err(|error| told(error.to_string()))?;
        let [input] = session.inputs() else {
            return Err(format!("found {} inputs, expected one of images", session.inputs().len()));
        };
        let input = input.clone();
        if !matches!(input.values, Values::F32(_) | Values::U8(_)) {
            return Err(format!("takes {}, expected float32 or uint8", input.values.type_name()));
        }
        let mut model = Self { session, input, softmax };
        let shape = model.input.dims.get(1..).unwrap_or_default().to_vec();
        if shape != lesson.shape {
            return Err(misfit(&shape, lesson.classes, lesson));
        }
        // A first run tells whether it can be run at all.
        let output = model.run(model.input.values.clone()).map_err(|error| told(error.to_string()))?;
        let classes = output.len() / model.input.dims[0].max(1);
        if classes != lesson.classes {
            return Err(misfit(&shape, classes, lesson));
        }
        Ok(model)
    }

    fn run(&mut self, values: Values) -> Result<Vec<f32>, RuntimeError> {
        self.session.bind(vec![NamedTensor { values, ..self.input.clone() }])?;
        let output = self.session.outputs()?.into_iter().next();
        match output.map(|output| output.values) {
            Some(Values::F32(values)) => Ok(values),
            Some(other) => Err(RuntimeError::Run(format!("its output is {}, expected float32", other.type_name()))),
            None => Err(RuntimeError::Run("it gave no output".into())),
        }
    }

    /// The logits of `images`, in as many runs as its own batch size makes; the last one is filled up with zeros.
    fn logits(&mut self, images: &Tensor, normalisation: &Normalisation) -> Result<Tensor, TrainError> {
        let failed = |error: RuntimeError| TrainError::Teacher { teacher: String::new(), reason: error.to_string() };
        let count = images.dim(0)?;
        let mut pixels = images.flatten_all()?.to_vec1::<f32>()?;
        let sample = pixels.len() / count.max(1);
        let bytes = matches!(self.input.values, Values::U8(_));
        if bytes {
            pixels.chunks_exact_mut(sample).for_each(|image| denormalise(normalisation, image));
        }
        let size = self.input.dims[0].max(1);
        let mut said = vec![];
        for chunk in pixels.chunks(size * sample) {
            let mut chunk = chunk.to_vec();
            chunk.resize(size * sample, 0.0);
            let values = match bytes {
                true => Values::U8(chunk.iter().map(|&pixel| pixel.round().clamp(0.0, 255.0) as u8).collect()),
                false => Values::F32(chunk),
            };
            said.extend(self.run(values).map_err(failed)?);
        }
        let classes = said.len() / count.next_multiple_of(size);
        said.truncate(count * classes);
        if self.softmax {
            said.iter_mut().for_each(|value| *value = value.max(f32::MIN_POSITIVE).ln());
        }
        Ok(Tensor::from_vec(said, (count, classes), images.device())?)
    }
}

/// Back to pixels.
fn denormalise(normalisation: &Normalisation, image: &mut [f32]) {
    let plane = image.len() / normalisation.channels().max(1);
    for (channel, pixels) in image.chunks_exact_mut(plane.max(1)).enumerate() {
        let (factor, summand) = normalisation.factor_and_summand(channel);
        pixels.iter_mut().for_each(|pixel| *pixel = (*pixel - summand) / factor);
    }
}
