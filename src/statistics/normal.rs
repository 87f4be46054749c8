//! The standard normal distribution.

/// 1 / √(2π)
const PEAK: f64 = 0.398_942_280_401_432_7;

/// Its density at `x`.
pub fn normal_density(x: f64) -> f64 {
    PEAK * (-0.5 * x * x).exp()
}

/// The probability of less than `x`, within 1e-15, and in its far tail to eight digits (Hart 1968, algorithm 5666, as West 2005 gives it: "Better
/// approximations to cumulative normal functions").
pub fn normal_cumulative(x: f64) -> f64 {
    const ABOVE: [f64; 7] = [
        3.526_249_659_989_11e-2,
        0.700_383_064_443_688,
        6.373_962_203_531_65,
        33.912_866_078_383,
        112.079_291_497_871,
        221.213_596_169_931,
        220.206_867_912_376,
    ];
    const BELOW: [f64; 8] = [
        8.838_834_764_831_84e-2,
        1.755_667_163_182_64,
        16.064_177_579_207,
        86.780_732_202_946_1,
        296.564_248_779_674,
        637.333_633_378_831,
        793.826_512_519_948,
        440.413_735_824_752,
    ];
    let z = x.abs();
    let horner = |coefficients: &[f64]| coefficients.iter().fold(0.0, |sum, coefficient| sum * z + coefficient);
    let tail = if z > 37.0 {
        0.0
    } else if z < 50f64.sqrt() {
        (-0.5 * z * z).exp() * horner(&ABOVE) / horner(&BELOW)
    } else {
        let fraction = (1..=4).rev().fold(z + 0.65, |sum, k| z + f64::from(k) / sum);
        normal_density(z) / fraction
    };
    if x > 0.0 { 1.0 - tail } else { tail }
}

/// Where the probability of less is `p`; infinite for 0 and 1. Acklam's rational approximation (2003) and one step of
/// Halley's rule.
///
/// # Panics
/// If `p` is not in 0 to 1.
pub fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] =
        [7.784_695_709_041_462e-3, 3.224_671_290_700_398e-1, 2.445_134_137_142_996, 3.754_408_661_907_416, 1.0];
    assert!((0.0..=1.0).contains(&p), "{p} is no probability");
    if p == 0.0 || p == 1.0 {
        return if p == 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    if p > 0.5 {
        return -normal_quantile(1.0 - p);
    }
    let horner = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    let x = if p < 0.02425 {
        let q = (-2.0 * p.ln()).sqrt();
        horner(&C, q) / horner(&D, q)
    } else {
        let q = p - 0.5;
        q * horner(&A, q * q) / horner(&B, q * q)
    };
    let step = (normal_cumulative(x) - p) / normal_density(x);
    x - step / (1.0 + 0.5 * x * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    // from scipy.stats import norm
    // for x in (-9, -3.2, 0, .7, 2.5): print(norm.cdf(x), norm.pdf(x))
    #[test]
    fn they_are_scipys() {
        let check = |x: f64, cumulative: f64, density: f64| {
            assert!((normal_cumulative(x) / cumulative - 1.0).abs() < 1e-8, "{}", normal_cumulative(x));
            assert!((normal_density(x) / density - 1.0).abs() < 1e-12, "{}", normal_density(x));
            assert!((normal_quantile(cumulative) - x).abs() < 1e-8, "{}", normal_quantile(cumulative));
        };
        check(-9.0, 1.1285884059538324e-19, 1.0279773571668917e-18);
        check(-3.2, 0.0006871379379158471, 0.0023840882014648404);
        check(0.0, 0.5, PEAK);
        check(0.7, 0.758036347776927, 0.31225393336676127);
        check(2.5, 0.9937903346742238, 0.017528300493568537);
        assert_eq!((normal_quantile(0.0), normal_quantile(1.0)), (f64::NEG_INFINITY, f64::INFINITY));
    }
}
