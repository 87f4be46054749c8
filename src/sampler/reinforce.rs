//! REINFORCE with TEG-NAS's reward (Williams 1992; Chen et al. 2021, released code `reinforce.py` and its reward generator).
//!
//! A softmax policy for each decision, logits 0.001 · N(0, 1). A step draws an architecture, and with its costs c, the step
//! before's c′, and the last `buffer` steps:
//! reward = − Σ_j (c_j − c′_j) / (max_j − min_j + 10⁻⁶), 0 at the first step; the advantage is what it exceeds the
//! moving average of rewards by (`baseline`, bias corrected, this reward included); Adam follows the log probability's gradient.
//! Each objective is a buffer of its own: a scalar reward of any number of objectives.
//!
//! A trial that fails or breaks a constraint counts as the worst cost seen so far in each objective, and the violation
//! is one more buffer, so that less of it is better. An architecture that the policy draws again is a step with the costs
//! known, and no trial. When the policy draws nothing new any more, one architecture is drawn uniformly.

use super::draws::Draws;
use super::rounds::{InRounds, Rounds, Told};
use super::{Problem, Sampler, SamplerError, at_least};
use crate::genotype::{ArchId, Genotype};
use crate::objective::ObjectiveVector;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Steps without a new architecture before one is drawn uniformly.
const PATIENCE: usize = 200;

/// How the policy learns. The defaults are those of the released code for NAS-Bench-201; it has a learning rate of 0.07
/// for DARTS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReinforceOptions {
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// Momentum of the rewards' moving average.
    pub baseline: f64,
    /// Steps whose span a change is relative to.
    pub buffer: usize,
    /// Architectures that the policy draws at once; the gradient is their sum.
    pub batch: usize,
}

impl Default for ReinforceOptions {
    fn default() -> Self {
        Self { learning_rate: 0.04, baseline: 0.9, buffer: 10, batch: 1 }
    }
}

impl ReinforceOptions {
    /// The search at its start.
    ///
    /// # Errors
    /// If an option is out of its range.
    pub fn sampler(&self, problem: &Problem, seed: u64) -> Result<Box<dyn Sampler>, SamplerError> {
        at_least("buffer", self.buffer, 2)?;
        at_least("batch", self.batch, 1)?;
        let (rate, baseline) = (self.learning_rate, self.baseline);
        if !(rate > 0.0 && rate.is_finite()) {
            return Err(SamplerError::Option { field: "learning_rate", value: rate, expected: "more than 0" });
        }
        if !(0.0..1.0).contains(&baseline) {
            return Err(SamplerError::Option { field: "baseline", value: baseline, expected: "0 to below 1" });
        }
        // Numbers of their own, so that the first trials don't depend on how many logits there are.
        let mut noise = ChaCha8Rng::seed_from_u64(seed);
        noise.set_stream(1);
        Ok(Box::new(InRounds::new(Reinforce {
            options: self.clone(),
            policy: Policy::new(problem.space.choices(), &mut noise),
            draws: Draws::new(problem.space.clone()),
            rng: ChaCha8Rng::seed_from_u64(seed),
            known: HashMap::new(),
            drawn: vec![],
            history: History::new(problem.objectives),
            baseline: [0.0; 2],
        })))
    }
}

struct Reinforce {
    options: ReinforceOptions,
    policy: Policy,
    draws: Draws,
    rng: ChaCha8Rng,
    known: HashMap<ArchId, Option<ObjectiveVector>>,
    /// What the policy has drawn for the round that is asked for.
    drawn: Vec<Genotype>,
    history: History,
    /// Numerator and denominator of the rewards' moving average.
    baseline: [f64; 2],
}

