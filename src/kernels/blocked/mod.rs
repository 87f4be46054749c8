//! Maps whose channels are the lanes of vectors, sixteen a block: `[batch, blocks, height, width]` of [`Lane`]s.
//!
//! What training does to a map is done to sixteen channels at once: a convolution multiplies one number of its input by the
//! weights of sixteen output channels, and normalisation, activations and pooling go pixel by pixel, without shuffles
//! or sums across a vector. Lanes behind the last channel are zero wherever it matters.

mod conv;
mod dense;
mod depthwise;
mod pointwise;
mod sums;
mod window;

pub(crate) use conv::{Convolutions, Packed, WeightPlan, blocks};
pub(crate) use depthwise::{Depthwise, PackedTaps, lanes_of};
pub(crate) use pointwise::{Affine, Term, View, scale_pixels, through_view, write_terms, write_view};
pub(crate) use sums::{add_sums, moments};
pub(crate) use window::{Frame, Slide};

use super::lanes::{KeptMemory, LANES, Lane};

/// The memory of maps, used again by the next step. A thread keeps 2 GiB: a step's maps are all alive at its turning point.
pub(crate) type Memory = KeptMemory<{ 1 << 25 }>;

/// One sample `[channels, pixels]` as lanes.
pub(crate) fn to_blocks(from: &[f32], pixels: usize, to: &mut [Lane]) {
    let channels = from.len() / pixels;
    for (block, plane) in to.chunks_exact_mut(pixels).enumerate() {
        let first = block * LANES;
        let here = LANES.min(channels - first);
        for (pixel, lane) in plane.iter_mut().enumerate() {
            let value = |at: usize| if at < here { from[(first + at) * pixels + pixel] } else { 0.0 };
            *lane = Lane(std::array::from_fn(value));
        }
    }
}

/// One sample's lanes as `[channels, pixels]`.
pub(crate) fn from_blocks(from: &[Lane], pixels: usize, to: &mut [f32]) {
    for (channel, plane) in to.chunks_exact_mut(pixels).enumerate() {
        let (block, lane) = (channel / LANES, channel % LANES);
        plane.iter_mut().zip(&from[block * pixels..]).for_each(|(to, from)| *to = from.0[lane]);
    }
}
