//! The fronts of a running study, and the models that are kept for them.

use super::evaluate::Evaluator;
use super::store::{Store, TrialRecord};
use super::{MODELS, Plan, Role, StudyError, measured, model_file};
use crate::genotype::ArchId;
use crate::objective::ObjectiveVector;
use crate::pareto::{FrontBeyondNoise, ParetoFront};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Follows the fronts and their hypervolumes, and keeps the models of the search's front alone.
pub(super) struct Tracker {
    pub plan: Plan,
    pub folder: PathBuf,
    /// What each repeat of the search and the control has found.
    fronts: HashMap<(Role, usize), ParetoFront<ArchId>>,
    /// The front of all the search's repeats as the report shows it.
    shown: FrontBeyondNoise<ArchId>,
    /// Where hypervolumes are measured from, once the first batch is done.
    reference: Option<Vec<f64>>,
    /// Vectors of the batch that is running.
    batch: Vec<ObjectiveVector>,
    /// Files of the models of all finished trials so far.
    finished: HashSet<String>,
}

impl Tracker {
    pub fn new(plan: &Plan, folder: &Path) -> Self {
        let (plan, folder) = (plan.clone(), folder.to_owned());
        let (fronts, shown) = (HashMap::new(), FrontBeyondNoise::new());
        Self { plan, folder, fronts, shown, reference: None, batch: vec![], finished: HashSet::new() }
    }

    pub fn front(&mut self, of: (Role, usize)) -> &ParetoFront<ArchId> {
        self.fronts.entry(of).or_default()
    }

    pub fn trial(
        &mut self,
        (role, repeat, store): (Role, usize, &Store),
        record: &TrialRecord,
        vector: Option<ObjectiveVector>,
    ) -> Result<Option<f64>, StudyError> {
        if let (Role::Search, Some(measured)) = (role, measured(store, &self.plan.objectives, record)?) {
            self.shown.insert(record.arch_id.clone(), measured);
        }
        let front = self.fronts.entry((role, repeat)).or_default();
        self.finished.insert(model_file(&record.arch_id));
        if let Some(vector) = vector {
            front.insert(record.arch_id.clone(), vector.clone());
            self.batch.push(vector);
        }
        Ok(self.reference.as_ref().map(|reference| front.hypervolume(reference)))
    }

    pub fn end_of_batch(&mut self, evaluator: &mut Evaluator) -> Result<(), StudyError> {
        let batch = std::mem::take(&mut self.batch);
        if self.reference.is_none() {
            self.reference = worst(&batch);
            if let Some(reference) = &self.reference {
                evaluator.put_reference_point(reference)?;
            }
        }
        // What left the front never comes back to it. While stored trials are told again, the models of those to
        // come stay, and so does that of a trial that was killed between its measurement and its end.
        let keep: HashSet<String> = self.shown.members().map(model_file).collect();
        let folder = self.folder.join(MODELS);
        let failed = |source| StudyError::File { path: folder.clone(), source };
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // A large model has its weights beside it, in a file of its name and `.data`.
            let model = name.strip_suffix(".data").unwrap_or(&name).to_owned();
            if self.finished.contains(&model) && !keep.contains(&model) {
                std::fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// For each objective, the worst cost among `vectors`.
fn worst(vectors: &[ObjectiveVector]) -> Option<Vec<f64>> {
    let first = vectors.first()?.costs().to_vec();
    Some(vectors.iter().fold(first, |worst, vector| worst.iter().zip(vector.costs()).map(|(a, b)| a.max(*b)).collect()))
}