impl Rounds for Reinforce {
    fn name(&self) -> &'static str {
        "reinforce"
    }

    fn next(&mut self, told: Vec<Told>) -> Vec<Genotype> {
        for Told { genotype, vector } in told {
            if let Some(id) = self.draws.space().id(&genotype) {
                self.known.insert(id, vector);
            }
        }
        for _ in 0..PATIENCE {
            self.learn();
            self.drawn = (0..self.options.batch).map(|_| self.policy.draw(&mut self.rng)).collect();
            let new: Vec<Genotype> = self.drawn.iter().filter(|drawn| self.draws.take(drawn)).cloned().collect();
            if !new.is_empty() {
                return new;
            }
        }
        self.learn();
        let new: Vec<Genotype> = self.draws.draw(&mut self.rng).into_iter().collect();
        self.drawn.clone_from(&new);
        new
    }
}

impl Reinforce {
    /// A step of the policy for what it has drawn, all of which is known by now.
    fn learn(&mut self) {
        let drawn = std::mem::take(&mut self.drawn);
        if drawn.is_empty() {
            return;
        }
        let mut gradient = self.policy.zeros();
        for genotype in drawn {
            // What can't be built fails.
            let id = self.draws.space().id(&genotype);
            let outcome = id.and_then(|id| self.known.get(&id)).and_then(Option::as_ref);
            let reward = self.history.reward(outcome, self.options.buffer);
            let momentum = self.options.baseline;
            let [sum, weight] = self.baseline;
            self.baseline = [momentum * sum + (1.0 - momentum) * reward, momentum * weight + (1.0 - momentum)];
            let advantage = reward - self.baseline[0] / self.baseline[1];
            self.policy.add_gradient(&mut gradient, &genotype, advantage);
        }
        self.policy.step(&gradient, self.options.learning_rate);
    }
}

/// The costs of all steps; the last buffer is the violation.
struct History {
    /// Of each buffer, the known costs and the unknown ones.
    buffers: Vec<Vec<Option<f64>>>,
    /// The greatest cost of each buffer.
    worst: Vec<Option<f64>>,
}

impl History {
    fn new(objectives: usize) -> Self {
        Self { buffers: vec![vec![]; objectives + 1], worst: vec![None; objectives + 1] }
    }

    /// Takes in a step and gives its reward.
    fn reward(&mut self, outcome: Option<&ObjectiveVector>, window: usize) -> f64 {
        let objectives = self.buffers.len() - 1;
        let feasible = outcome.filter(|vector| vector.is_feasible());
        for at in 0..=objectives {
            let cost = match at < objectives {
                true => feasible.map(|vector| vector.costs()[at]),
                false => outcome.map(ObjectiveVector::violation),
            };
            self.buffers[at].push(cost);
            self.worst[at] = self.worst[at].into_iter().chain(cost).reduce(f64::max);
        }
        let change = |(buffer, worst): (&Vec<Option<f64>>, &Option<f64>)| {
            let value = |cost: &Option<f64>| cost.or(*worst).unwrap_or(0.0);
            let recent: Vec<f64> = buffer[buffer.len().saturating_sub(window)..].iter().map(value).collect();
            let [.., before, now] = recent[..] else { return 0.0 };
            let high = recent.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let low = recent.iter().copied().fold(f64::INFINITY, f64::min);
            (now - before) / (high - low + 1e-6)
        };
        -self.buffers.iter().zip(&self.worst).map(change).sum::<f64>()
    }
}

/// A softmax for each decision, and Adam's moments (Kingma and Ba 2015, β 0.9 and 0.999).
struct Policy {
    logits: Vec<Vec<f64>>,
    moments: [Vec<Vec<f64>>; 2],
    steps: i32,
}

impl Policy {
    fn new(choices: &[usize], rng: &mut ChaCha8Rng) -> Self {
        let logits: Vec<Vec<f64>> =
            choices.iter().map(|&count| (0..count).map(|_| 1e-3 * normal(rng)).collect()).collect();
        let zeros: Vec<Vec<f64>> = choices.iter().map(|&count| vec![0.0; count]).collect();
        Self { logits, moments: [zeros.clone(), zeros], steps: 0 }
    }

