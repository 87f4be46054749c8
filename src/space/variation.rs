//! How genotypes are drawn and changed where it is the space that says so.

use super::{SearchSpace, Topology};
use crate::genotype::Genotype;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

impl SearchSpace {
    /// A genotype each of whose genes is drawn uniformly, or as the space [draws by itself](Self::own_variation). (Where depths are chosen, a shallow
    /// architecture is therefore more likely than one of many equally deep ones.) Those that don't keep to the constraints are
    /// drawn again.
    pub fn sample(&self, rng: &mut ChaCha8Rng) -> Genotype {
        loop {
            let drawn = self.draw(rng);
            if self.violation(&drawn).is_none() {
                return drawn;
            }
        }
    }

    pub(super) fn draw(&self, rng: &mut ChaCha8Rng) -> Genotype {
        if self.own_variation().0
            && let Some(drawn) = self.draw_own(rng.random())
        {
            return drawn;
        }
        self.canonical(&Genotype::new(self.choices.iter().map(|&choices| rng.random_range(0..choices) as u8).collect()))
    }

    /// Whether the space draws by itself, and whether it changes genotypes. A plugin does what it can. A space around a model draws from the whole
    /// model to the smallest part: of the genes, a share that is drawn first stays as the model is, the others are uniform. Of genes that are
    /// all uniform, nearly every network would have lost too much to tell one from another.
    pub fn own_variation(&self) -> (bool, bool) {
        match &self.topology {
            Topology::Pretrained(_) => (true, false),
            _ => self.plugin_varies(),
        }
    }

    /// A genotype as the space draws it by itself; none where it does not.
    pub(crate) fn draw_own(&self, seed: u64) -> Option<Genotype> {
        match &self.topology {
            Topology::Pretrained(of) => {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let share: f64 = rng.random();
                let gene = |(whole, &choices): (Option<u8>, &usize)| match whole {
                    Some(whole) if rng.random_bool(share) => whole,
                    _ => rng.random_range(0..choices) as u8,
                };
                Some(self.canonical(&Genotype::new(of.whole().into_iter().zip(&self.choices).map(gene).collect())))
            }
            _ => self.draw_by_plugin(seed),
        }
    }

    /// A genotype as the space changes it by itself; none where it does not.
    pub(crate) fn mutate_own(&self, genotype: &Genotype, seed: u64) -> Option<Genotype> {
        self.mutate_by_plugin(genotype, seed)
    }
}
