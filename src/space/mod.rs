//! What may be chosen: search spaces, read from `models/*.yaml`.

use crate::genotype::{ArchId, Genotype};
use crate::graph::{Graph, GraphError};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
