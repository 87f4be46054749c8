//! The attention of a transformer's layer: queries, keys and values are projections of the map by convolutions of single pixels, and
//! the result is projected back to as many channels as came in (Vaswani et al. 2017; Dosovitskiy et al. 2021).
//!
//! With a `reduction` r, keys and values are of a map that is smaller by r on each side: a convolution with windows of r × r
//! that do not overlap, and a layer normalisation (Wang et al. 2021, Pyramid Vision Transformer, Section 3.3).

use super::block::Scope;
use super::extent::Extent;
use crate::graph::{Attention, AttentionKind, Conv2d, GraphBuilder, GraphError, NodeId, Op, Window};
use serde::Deserialize;

/// An attention layer, as written in YAML.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AttentionLayer {
    heads: Extent,
    /// Channels of queries, keys and values, all heads together.
    #[serde(default = "Extent::same")]
    channels: Extent,
    #[serde(default = "softmax")]
    kind: AttentionKind,
    /// How much smaller the map of keys and values is, on each side.
    #[serde(default = "Extent::one")]
    reduction: Extent,
}

fn softmax() -> AttentionKind {
    AttentionKind::Softmax
}

impl AttentionLayer {
    /// Its numbers.
    pub(super) fn extents(&self) -> [&Extent; 3] {
        [&self.heads, &self.channels, &self.reduction]
    }

    /// Adds it behind `from`.
    pub(super) fn lower(
        &self,
        builder: &mut GraphBuilder,
        scope: &Scope<'_>,
        name: &str,
        from: NodeId,
    ) -> Result<NodeId, GraphError> {
        let same = builder.shape(from).channels();
        let resolve = |extent: &Extent| extent.resolve(scope, same);
        let (heads, channels, reduction) = (resolve(&self.heads), resolve(&self.channels), resolve(&self.reduction));
        let conv = |out_channels, window| Op::Conv2d(Conv2d { out_channels, window, groups: 1, bias: true });
        let project = |out_channels| conv(out_channels, Window::same(1, 1));
        let mut looked_at = from;
        if reduction > 1 {
            let window = Window::new([reduction; 2], [reduction; 2], [0; 2], [1; 2]);
            looked_at = builder.push(format!("{name}.reduction"), conv(same, window), &[from])?;
            looked_at = builder.push(format!("{name}.reduction_norm"), Op::LayerNorm, &[looked_at])?;
        }
        let mut projected = vec![];
        for (part, of) in [("queries", from), ("keys", looked_at), ("values", looked_at)] {
            projected.push(builder.push(format!("{name}.{part}"), project(channels), &[of])?);
        }
        let op = Op::Attention(Attention { heads, kind: self.kind });
        let looked = builder.push(name, op, &projected)?;
        builder.push(format!("{name}.projection"), project(same), &[looked])
    }
}