    fn zeros(&self) -> Vec<Vec<f64>> {
        self.logits.iter().map(|logits| vec![0.0; logits.len()]).collect()
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> Genotype {
        let choose = |logits: &Vec<f64>| {
            let mut left = rng.random::<f64>();
            let chances = softmax(logits);
            let chosen = chances.iter().position(|chance| {
                left -= chance;
                left < 0.0
            });
            u8::try_from(chosen.unwrap_or(chances.len() - 1)).expect("a decision has at most 256 choices")
        };
        Genotype::new(self.logits.iter().map(choose).collect())
    }

    /// Adds the gradient of − `advantage` · log probability of `genotype`.
    fn add_gradient(&self, gradient: &mut [Vec<f64>], genotype: &Genotype, advantage: f64) {
        for ((logits, gradient), &gene) in self.logits.iter().zip(gradient).zip(genotype.genes()) {
            for (choice, (chance, slope)) in softmax(logits).into_iter().zip(gradient).enumerate() {
                let taken = f64::from(u8::from(choice == usize::from(gene)));
                *slope -= advantage * (taken - chance);
            }
        }
    }

    fn step(&mut self, gradient: &[Vec<f64>], rate: f64) {
        self.steps += 1;
        let [first, second] = &mut self.moments;
        let [correct, correct_second] = [0.9f64, 0.999].map(|beta| 1.0 - beta.powi(self.steps));
        let logits = self.logits.iter_mut().flatten();
        let moments = first.iter_mut().flatten().zip(second.iter_mut().flatten());
        for ((logit, slope), (first, second)) in logits.zip(gradient.iter().flatten()).zip(moments) {
            *first = 0.9 * *first + 0.1 * slope;
            *second = 0.999 * *second + 0.001 * slope * slope;
            *logit -= rate * (*first / correct) / ((*second / correct_second).sqrt() + 1e-8);
        }
    }
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let high = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|logit| (logit - high).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// A number of the standard normal distribution (Box and Muller 1958).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (radius, angle) = (1.0 - rng.random::<f64>(), rng.random::<f64>());
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The released reward generator's arithmetic, of costs [3, 5, 4] and [1, 1, 2] in a buffer of 2 and of 10:
    // step 0 → 0; 1 → −((5−3)/(2+1e-6) + 0); 2 → −((4−5)/(1+1e-6) + (2−1)/(1+1e-6)); with 10: −(−1/(2+1e-6) + 1/(1+1e-6)).
    #[test]
    fn rewards_are_relative_changes() {
        let rewards = |window: usize| {
            let mut history = History::new(2);
            [[3.0, 1.0], [5.0, 1.0], [4.0, 2.0]]
                .map(|costs| history.reward(Some(&ObjectiveVector::feasible(costs.to_vec())), window))
        };
        let close = |found: [f64; 3], expected: [f64; 3]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 2e-6);
        assert!(close(rewards(2), [0.0, -1.0, 0.0]), "{:?}", rewards(2));
        assert!(close(rewards(10), [0.0, -1.0, -0.5]), "{:?}", rewards(10));
    }

    #[test]
    fn what_fails_is_as_bad_as_the_worst() {
        let mut history = History::new(1);
        let mut reward = |cost: Option<f64>| {
            let vector = cost.map(|cost| ObjectiveVector::feasible(vec![cost]));
            history.reward(vector.as_ref(), 10)
        };
        assert_eq!(reward(None), 0.0);
        // The failure is re-scored: 7, and 2 at the next step, which is 7 by then as well.
        assert_eq!(reward(Some(7.0)), 0.0);
        assert!(reward(Some(2.0)) > 0.99 && reward(None) < -0.99);
    }

    #[test]
    fn the_policy_goes_where_the_reward_is() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut policy = Policy::new(&[3, 2], &mut rng);
        for _ in 0..200 {
            let genotype = policy.draw(&mut rng);
            let mut gradient = policy.zeros();
            let advantage = if genotype.genes()[0] == 2 { 1.0 } else { -1.0 };
            policy.add_gradient(&mut gradient, &genotype, advantage);
            policy.step(&gradient, 0.04);
        }
        assert!(softmax(&policy.logits[0])[2] > 0.9, "{:?}", policy.logits);
    }
}
