//! A config, resolved: the space opened, the profiles read, the objectives named.

use super::accuracy::{ACCURACY, ECE, PlannedAccuracy};
use super::metrics::metrics;
use super::plugin::{PlannedFigure, PluginIdentity, device_plugin, sampler_plugin, space_of_plugin};
use super::store::Store;
use super::{LATENCY, StudyError};
use crate::config::{
    ControlSection, DeviceSection, LatencySection, LatencySource, ObjectiveSection, ScoringSection, StudyConfig,
};
use crate::device::{self, HardwareProfile, Location, OpenOptions};
use crate::files::beside;
use crate::indicator::{self, Indicator, Settings};
use crate::lut::LatencyTable;
use crate::objective::{Direction, Objective, Objectives};
use crate::onnx::Precision;
use crate::quality::Recipe;
use crate::sampler::{Draw, GeneSpace, Mutate, Problem, ProblemNames, Sampler, SamplerError, SamplerOptions};
use crate::space::{SearchSpace, SpaceSection};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The fact of a store that is the space's file as it was written.
pub(super) const SPACE: &str = "space";

/// What a study is going to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The config as written.
    pub config: StudyConfig,
    /// What is searched.
    pub space: Arc<SearchSpace>,
    /// How candidates are scored.
    pub settings: Settings,
    /// How indicators become a quality.
    pub recipe: Recipe,
    /// What is optimised.
    pub objectives: Objectives,
    /// Where each objective's value comes from, in the order of the objectives.
    pub sources: Vec<Source>,
    /// The devices that the objectives name, each once.
    pub devices: Vec<PlannedDevice>,
    /// What candidates are trained on, where accuracy is an objective.
    pub accuracy: Option<PlannedAccuracy>,
    /// The plugins whose figures are objectives, each once.
    pub figures: Vec<PlannedFigure>,
    /// All plugins that take part, but for the space's.
    pub plugins: Vec<PluginIdentity>,
    /// Where paths of plugins count from.
    folder: PathBuf,
}

/// A device of a study.
#[derive(Clone, Debug)]
pub struct PlannedDevice {
    /// What it is.
    pub profile: HardwareProfile,
    /// Where its figures come from.
    pub source: LatencySource,
    /// What predicts them; none where all are measured, or the device is a table of architectures itself.
    pub table: Option<LatencyTable>,
}

impl PlannedDevice {
    /// Whether a latency can be had without a measurement.
    pub fn predicts(&self) -> bool {
        self.table.is_some() || matches!(self.profile.location, Location::Table { .. })
    }
}

/// Where an objective's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The combined indicators.
    Quality,
    /// The median latency on the device of this name, in ms.
    Latency(String),
    /// Trained parameters.
    Params,
    /// Multiply-accumulates.
    Macs,
    /// The model file's size in MiB.
    Size,
    /// The share of held-out samples that are right after a short training.
    Accuracy,
    /// The expected calibration error on held-out samples after that training.
    CalibrationError,
    /// The figure of the plugin of this name.
    Plugin(String),
}

