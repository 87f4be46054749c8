//! Two gates that need no labels: an indicator must be reliable on the space, and must not contradict the others.
//!
//! *Reliability*: how far the networks of one architecture agree on it. With r̄ the mean rank correlation of two
//! networks' values over the sample, that of the mean of k networks is k r̄ / (1 + (k − 1) r̄) (Spearman 1910; Brown
//! 1910). *Sign*: the rank correlation with the weighted sum of the others that are kept.

use super::{Quality, SampleScores, Term};
use crate::statistics::spearman;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Reliability below which an indicator is noise on the space.
const LEAST_RELIABILITY: f64 = 0.5;
/// Rank correlation with the others at which an indicator contradicts them: over three standard errors (1 / √64) below
/// zero in a sample of 64. At −0.2, 1.6 of them, chance decided: `identity_path` agrees by −0.15 on NAS-Bench-201, where
/// a third of all samples dropped it, and by −0.64 on NAS-Bench-Macro, where it does not belong.
const CONTRADICTION: f64 = -0.4;

/// An indicator of a recipe that does not count on a space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dropped {
    /// Its name.
    pub indicator: String,
    /// Why.
    pub why: Why,
    /// The same for a person.
    pub reason: String,
}

impl Dropped {
    pub(super) fn new(indicator: &str, why: Why) -> Self {
        Self { indicator: indicator.to_owned(), why, reason: why.to_string() }
    }
}

/// Why an indicator is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// No architecture of the sample has a value.
    Absent,
    /// All have the same.
    Constant,
    /// Networks of one architecture disagree: the reliability.
    Unreliable(f64),
    /// It orders the sample against the others: the rank correlation.
    Contradicts(f64),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("no architecture of the reference sample has a value"),
            Self::Constant => f.write_str("all architectures of the reference sample have the same value"),
            Self::Unreliable(r) => write!(f, "its reliability over networks is {r:.2}, below {LEAST_RELIABILITY}"),
            Self::Contradicts(r) => {
                write!(f, "its rank correlation with the others is {r:.2}, at most {CONTRADICTION}")
            }
        }
    }
}

impl Quality {
    /// Drops what does not do on the sample's space.
    pub(super) fn close_gates(&mut self, sample: &[SampleScores]) {
        self.drop_where(|term| {
            let values: Vec<f64> = column(term, sample).collect();
            if values.iter().all(|value| *value == values[0]) {
                return Some(Why::Constant);
            }
            reliability(term.facts.name, sample).filter(|r| *r < LEAST_RELIABILITY).map(Why::Unreliable)
        });
        // The worst first: without it the others may agree.
        while self.terms.len() > 2 {
            let worst = (0..self.terms.len())
                .filter_map(|at| Some((at, self.agreement(at, sample)?)))
                .min_by(|a, b| a.1.total_cmp(&b.1));
            match worst.filter(|(_, agreement)| *agreement <= CONTRADICTION) {
                Some((at, agreement)) => {
                    let term = self.terms.remove(at);
                    self.dropped.push(Dropped::new(term.facts.name, Why::Contradicts(agreement)));
                }
                None => break,
            }
        }
    }

    fn drop_where(&mut self, why: impl Fn(&Term) -> Option<Why>) {
        let dropped = &mut self.dropped;
        self.terms.retain(|term| {
            let why = why(term);
            dropped.extend(why.map(|why| Dropped::new(term.facts.name, why)));
            why.is_none()
        });
    }

    /// The rank correlation of one term with the weighted sum of the others.
    fn agreement(&self, at: usize, sample: &[SampleScores]) -> Option<f64> {
        let merit = |term: &Term, scores: &SampleScores| {
            Some(term.weight * term.ranking.merit(self.combine, scores.get(term.facts.name)?.value))
        };
        let (mut own, mut others) = (vec![], vec![]);
        for scores in sample {
            let merits: Option<Vec<f64>> = self.terms.iter().map(|term| merit(term, scores)).collect();
            if let Some(merits) = merits {
                own.push(merits[at]);
                others.push(merits.iter().sum::<f64>() - merits[at]);
            }
        }
        spearman(&own, &others)
    }
}

fn column(term: &Term, sample: &[SampleScores]) -> impl Iterator<Item = f64> {
    sample.iter().filter_map(|scores| Some(scores.get(term.facts.name)?.value))
}

/// The reliability of an indicator's mean over networks; none where there is but one.
pub(super) fn reliability(indicator: &str, sample: &[SampleScores]) -> Option<f64> {
    let scores: Vec<&[f64]> = sample.iter().filter_map(|s| Some(&s.get(indicator)?.networks[..])).collect();
    let networks = scores.iter().map(|networks| networks.len()).min()?;
    let of_network = |k: usize| scores.iter().map(|networks| networks[k]).collect::<Vec<f64>>();
    let pairs = (0..networks).flat_map(|a| (0..a).map(move |b| (a, b)));
    let agreements: Vec<f64> = pairs.map(|(a, b)| spearman(&of_network(a), &of_network(b)).unwrap_or(0.0)).collect();
    if agreements.is_empty() {
        return None;
    }
    let mean = agreements.iter().sum::<f64>() / agreements.len() as f64;
    let k = networks as f64;
    Some(k * mean / (1.0 + (k - 1.0) * mean))
}
