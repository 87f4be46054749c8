//! Layer normalisation and attention, forward and back, in Candle operations: maps `[batch, channels, height, width]` whose
//! pixels are a transformer's tokens.
//!
//! Forward they are differentiable. The ways back are for cotangents folded into the batch, `[cotangents · batch, …]` as in
//! [`super::reverse`], which share the batch's activations. With P = softmax(QᵀK / √d), Y = V Pᵀ and G the cotangent of Y,
//! dV = G P, dS = P ∘ (GᵀV − rowsum(P ∘ GᵀV)) / √d, dQ = K dSᵀ, dK = Q dS. A linear attention is the quotient of
//! S φ(Q), S = V φ(K)ᵀ, and zᵀ φ(Q) + ε, z = Σ φ(K), φ = max(·, 0).

use crate::graph::{Attention, AttentionKind, LAYER_NORM_EPS, LINEAR_ATTENTION_EPS};
use crate::kernels;
use candle_core::{D, Result, Tensor};

/// Layer normalisation of every pixel of `x`, `scale` and `shift` `[channels]`.
pub(super) fn layer_norm(x: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<Tensor> {
    let (normal, _) = normalised(x)?;
    normal.broadcast_mul(&of_channels(scale)?)?.broadcast_add(&of_channels(shift)?)
}

/// The gradients of a layer normalisation's input, in `cotangent`'s shape, and of its scale, `[cotangents, channels]`.
pub(super) fn layer_norm_gradients(x: &Tensor, scale: &Tensor, cotangent: &Tensor) -> Result<[Tensor; 2]> {
    let (batch, channels, height, width) = x.dims4()?;
    let (normal, deviation) = normalised(x)?;
    let of_scale = kernels::times_shared(cotangent, &normal)?;
    let of_scale = of_scale.reshape(((), batch, channels, height * width))?.sum(3)?.sum(1)?;
    let g = cotangent.broadcast_mul(&of_channels(scale)?)?.reshape(((), batch, channels, height * width))?;
    let normal = normal.reshape((1, batch, channels, height * width))?;
    let along = g.broadcast_mul(&normal)?.mean_keepdim(2)?;
    let down = (g.broadcast_sub(&g.mean_keepdim(2)?)? - along.broadcast_mul(&normal)?)?;
    let down = down.broadcast_div(&deviation.reshape((1, batch, 1, height * width))?)?;
    Ok([down.reshape(cotangent.dims())?, of_scale])
}

/// `x` normalised, and the deviations of its pixels, `[batch, 1, height, width]`.
fn normalised(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let centred = x.broadcast_sub(&x.mean_keepdim(1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(1)? + LAYER_NORM_EPS)?.sqrt()?;
    Ok((centred.broadcast_div(&deviation)?, deviation))
}

fn of_channels(values: &Tensor) -> Result<Tensor> {
    values.reshape((1, (), 1, 1))
}

/// Attention of q, k and v.
pub(super) fn attention(attention: Attention, [q, k, v]: [&Tensor; 3]) -> Result<Tensor> {
    let (batch, _, height, width) = q.dims4()?;
    let channels = v.dim(1)?;
    let [q, k, v] = heads(attention, [q, k, v])?;
    let result = match attention.kind {
        AttentionKind::Softmax => v.matmul(&softmax(&q, &k)?.t()?)?,
        AttentionKind::Linear => {
            let [_, _, _, norm, result] = linear([&q, &k, &v])?;
            result.broadcast_div(&norm)?
        }
    };
    result.reshape((batch, channels, height, width))
}

/// The gradients of q, k and v, each `[cotangents · batch, channels, height, width]`.
pub(super) fn attention_gradients(
    attention: Attention,
    operands: [&Tensor; 3],
    cotangent: &Tensor,
) -> Result<[Tensor; 3]> {
    let [q, k, v] = heads(attention, operands)?;
    let (batch, heads, features, pixels) = q.dims4()?;
    let values = v.dim(2)?;
    // [batch, heads, cotangents, rows, columns], so that one product is of all cotangents with what they share.
    let all = cotangent.reshape(((), batch, heads, values, pixels))?.permute((1, 2, 0, 3, 4))?.contiguous()?;
    let count = all.dim(2)?;
    let apart = |rows: Tensor, dims: [usize; 2]| rows.reshape((batch, heads, count, dims[0], dims[1]));
    let times = |rows: &Tensor, shared: &Tensor| -> Result<Tensor> {
        let (inside, columns) = (rows.dim(4)?, shared.dim(3)?);
        let result = rows.contiguous()?.reshape((batch, heads, (), inside))?.matmul(shared)?;
        apart(result, [rows.dim(3)?, columns])
    };
    let turned = |all: &Tensor| all.transpose(3, 4);
    let [of_q, of_k, of_v] = match attention.kind {
        AttentionKind::Softmax => {
            let weights = softmax(&q, &k)?;
            let of_v = times(&all, &weights)?;
            let of_weights = times(&turned(&all)?, &v)?.broadcast_mul(&weights.unsqueeze(2)?)?;
            let sums = of_weights.sum_keepdim(4)?;
            let of_scores = (of_weights - sums.broadcast_mul(&weights.unsqueeze(2)?)?)?;
            let of_scores = (of_scores / (features as f64).sqrt())?;
            let of_q = times(&of_scores, &k.t()?)?;
            let of_k = times(&turned(&of_scores)?, &q.t()?)?;
            [turned(&of_q)?, turned(&of_k)?, of_v]
        }
        AttentionKind::Linear => {
            let [on_q, on_k] = [&q, &k].map(|x| x.gt(0f64)?.to_dtype(x.dtype())?.unsqueeze(2));
            let [k, state, total, norm, result] = linear([&q, &k, &v])?;
            let q = kernels::relu(&q)?;
            let result = result.broadcast_div(&norm)?.unsqueeze(2)?;
            let of_numerator = all.broadcast_div(&norm.unsqueeze(2)?)?;
            // [batch, heads, cotangents, 1, pixels]
            let of_norm = of_numerator.broadcast_mul(&result)?.sum_keepdim(3)?.neg()?;
            let of_q = (times(&turned(&of_numerator)?, &state)? + times(&turned(&of_norm)?, &total.t()?)?)?;
            let of_state = times(&of_numerator, &q.t()?)?;
            let of_total = times(&of_norm, &q.t()?)?;
            let of_v = times(&of_state, &k)?;
            let of_k = times(&turned(&of_state)?, &v)?.broadcast_add(&turned(&of_total)?)?;
            [turned(&of_q)?.broadcast_mul(&on_q?)?, of_k.broadcast_mul(&on_k?)?, of_v]
        }
    };
    let map = |gradient: Tensor, like: &Tensor| {
        let (_, channels, height, width) = like.dims4()?;
        gradient.permute((2, 0, 1, 3, 4))?.contiguous()?.reshape((count * batch, channels, height, width))
    };
    Ok([map(of_q, operands[0])?, map(of_k, operands[1])?, map(of_v, operands[2])?])
}

/// `[batch, heads, channels of a head, pixels]` of each.
fn heads(attention: Attention, operands: [&Tensor; 3]) -> Result<[Tensor; 3]> {
    let split = |map: &Tensor| {
        let (batch, channels, height, width) = map.dims4()?;
        map.contiguous()?.reshape((batch, attention.heads, channels / attention.heads, height * width))
    };
    let [q, k, v] = operands.map(split);
    Ok([q?, k?, v?])
}

/// P, `[batch, heads, pixels of q, pixels of k]`.
fn softmax(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    let scores = (q.t()?.matmul(k)? / (q.dim(2)? as f64).sqrt())?;
    candle_nn::ops::softmax(&scores, D::Minus1)
}

/// φ(K), S `[…, values, features]`, z `[…, features, 1]`, zᵀ φ(Q) + ε `[…, 1, pixels]`, and S φ(Q).
fn linear([q, k, v]: [&Tensor; 3]) -> Result<[Tensor; 5]> {
    let (q, k) = (kernels::relu(q)?, kernels::relu(k)?);
    let (state, total) = (v.matmul(&k.t()?)?, k.sum_keepdim(3)?);
    let norm = (total.t()?.matmul(&q)? + LINEAR_ATTENTION_EPS)?;
    let result = state.matmul(&q)?;
    Ok([k, state, total, norm, result])
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    const SOFTMAX: [f32; 16] = [
        -0.715871, -0.731864, -0.588669, -0.617727, 0.209098, 0.196255, 0.049771, 0.102771, 0.068192, 0.177623,
        0.190365, 0.167914, -0.597314, -0.722067, -0.727757, -0.70223,
    ];
    const LINEAR: [f32; 16] = [
        0.0, -0.833331, -0.199999, 0.0, 0.0, 0.133333, -0.399998, 0.0, -0.399999, 0.199999, 0.0, 0.0, -0.199999,
        -0.849997, 0.0, 0.0,
    ];
    const LAYER_NORM: [f32; 16] = [
        -1.183212, -0.999996, 1.521272, 0.904524, -0.66194, 0.999993, -2.014181, -4.015078, -0.003545, 0.749998,
        0.334515, 0.702262, 1.478728, 3.999996, 4.183212, 3.301508,
    ];

    fn map(value: fn(i64) -> f32, dims: [usize; 4]) -> Tensor {
        let values: Vec<f32> = (0..dims.iter().product::<usize>() as i64).map(value).collect();
        Tensor::from_vec(values, &dims[..], &Device::Cpu).unwrap()
    }

    #[track_caller]
    fn assert_values(found: &Tensor, expected: &[f32]) {
        let found = found.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}");
    }

    // import numpy as np
    // q = (np.arange(16) ** 2 % 7).reshape(1, 2, 2, 4) / 4 - 0.6
    // k = (np.arange(12) ** 3 % 5).reshape(1, 2, 2, 3) / 3 - 0.5
    // v = (np.arange(12) ** 2 % 11).reshape(1, 2, 2, 3) / 5 - 1.0
    // s = np.einsum('bhdn,bhdm->bhnm', q, k) / np.sqrt(2)
    // p = np.exp(s) / np.exp(s).sum(-1, keepdims=True)
    // print(np.einsum('bhnm,bhdm->bhdn', p, v).ravel().round(6).tolist())
    // a = np.einsum('bhdn,bhdm->bhnm', np.maximum(q, 0), np.maximum(k, 0))
    // print(np.einsum('bhnm,bhdm->bhdn', a / (a.sum(-1, keepdims=True) + 1e-6), v).ravel().round(6).tolist())
    // x = q.reshape(1, 4, 1, 4); m = x.mean(1, keepdims=True); y = (x - m) / np.sqrt(x.var(1, keepdims=True) + 1e-6)
    // print((y * np.array([1, 2, 0.5, -1])[:, None, None] + np.array([0, -1, 0.25, 3])[:, None, None]).ravel().round(6).tolist())
    #[test]
    fn values_are_numpys() {
        let q = map(|i| (i * i % 7) as f32 / 4.0 - 0.6, [1, 4, 2, 2]);
        let k = map(|i| (i * i * i % 5) as f32 / 3.0 - 0.5, [1, 4, 1, 3]);
        let v = map(|i| (i * i % 11) as f32 / 5.0 - 1.0, [1, 4, 1, 3]);
        let of = |kind| attention(Attention { heads: 2, kind }, [&q, &k, &v]).unwrap();
        assert_values(&of(AttentionKind::Softmax), &SOFTMAX);
        assert_values(&of(AttentionKind::Linear), &LINEAR);
        let channels = |values: [f32; 4]| Tensor::new(&values, &Device::Cpu).unwrap();
        let x = q.reshape((1, 4, 1, 4)).unwrap();
        let normal = layer_norm(&x, &channels([1.0, 2.0, 0.5, -1.0]), &channels([0.0, -1.0, 0.25, 3.0])).unwrap();
        assert_values(&normal, &LAYER_NORM);
    }
}