impl Plan {
    /// Reads and resolves the config at `path`; the files that it names are looked for beside it.
    ///
    /// # Errors
    /// If the config, its space or one of its profiles is refused.
    pub fn read(path: &Path) -> Result<Self, StudyError> {
        let config = StudyConfig::read(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::resolve(config, folder).map_err(|error| match error {
            StudyError::Config { reason, .. } => StudyError::Config { path: path.to_owned(), reason },
            other => other,
        })
    }

    /// Resolves a config; the files that it names are looked for in `folder`.
    ///
    /// # Errors
    /// If its space or one of its profiles is refused, or a value is out of its range.
    pub fn resolve(mut config: StudyConfig, folder: &Path) -> Result<Self, StudyError> {
        config.nats = config.nats.beside(folder);
        let wrong = |reason: String| StudyError::Config { path: PathBuf::new(), reason };
        if config.study.is_empty() || config.study.contains(['/', '\\']) || config.study.starts_with('.') {
            return Err(wrong(format!("study: `{}` can't be the name of a folder", config.study)));
        }
        let mut space = config.space.open(folder)?;
        if let Some(section) = &config.quantization {
            let choices = section.layers.clone();
            space = space.with_precisions(choices).map_err(|error| wrong(format!("quantization.layers: {error}")))?;
        }
        let settings = config.indicators.resolve_for(&space, folder);
        let settings = settings.map_err(|error| wrong(format!("indicators.data: {error}")))?;
        let quality = &config.quality;
        let recipe =
            quality.recipe.resolve(quality.combine).map_err(|reason| wrong(format!("quality.recipe: {reason}")))?;
        let at_least = [
            ("search.trials", config.search.trials, 1),
            ("search.repeats", config.search.repeats, 1),
            ("indicators.batch", settings.batch, 2),
            ("indicators.networks", settings.networks, 1),
            ("quality.reference", quality.reference, 2),
        ];
        if let Some((field, value, least)) = at_least.into_iter().find(|(_, value, least)| value < least) {
            return Err(wrong(format!("{field}: {value}, expected {least} or more")));
        }
        let (mut objectives, mut sources, mut devices, mut accuracy) = (vec![], vec![], vec![], None);
        let (mut figures, mut plugins) = (vec![], sampler_plugin(&config.search.sampler, folder)?);
        let sections = config.objectives.iter().map(|section| (section, false));
        for (section, constraint) in sections.chain(config.constraints.iter().map(|section| (section, true))) {
            let (mut objective, source) = match section {
                ObjectiveSection::Quality => (Objective::new("quality", Direction::Maximize), Source::Quality),
                ObjectiveSection::Latency(latency) => {
                    let elsewhere = config.devices.iter().any(|device| device.agent == latency.device);
                    let mut profile = match elsewhere {
                        true => device::agent_profile(&latency.device, &config.nats)?,
                        false => HardwareProfile::find(&beside(folder, &latency.device))?,
                    };
                    let name = profile.name.clone();
                    if let Some(protocol) = &latency.protocol {
                        protocol.check().map_err(|error| wrong(format!("objectives: latency: {error}")))?;
                        profile.protocol = protocol.clone();
                    }
                    let at_most_ms = latency.at_most_ms.or(profile.budget.latency_ms);
                    let mut objective = bounded(&format!("{LATENCY}{name}"), at_most_ms);
                    objective.unit = Some("ms".into());
                    // A second objective on the same device is refused below, by its name.
                    let at = |reason: String| wrong(format!("objectives: latency@{name}: {reason}"));
                    let table = predictor(latency, &profile, (&space, &config.space), folder).map_err(at)?;
                    devices.push(PlannedDevice { profile, source: latency.source, table });
                    (objective, Source::Latency(name))
                }
                ObjectiveSection::Params(bound) => (bounded("params", bound.at_most), Source::Params),
                ObjectiveSection::Macs(bound) => (bounded("macs", bound.at_most), Source::Macs),
                ObjectiveSection::Size(bound) => {
                    let size = bounded("size", bound.at_most_mib);
                    (Objective { unit: Some("MiB".into()), ..size }, Source::Size)
                }
                ObjectiveSection::Accuracy(section) => {
                    let planned = PlannedAccuracy::open(section, folder, &space);
                    accuracy = Some(planned.map_err(|error| wrong(format!("objectives: {ACCURACY}: {error}")))?);
                    (Objective::new(ACCURACY, Direction::Maximize), Source::Accuracy)
                }
                ObjectiveSection::Ece(bound) => (bounded(ECE, bound.at_most), Source::CalibrationError),
                ObjectiveSection::Plugin(section) => {
                    let (figure, objective, identity) = PlannedFigure::open(section, folder, config.seed)?;
                    let source = Source::Plugin(figure.name.clone());
                    figures.push(figure);
                    plugins.push(identity);
                    (objective, source)
                }
            };
            objective.constraint = constraint;
            let is_cost = !matches!(source, Source::Plugin(_));
            if let Some(bound) = objective.at_most.filter(|bound| is_cost && bound.is_finite() && *bound <= 0.0) {
                let field = match source {
                    Source::Latency(_) => "at_most_ms",
                    Source::Size => "at_most_mib",
                    _ => "at_most",
                };
                return Err(wrong(format!("objectives: {}: {field}: {bound}, expected more than 0", objective.name)));
            }
            objectives.push(objective);
            sources.push(source);
        }
        let precision = |device: &PlannedDevice| device.profile.precision;
        if let Some(other) = devices.iter().find(|&device| precision(device) != precision(&devices[0])) {
            let [first, other] =
                [&devices[0], other].map(|device| format!("{} of `{}`", precision(device), device.profile.name));
            let reason = "expected one precision for all devices of a study, which measure the same model files";
            return Err(wrong(format!("objectives: precision: {first}, {other}: {reason}")));
        }
        if accuracy.is_none() {
            let after_training = "which is found after a training: expected the objective `accuracy`, or a constraint";
            if sources.contains(&Source::CalibrationError) {
                return Err(wrong(format!("objectives: {ECE}: is a figure of probabilities, {after_training}")));
            }
            if config.quantization.is_some() {
                return Err(wrong(format!("quantization: costs accuracy, {after_training}")));
            }
        }
        if let Some(section) = &config.quantization {
            let floats = |device: &PlannedDevice| {
                device.profile.precision == Precision::F32
                    && device.source == LatencySource::Measured
                    && !device.predicts()
            };
            if let Some(device) = devices.iter().find(|device| !floats(device)) {
                let name = &device.profile.name;
                let reason = "tables and other precisions know nothing of single layers of integers";
                return Err(wrong(format!("quantization: {name}: {reason}, expected it to measure models of f32")));
            }
            if section.calibration == 0 {
                return Err(wrong("quantization.calibration: 0, expected 1 or more samples".to_owned()));
            }
        }
        if let Some(figure) = figures.iter().find(|figure| figure.is_last())
            && devices.iter().any(|device| device.source == LatencySource::Mixed)
        {
            let reason = "is found when candidates are measured, and `source: mixed` measures by what it would be";
            return Err(wrong(format!(
                "objectives: {}: {reason}, expected a measured or a predicted latency",
                figure.name
            )));
        }
        for device in &devices {
            plugins.extend(device_plugin(&device.profile)?);
        }
        let unused = config.devices.iter().find(|one| devices.iter().all(|device| device.profile.name != one.agent));
        if let Some(DeviceSection { agent }) = unused {
            return Err(wrong(format!("devices: no objective is the latency of `{agent}`")));
        }
        if config.scoring == ScoringSection::Agents && space.is_plugin() {
            return Err(wrong("scoring: a plugin's networks are not known to agents, expected `here`".to_owned()));
        }
        if config.scoring == ScoringSection::Agents && space.is_pretrained() {
            return Err(wrong("scoring: agents do not have this study's model, expected `here`".to_owned()));
        }
        if config.scoring == ScoringSection::Agents && settings.data.is_some() {
            return Err(wrong(
                "scoring: images of `indicators.data` are not sent to agents, expected `here`".to_owned(),
            ));
        }
        let objectives = Objectives::new(objectives).map_err(|error| wrong(format!("objectives: {error}")))?;
        let (space, folder) = (Arc::new(space), folder.to_owned());
        let plan =
            Self { config, space, settings, recipe, objectives, sources, devices, accuracy, figures, plugins, folder };
        plan.sampler(0, &OpenOptions::default())?;
        Ok(plan)
    }

    /// The element type of the models, which is the same for all devices.
    pub fn precision(&self) -> Precision {
        self.devices.first().map_or(Precision::default(), |device| device.profile.precision)
    }

    /// What architectures are scored by: the TEG three, which every report shows, and what is `needed`. Parts of a trained model are judged by
    /// its weights: that a small probe's drawn ones are singular is nothing against them.
    pub(super) fn scored_by(&self, needed: Vec<&'static dyn Indicator>) -> Vec<&'static dyn Indicator> {
        let shown = indicator::teg().into_iter().filter(|_| !self.space.is_pretrained());
        indicator::distinct(shown.chain(needed))
    }

    /// Whether this is the name of a plugin's figure.
    pub fn is_figure(&self, name: &str) -> bool {
        self.figures.iter().any(|figure| figure.name == name)
    }

    /// Everything that the study's results depend on, as JSON.
    pub fn fingerprint(&self) -> Value {
        let mut config = serde_json::to_value(&self.config).expect("a config is JSON");
        config["indicators"] = serde_json::to_value(&self.settings).expect("settings are JSON");
        config["space"]["definition"] = self.space.definition().clone();
        let profiles: Vec<&HardwareProfile> = self.devices.iter().map(|device| &device.profile).collect();
        config["devices"] = serde_json::to_value(&profiles).expect("profiles are JSON");
        let tables: Vec<Option<String>> =
            self.devices.iter().map(|device| Some(device.table.as_ref()?.sha256())).collect();
        if tables.iter().any(Option::is_some) {
            config["tables"] = serde_json::to_value(&tables).expect("digests are JSON");
        }
        if let Some(accuracy) = &self.accuracy {
            config["data"] = accuracy.data.sha256().into();
        }
        if !self.plugins.is_empty() {
            config["plugins"] = serde_json::to_value(&self.plugins).expect("manifests are JSON");
        }
        config
    }

    /// The search's sampler, at its start, for the repeat of this number. What predicts latencies for it is opened with
    /// `options` when it is first asked for.
    ///
    /// # Errors
    /// If an option of the sampler is out of its range.
    pub fn sampler(&self, repeat: usize, options: &OpenOptions) -> Result<Box<dyn Sampler>, StudyError> {
        self.start(&self.config.search.sampler, repeat, options)
    }

    /// Whether random search runs as a control.
    pub fn has_control(&self) -> bool {
        let ControlSection::Random = self.config.search.control else { return false };
        self.config.search.sampler != SamplerOptions::Random
    }

    /// The control's sampler, at its start, where there is one. It starts with the search's first draws, so that
    /// both share those trials' measurements.
    ///
    /// # Errors
    /// If the space has no decisions.
    pub fn control(&self, repeat: usize, options: &OpenOptions) -> Result<Option<Box<dyn Sampler>>, StudyError> {
        self.has_control().then(|| self.start(&SamplerOptions::Random, repeat, options)).transpose()
    }

    fn start(
        &self,
        options: &SamplerOptions,
        repeat: usize,
        devices: &OpenOptions,
    ) -> Result<Box<dyn Sampler>, StudyError> {
        let metrics = Some(metrics(self, devices));
        let names = Some(ProblemNames {
            decisions: self.space.decisions(),
            objectives: self.objectives.optimised().map(|objective| objective.name.clone()).collect(),
            folder: self.folder.clone(),
        });
        let problem = Problem { metrics, names, ..Problem::new(self.genes()?, self.objectives.optimised().count()) };
        options.sampler(&problem, self.config.seed.wrapping_add(repeat as u64)).map_err(|error| match error {
            SamplerError::Plugin(error) => error.into(),
            error => self.sampler_error(&error),
        })
    }

    /// The space as samplers see it: dead networks are none.
    pub(super) fn genes(&self) -> Result<GeneSpace, StudyError> {
        self.genes_of(&self.space)
    }

    /// A space as samplers see it.
    pub(super) fn genes_of(&self, space: &Arc<SearchSpace>) -> Result<GeneSpace, StudyError> {
        let of = space.clone();
        let identify = Arc::new(move |genotype: &_| of.id(genotype));
        let genes = GeneSpace::new(space.choices().to_vec(), identify).map_err(|error| self.sampler_error(&error))?;
        let of = space.clone();
        let genes = genes.with_statistics(Arc::new(move |genotype| of.statistics(genotype).to_vec()));
        let of = space.clone();
        let genes = genes.with_canonical(Arc::new(move |genotype| of.canonical(&genotype)));
        let (draws, mutates) = space.own_variation();
        let (draw, mutate) = (space.clone(), space.clone());
        let draw = draws.then(|| -> Draw { Arc::new(move |seed| draw.draw_own(seed)) });
        let mutate = mutates.then(|| -> Mutate { Arc::new(move |genotype, seed| mutate.mutate_own(genotype, seed)) });
        Ok(genes.with_own(draw, mutate))
    }

    fn sampler_error(&self, error: &SamplerError) -> StudyError {
        StudyError::Config { path: PathBuf::new(), reason: format!("search.sampler: {error}") }
    }
}

/// The space of a stored study, with the network that it searched.
///
/// # Errors
/// If the store can't be read, or has no study.
pub fn space(store: &Store) -> Result<SearchSpace, StudyError> {
    let broken = |reason: &str| StudyError::Stored { path: store.path().to_owned(), reason: reason.to_owned() };
    let config: serde_json::Value = store.fact("config")?.ok_or_else(|| broken("it has no study that has begun"))?;
    if !config["space"]["definition"]["plugin"].is_null() {
        return space_of_plugin(&config["space"], store.path());
    }
    // Studies that were begun before the text was kept have the definition alone.
    let text = store.fact::<String>(SPACE)?.unwrap_or_else(|| config["space"]["definition"].to_string());
    let changes = serde_json::from_value(config["space"]["network"].clone())
        .map_err(|error| broken(&format!("config.space.network: {error}")))?;
    let space = SearchSpace::parse(&text, store.path())?.with_network(&changes)?;
    match &config["quantization"]["layers"] {
        Value::Null => Ok(space),
        layers => {
            let layers = serde_json::from_value(layers.clone())
                .map_err(|error| broken(&format!("config.quantization.layers: {error}")))?;
            Ok(space.with_precisions(layers)?)
        }
    }
}

/// The table that predicts the figures of a latency objective, if one does; it must be one of the space.
fn predictor(
    latency: &LatencySection,
    profile: &HardwareProfile,
    (space, section): (&SearchSpace, &SpaceSection),
    folder: &Path,
) -> Result<Option<LatencyTable>, String> {
    let is_table = matches!(profile.location, Location::Table { .. });
    let file = match (latency.source, &latency.table) {
        (LatencySource::Measured, None) => return Ok(None),
        (LatencySource::Measured, Some(_)) => {
            return Err("table: has no use with `source: measured`, expected predicted or mixed".to_owned());
        }
        _ if is_table => return Err("source: this device is a table itself, leave source and table out".to_owned()),
        (_, None) => return Err("table: missing, expected the file that `tegu lut build` wrote".to_owned()),
        (_, Some(file)) => folder.join(file),
    };
    let table = LatencyTable::read(&file).map_err(|error| format!("table: {error}"))?;
    let of = table.header.space.as_ref().filter(|of| of.changes == section.network);
    let of = of.map(|of| of.open().map_err(|error| format!("table: {error}"))).transpose()?;
    if of.is_none_or(|of| of.definition() != space.definition()) {
        let of = table.header.space.as_ref().map_or("no space".to_owned(), |of| format!("`{}`", of.space));
        return Err(format!(
            "table: {} is of {of}, expected a table of space `{}` with networks of the same size",
            file.display(),
            space.name
        ));
    }
    if latency.source == LatencySource::Mixed && table.half_width().is_none() {
        return Err("table: has no interval (too few networks were timed), which `source: mixed` needs".to_owned());
    }
    if table.header.precision() != profile.precision {
        return Err(format!(
            "table: is of {}, the profile's precision is {}",
            table.header.precision(),
            profile.precision
        ));
    }
    if table.header.batch != profile.batch {
        return Err(format!("table: is of batch {}, the profile's is {}", table.header.batch, profile.batch));
    }
    Ok(Some(table))
}

fn bounded(name: &str, at_most: Option<f64>) -> Objective {
    Objective { at_most, ..Objective::new(name, Direction::Minimize) }
}
