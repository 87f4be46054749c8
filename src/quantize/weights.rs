//! Weights and biases as integers.

use super::{Precision, QuantizeError};

/// A weight as integers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct IntegerWeight {
    /// Signed where symmetric, unsigned where not; 8 bits each.
    pub values: Vec<i32>,
    /// One for each output channel, or one for all.
    pub scales: Vec<f32>,
    /// 0 where symmetric.
    pub zero_point: i32,
}

/// Rounds a weight. `channel_of` says which of `channels` outputs an element belongs to, `bias` holds theirs,
/// `input_scale` that of the layer's input: a scale is large enough for the bias to fit into 32 bits.
pub(super) fn round_weight(
    weight: &[f32],
    channels: usize,
    channel_of: impl Fn(usize) -> usize,
    (bias, input_scale): (Option<&[f32]>, f32),
    (precision, reduce_range): (Precision, bool),
    name: &str,
) -> Result<IntegerWeight, QuantizeError> {
    if let Some(odd) = weight.iter().chain(bias.unwrap_or(&[])).find(|value| !value.is_finite()) {
        return Err(QuantizeError::Range {
            value: name.to_owned(),
            reason: format!("it holds {odd}, expected numbers"),
        });
    }
    // Half of what 32 bits hold, so that products that are added to it have room.
    let least = |channel: usize| {
        let bias = bias.map_or(0.0, |bias| f64::from(bias[channel]).abs());
        ((bias / (f64::from(input_scale) * f64::from(1 << 30))) as f32).max(f32::MIN_POSITIVE)
    };
    if precision == Precision::Asymmetric {
        let (low, high) = weight.iter().fold((0f32, 0f32), |(low, high), &value| (low.min(value), high.max(value)));
        let steps = if reduce_range { 127.0 } else { 255.0 };
        let least = (0..channels).map(least).fold(f32::MIN_POSITIVE, f32::max);
        let scale = ((high - low) / steps).max(least);
        let zero_point = (-low / scale).round().clamp(0.0, steps) as i32;
        let round = |&value: &f32| ((value / scale).round_ties_even() as i32 + zero_point).clamp(0, steps as i32);
        return Ok(IntegerWeight { values: weight.iter().map(round).collect(), scales: vec![scale], zero_point });
    }
    let steps = if reduce_range { 63.0 } else { 127.0 };
    let mut largest = vec![0f32; channels];
    for (at, value) in weight.iter().enumerate() {
        let largest = &mut largest[channel_of(at)];
        *largest = largest.max(value.abs());
    }
    let scales: Vec<f32> =
        largest.iter().enumerate().map(|(channel, largest)| (largest / steps).max(least(channel))).collect();
    let round = |(at, &value): (usize, &f32)| {
        let scaled = value / scales[channel_of(at)];
        scaled.round_ties_even().clamp(-steps, steps) as i32
    };
    Ok(IntegerWeight { values: weight.iter().enumerate().map(round).collect(), scales, zero_point: 0 })
}

/// Rounds a bias; gives the integers and their scales, one for each channel.
pub(super) fn round_bias(bias: &[f32], input_scale: f32, weight_scales: &[f32]) -> (Vec<i32>, Vec<f32>) {
    let scale_of = |channel: usize| input_scale * weight_scales[if weight_scales.len() == 1 { 0 } else { channel }];
    let scales: Vec<f32> = (0..bias.len()).map(scale_of).collect();
    let round = |(&bias, &scale): (&f32, &f32)| (f64::from(bias) / f64::from(scale)).round_ties_even() as i32;
    (bias.iter().zip(&scales).map(round).collect(), scales)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(weight: &[f32], bias: Option<&[f32]>, precision: Precision, reduce_range: bool) -> IntegerWeight {
        round_weight(weight, 2, |at| at / 2, (bias, 0.1), (precision, reduce_range), "w").unwrap()
    }

    #[test]
    fn weights_are_rounded_by_channel_or_as_a_whole() {
        let weight = [1.27, -0.634, 0.02, 0.254];
        let symmetric = round(&weight, None, Precision::Symmetric, false);
        assert_eq!((symmetric.values, symmetric.zero_point), (vec![127, -63, 10, 127], 0));
        assert!((symmetric.scales[0] - 0.01).abs() < 1e-8 && (symmetric.scales[1] - 0.002).abs() < 1e-8);
        let reduced = round(&weight, None, Precision::Symmetric, true);
        assert_eq!(reduced.values, [63, -31, 5, 63]);
        let asymmetric = round(&[1.55, -1.0, 0.02, 0.254], None, Precision::Asymmetric, false);
        assert_eq!((asymmetric.values, asymmetric.zero_point), (vec![255, 0, 102, 125], 100));
    }

    #[test]
    fn a_bias_fits_beside_weights_of_nothing() {
        let IntegerWeight { values, scales, .. } =
            round(&[0.0, 0.0, 1.0, 1.0], Some(&[5.0, -1.0]), Precision::Symmetric, false);
        assert_eq!(values[..2], [0, 0]);
        let (bias, scales) = round_bias(&[5.0, -1.0], 0.1, &scales);
        for ((rounded, scale), expected) in bias.iter().zip(scales).zip([5.0, -1.0]) {
            assert!((*rounded as f32 * scale - expected).abs() < 1e-3, "{rounded} × {scale} is not {expected}");
        }
        let nan = round_weight(&[f32::NAN], 1, |_| 0, (None, 1.0), (Precision::Symmetric, false), "w").unwrap_err();
        assert_eq!(nan.to_string(), "value `w`: it holds NaN, expected numbers");
    }
}
