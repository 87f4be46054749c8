//! Numbers as people read them.

/// `value` with `digits` significant digits, in powers of ten where it is very large or small.
pub(super) fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    // Rounding first, so that 9.9996 counts as 10.
    let rounded: f64 = format!("{value:.*e}", digits - 1).parse().expect("a float that was just printed is a float");
    let exponent = rounded.abs().log10().floor() as i32;
    if !(-4..7).contains(&exponent) {
        return format!("{rounded:.*e}", digits - 1);
    }
    let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
    format!("{rounded:.decimals$}")
}

/// A count with a decimal prefix: 1 073 466 is `1.073 M`.
pub(super) fn count(value: u64) -> String {
    let prefixes = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    match prefixes.iter().find(|(size, _)| value as f64 >= *size) {
        Some((size, prefix)) => format!("{} {prefix}", significant(value as f64 / size, 4)),
        None => value.to_string(),
    }
}

/// Seconds as `4.2 s`, `3 min 20 s` or `2 h 5 min`.
pub(super) fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    if whole < 3600 {
        format!("{} min {} s", whole / 60, whole % 60)
    } else {
        format!("{} h {} min", whole / 3600, whole % 3600 / 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_and_readable() {
        let check = |value, expected: &str| assert_eq!(significant(value, 4), expected);
        check(0.0, "0");
        check(1.0, "1.000");
        check(9.99961, "10.00");
        check(-0.0123456, "-0.01235");
        check(123_456.0, "123500");
        check(1.23456e9, "1.235e9");
        check(1.23456e-7, "1.235e-7");
    }

    #[test]
    fn counts_carry_a_prefix() {
        assert_eq!(count(999), "999");
        assert_eq!(count(1_073_466), "1.073 M");
        assert_eq!(count(153_270_000_000), "153.3 G");
    }

    #[test]
    fn durations_carry_units() {
        assert_eq!(duration(4.21), "4.2 s");
        assert_eq!(duration(200.2), "3 min 20 s");
        assert_eq!(duration(7500.0), "2 h 5 min");
    }
}
