//! Arguments and steps that the commands which score architectures share.

use super::network::input_error;
use crate::indicator::{self, Indicator, Mode, Probes, Settings, SettingsSection};
use crate::network::Compute;
use crate::quality::{Combine, Recipe, RecipeSection, Reference, ReferenceKey};
use crate::runtime::tegu_home;
use crate::space::SearchSpace;
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How architectures are scored.
#[derive(Debug, clap::Args)]
pub(super) struct ProbeArgs {
    /// Whose settings: `fast` (ours), `compat` (the released TEG-NAS code's)
    #[arg(long, default_value = "fast", value_parser = mode)]
    mode: Mode,
    /// Images of a batch
    #[arg(long)]
    batch: Option<usize>,
    /// Networks with independent weights
    #[arg(long)]
    networks: Option<usize>,
    /// A data set whose training images are looked at instead of seeded ones
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Seed of weights, images and labels
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// Architectures of the reference sample that qualities are ranked in
    #[arg(long, value_name = "N", default_value_t = 64)]
    reference: usize,
    /// What computes: auto, cpu, cuda:N, metal
    #[arg(long, default_value_t)]
    compute: Compute,
}

fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "fast" => Ok(Mode::Fast),
        "compat" => Ok(Mode::Compat),
        _ => Err("expected fast or compat".into()),
    }
}

impl ProbeArgs {
    fn settings(&self, space: &SearchSpace) -> anyhow::Result<Settings> {
        let (mode, batch, networks, data) = (self.mode, self.batch, self.networks, self.data.clone());
        let section = SettingsSection { mode, batch, networks, data, ..SettingsSection::default() };
        let settings = section.resolve_for(space, Path::new(""));
        let settings = settings.map_err(|error| input_error(format!("--data: {error}")))?;
        if settings.batch < 2 || settings.networks < 1 || self.reference < 2 {
            return Err(input_error("--batch and --reference must be 2 or more, --networks 1 or more"));
        }
        Ok(settings)
    }

    /// What all architectures of `space` are looked at with.
    pub(super) fn probes(&self, space: &SearchSpace) -> anyhow::Result<Probes> {
        let settings = self.settings(space)?;
        let opened = self.compute.open();
        let compute = opened.map_err(|error| input_error(format!("--compute {}: {error}", self.compute)))?;
        Ok(Probes::new(space, settings, self.seed, compute)?)
    }

    /// The space's reference sample with these indicators: the one that an earlier run left in Tegu's own folder, or a
    /// new one, which is left there.
    pub(super) fn reference(
        &self,
        space: &SearchSpace,
        probes: &Probes,
        indicators: &[&'static dyn Indicator],
        quiet: bool,
    ) -> anyhow::Result<Reference> {
        let key = ReferenceKey::new(space, probes.settings(), self.seed, self.reference);
        let path = kept_at(&key)?;
        if let Some(kept) = Reference::read(&path).filter(|kept| kept.serves(&key, indicators)) {
            return Ok(kept);
        }
        let counter = Counter::new("reference", quiet);
        let computed = Reference::compute(key, probes, space, indicators, |done, total| counter.show(done, total));
        counter.finish();
        // A sample that can't be kept is still a sample.
        if let Err(error) = computed.write(&path) {
            tracing::warn!("the reference sample is not kept: {}: {error}", path.display());
        }
        Ok(computed)
    }
}

fn kept_at(key: &ReferenceKey) -> anyhow::Result<PathBuf> {
    let digest = Sha256::digest(serde_json::to_vec(key)?);
    Ok(tegu_home().join("reference").join(format!("{}.json", &crate::genotype::hex(&digest)[..16])))
}

/// Reads a list of indicators: names, `teg`, `all`.
pub(super) fn indicators(text: &str) -> Result<Indicators, String> {
    let mut selected: Vec<&'static dyn Indicator> = vec![];
    for name in text.split(',').map(str::trim) {
        match name {
            "teg" => selected.extend(indicator::teg()),
            "all" => selected.extend(indicator::all()),
            _ => selected.push(indicator::named(name)?),
        }
    }
    Ok(Indicators(selected))
}

/// Indicators that were asked for.
#[derive(Clone)]
pub(super) struct Indicators(pub(super) Vec<&'static dyn Indicator>);

impl Indicators {
    /// These and `others`, each once.
    pub(super) fn with(&self, others: &[&'static dyn Indicator]) -> Vec<&'static dyn Indicator> {
        indicator::distinct(self.0.iter().chain(others).copied())
    }
}

impl std::fmt::Debug for Indicators {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|indicator| indicator.facts().name)).finish()
    }
}

/// A recipe that comes with Tegu.
pub(super) fn recipe(section: &RecipeSection) -> anyhow::Result<Recipe> {
    section.resolve(Combine::default()).map_err(input_error)
}

/// Counts what is done: a bar on a terminal, a line every few seconds elsewhere.
pub(super) struct Counter {
    name: &'static str,
    bar: Option<ProgressBar>,
    last: Mutex<Option<Instant>>,
    quiet: bool,
}

impl Counter {
    pub(super) fn new(name: &'static str, quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let template = "{prefix:>9} [{bar:32}] {pos}/{len}  {per_sec}, {eta} left";
            let style = ProgressStyle::with_template(template).expect("the template is valid");
            ProgressBar::new(0).with_style(style.progress_chars("=> ")).with_prefix(name)
        });
        Self { name, bar, last: Mutex::new(None), quiet }
    }

    pub(super) fn show(&self, done: usize, total: usize) {
        if let Some(bar) = &self.bar {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            return;
        }
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() > Duration::from_secs(5));
        if !self.quiet && (due || done == total) {
            *last = Some(Instant::now());
            eprintln!("{}: {done}/{total}", self.name);
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
