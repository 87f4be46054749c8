//! Random numbers of a training: each from the seed, what they are for, and a number, so that training that goes on draws what
//! it would have drawn.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// The generator of the `number`th draw for `purpose`.
pub(super) fn rng(seed: u64, purpose: &str, number: u64) -> ChaCha8Rng {
    let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(number.to_le_bytes());
    ChaCha8Rng::from_seed(digest.chain_update(purpose).finalize().into())
}
