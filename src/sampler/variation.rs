//! Drawing, crossing over and mutating genes that have no order among their choices.

use crate::genotype::Genotype;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// A genotype with each gene uniform over its choices.
pub fn sample(choices: &[usize], rng: &mut ChaCha8Rng) -> Genotype {
    Genotype::new(choices.iter().map(|&count| choice(count, rng)).collect())
}

/// Uniform crossover (Syswerda 1989): each gene from either parent with even chances.
pub fn cross_over(a: &Genotype, b: &Genotype, rng: &mut ChaCha8Rng) -> Genotype {
    let genes = a.genes().iter().zip(b.genes());
    Genotype::new(genes.map(|(&a, &b)| if rng.random::<bool>() { a } else { b }).collect())
}

/// With `probability`, each gene takes another of its choices, each as likely. A gene with one choice stays.
pub fn mutate(genotype: &Genotype, choices: &[usize], probability: f64, rng: &mut ChaCha8Rng) -> Genotype {
    let genes = genotype.genes().iter().zip(choices);
    let mutated = genes.map(|(&gene, &count)| {
        if count < 2 || !rng.random_bool(probability) {
            return gene;
        }
        let other = choice(count - 1, rng);
        if other < gene { other } else { other + 1 }
    });
    Genotype::new(mutated.collect())
}

/// With one gene changed to another of its choices: which, and to what, each as likely. As it is where there is no choice.
pub fn mutate_one(genotype: &Genotype, choices: &[usize], rng: &mut ChaCha8Rng) -> Genotype {
    let open: Vec<usize> = (0..choices.len()).filter(|&at| choices[at] > 1).collect();
    if open.is_empty() {
        return genotype.clone();
    }
    let at = open[rng.random_range(0..open.len() as u64) as usize];
    let other = choice(choices[at] - 1, rng);
    genotype.with_gene(at, if other < genotype.genes()[at] { other } else { other + 1 })
}

/// All genotypes that differ in one gene.
pub fn neighbours(genotype: &Genotype, choices: &[usize]) -> Vec<Genotype> {
    let genes = genotype.genes().iter().zip(choices).enumerate();
    let others = genes.flat_map(|(at, (&gene, &count))| {
        (0..count)
            .filter_map(|other| u8::try_from(other).ok())
            .filter(move |&other| other != gene)
            .map(move |other| (at, other))
    });
    others.map(|(at, other)| genotype.with_gene(at, other)).collect()
}

fn choice(count: usize, rng: &mut ChaCha8Rng) -> u8 {
    // u64: `usize` would draw other numbers on a 32-bit machine.
    u8::try_from(rng.random_range(0..count as u64)).expect("a decision has at most 256 choices")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    const CHOICES: [usize; 4] = [1, 2, 5, 256];

    /// How often each of four genes of 4,000 results of `vary` differs from what `vary` was given.
    fn changes(vary: impl Fn(&Genotype, &mut ChaCha8Rng) -> Genotype) -> [f64; 4] {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut changes = [0.0; 4];
        for _ in 0..4000 {
            let parent = sample(&CHOICES, &mut rng);
            let child = vary(&parent, &mut rng);
            for (at, change) in changes.iter_mut().enumerate() {
                assert!(usize::from(child.genes()[at]) < CHOICES[at]);
                *change += f64::from(u8::from(child.genes()[at] != parent.genes()[at])) / 4000.0;
            }
        }
        changes
    }

    #[test]
    fn mutation_changes_each_gene_with_its_probability() {
        let [only, rest @ ..] = changes(|parent, rng| mutate(parent, &CHOICES, 0.25, rng));
        assert_eq!(only, 0.0);
        assert!(rest.iter().all(|rate| (rate - 0.25).abs() < 0.03), "{rest:?}");
    }

    #[test]
    fn mutation_reaches_every_other_choice() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let parent = Genotype::new(vec![2]);
        let reached: std::collections::BTreeSet<u8> =
            (0..200).map(|_| mutate(&parent, &[5], 1.0, &mut rng).genes()[0]).collect();
        assert_eq!(reached, [0, 1, 3, 4].into());
    }

    #[test]
    fn one_gene_changes() {
        let changed = changes(|parent, rng| mutate_one(parent, &CHOICES, rng));
        assert_eq!(changed[0], 0.0);
        assert!(changed[1..].iter().all(|rate| (rate - 1.0 / 3.0).abs() < 0.03), "{changed:?}");
        let parent = Genotype::new(vec![0, 1, 2, 200]);
        let around = neighbours(&parent, &CHOICES);
        assert_eq!(around.len(), 1 + 4 + 255);
        assert!(
            around.iter().all(|other| other.genes().iter().zip(parent.genes()).filter(|(a, b)| a != b).count() == 1)
        );
    }

    #[test]
    fn crossover_takes_from_both() {
        let ones = Genotype::new(vec![1; 64]);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let child = cross_over(&ones, &Genotype::new(vec![2; 64]), &mut rng);
        let first = child.genes().iter().filter(|&&gene| gene == 1).count();
        assert!((16..=48).contains(&first) && child.genes().iter().all(|gene| [1, 2].contains(gene)), "{child:?}");
    }
}
