//! How well a student fits a teacher that its knowledge is to be distilled from, before either is trained.
//!
//! Semantic similarity, after Grad-CAM: with g the row of one class of the gradient of the loss with respect to the
//! classifier's weight, G = g gᵀ with rows of length 1; −Σ over classes of ‖G_S − G_T‖²_F / (C · classes), C the
//! channels. Relation similarity: with F the last feature maps, a row a sample, G = F Fᵀ with rows of length 1;
//! −‖G_S − G_T‖²_F / B² (Dong et al. 2023, DisWOT). The score is their sum, at most 0: higher is
//! better. Where the classifiers take different numbers of channels, those of the wider are averaged to as many.

use super::loss::Layer;
use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::graph::{Graph, Op};
use crate::objective::Direction;
use nalgebra::DMatrix;

const INDICATOR: &str = "diswot";

/// How much of the whole model's knowledge its part can take, higher is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct DisWot;

impl Indicator for DisWot {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: INDICATOR,
            direction: Direction::Maximize,
            description: "how well a part of a trained network fits the whole as its teacher",
            formula: "-Σ over classes ‖G_S - G_T‖² / (C · classes) - ‖R_S - R_T‖² / B², G of the classifier's gradient, R of the last maps",
            source: "Dong et al. 2023 (DisWOT), Section 3; the teacher is trained here",
            view: View::Brought,
            cost: "a forward and a backward pass of the full network",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        Ok(run.teacher(INDICATOR)?.similarity(run)?.score())
    }
}

/// What students are compared with: a network on a batch.
#[derive(Clone, Debug)]
pub struct Teacher {
    /// The loss's gradient with respect to the classifier's weight, `[classes, channels]`.
    semantics: DMatrix<f64>,
    /// How the samples' features are alike, `[batch, batch]`.
    relations: DMatrix<f64>,
}

/// The two similarities of a student to its teacher, both at most 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarity {
    /// Of what the classes depend on.
    pub semantic: f64,
    /// Of which samples are alike.
    pub relation: f64,
}

impl Similarity {
    /// The score, higher is better.
    pub fn score(self) -> f64 {
        self.semantic + self.relation
    }
}

impl Teacher {
    /// The teacher that `run` is a network of.
    ///
    /// # Errors
    /// If it has no classifier, or Candle fails.
    pub fn new(run: &Run) -> Result<Self, IndicatorError> {
        let graph = run.graph();
        let last = |is: fn(&Op) -> bool| graph.ids().rev().find(|&id| is(&graph.node(id).op));
        // A fully connected layer of a map is read as a convolution.
        let unfit = || IndicatorError::Unfit { indicator: INDICATOR, reason: "the network has no classifier".into() };
        let classifier = last(|op| matches!(op, Op::Linear { .. } | Op::Conv2d(_))).ok_or_else(unfit)?;
        let behind = last(|op| matches!(op, Op::GlobalAvgPool)).filter(|&pooling| pooling < classifier);
        let maps = graph.node(behind.unwrap_or(classifier)).inputs[0];
        let layers = &run.loss_gradients()?.layers;
        let layer = layers.iter().find(|layer| layer.node == classifier).expect("a fully connected layer has a weight");
        let features = run.activations()?.of(maps).flatten_from(1)?;
        let gram = features.matmul(&features.t()?)?.flatten_all()?.to_vec1::<f32>()?;
        let batch = features.dim(0)?;
        let relations = DMatrix::from_row_iterator(batch, batch, gram.into_iter().map(f64::from));
        Ok(Self { semantics: semantics(graph, layer), relations: with_unit_rows(relations) })
    }

    /// How alike the student that `run` is a network of is to this teacher; both on the same batch.
    ///
    /// # Errors
    /// If the student is no classifier of the teacher's classes, or was run on a batch of another size.
    pub fn similarity(&self, run: &Run) -> Result<Similarity, IndicatorError> {
        let student = Self::new(run)?;
        let sizes = |of: &Self| (of.semantics.nrows(), of.relations.nrows());
        let ((classes, batch), expected) = (sizes(&student), sizes(self));
        if (classes, batch) != expected {
            let reason = format!(
                "the student has {classes} classes and {batch} images, the teacher {} and {}",
                expected.0, expected.1
            );
            return Err(IndicatorError::Unfit { indicator: INDICATOR, reason });
        }
        let channels = self.semantics.ncols().min(student.semantics.ncols());
        let (ours, theirs) = (averaged(&student.semantics, channels), averaged(&self.semantics, channels));
        let of_class = |class: usize| {
            let correlations = |of: &DMatrix<f64>| with_unit_rows(of.row(class).transpose() * of.row(class));
            (correlations(&ours) - correlations(&theirs)).norm_squared()
        };
        let semantic = (0..classes).map(of_class).sum::<f64>() / (channels * classes) as f64;
        let relation = (student.relations - &self.relations).norm_squared() / (batch * batch) as f64;
        Ok(Similarity { semantic: -semantic, relation: -relation })
    }
}

/// The gradient of the classifier's weight, `[classes, channels]`.
fn semantics(graph: &Graph, classifier: &Layer) -> DMatrix<f64> {
    let classes = graph.node(classifier.node).shape.channels();
    let gradient = classifier.gradient.iter().map(|&g| f64::from(g));
    DMatrix::from_row_iterator(classes, classifier.gradient.len() / classes, gradient)
}

/// The rows, divided by their length; zeros stay zeros.
fn with_unit_rows(mut matrix: DMatrix<f64>) -> DMatrix<f64> {
    for mut row in matrix.row_iter_mut() {
        let norm = row.norm();
        if norm > 0.0 {
            row /= norm;
        }
    }
    matrix
}

/// The columns, averaged to `count`.
fn averaged(matrix: &DMatrix<f64>, count: usize) -> DMatrix<f64> {
    let all = matrix.ncols();
    DMatrix::from_fn(matrix.nrows(), count, |row, column| {
        let covered = column * all / count..((column + 1) * all).div_ceil(count);
        covered.clone().map(|from| matrix[(row, from)]).sum::<f64>() / covered.len() as f64
    })
}
