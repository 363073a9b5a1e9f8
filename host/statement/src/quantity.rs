//! Kubernetes' `resource.Quantity`, exactly.
//!
//! The grammar is that of k8s.io/apimachinery/pkg/api/resource:
//!
//! ```text
//! quantity  = number suffix?        number = [+-] digits [. digits]
//! suffix    = n | u | m | k | M | G | T | P | E
//!           | Ki | Mi | Gi | Ti | Pi | Ei | (e|E) [+-] digits
//! ```
//!
//! with what its parser takes beyond it: a number without any digit, such as
//! `-` or `Mi`, is nothing, unless the suffix is very small or very large; an
//! exponent is cut to 32 bits.
//!
//! As there, a value finer than a billionth is rounded up (away from zero), and
//! one with a binary suffix is capped at 2^63 - 1 whole units.
//!
//! # Limits
//!
//! Where the API server computes with integers of any length, this ends: every
//! value is capped just below 10^29, and the views in 64 bits at their range,
//! where the API server's overflow. The views round negative values away from
//! zero, as `RoundUp` does; the API server's own do so for some spellings of a
//! value only. `tests/quantity` compares all this with the API server's code.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Billionths in one.
const NANO: i128 = 1_000_000_000;
/// The largest number of whole units with a binary suffix; larger ones are capped to it.
const MAX_UNITS: i128 = 9_223_372_036_854_775_807;
/// The largest number of billionths: 38 digits, as a decimal of SQL holds.
const MAX_NANOS: i128 = 10i128.pow(38) - 1;
/// The exponent of a billionth.
const NANO_EXPONENT: i32 = -9;

/// An amount, in billionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity {
    nanos: i128,
}

/// A text that is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// There is no digit.
    #[error("a quantity needs at least one digit")]
    NoDigits,
    /// What stands after the number is no suffix.
    #[error("unknown suffix: use one of n u m k M G T P E Ki Mi Gi Ti Pi Ei or an exponent")]
    Suffix,
}

impl Quantity {
    /// The value in billionths.
    pub fn nanos(self) -> i128 {
        self.nanos
    }

    /// Whole units, rounded up (away from zero) as `Quantity.Value()` does.
    pub fn value(self) -> i64 {
        self.scaled(NANO)
    }

    /// Thousandths, rounded up (away from zero) as `Quantity.MilliValue()` does.
    pub fn milli_value(self) -> i64 {
        self.scaled(NANO / 1000)
    }

    fn scaled(self, unit: i128) -> i64 {
        let up = round_up(self.nanos, unit);
        i64::try_from(up).unwrap_or(if up < 0 { i64::MIN + 1 } else { i64::MAX })
    }
}

/// Divides and rounds away from zero.
fn round_up(value: i128, by: i128) -> i128 {
    let whole = value / by;
    match (value % by).cmp(&0) {
        Ordering::Greater => whole + 1,
        Ordering::Less => whole - 1,
        Ordering::Equal => whole,
    }
}

/// What a suffix multiplies by.
enum Scale {
    Decimal(i32),
    Binary(u32),
}

impl Scale {
    /// Whether the API server counts in 64 bits with it, where it misses no digit.
    fn is_plain(&self) -> bool {
        match self {
            Self::Decimal(exponent) => *exponent >= NANO_EXPONENT,
            // 2^50 has 15 digits; with one of the number they are too many.
            Self::Binary(bits) => *bits < 50,
        }
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, after) = digits(unsigned);
        let (fraction, suffix) = match after.strip_prefix('.') {
            Some(rest) => digits(rest),
            None => ("", after),
        };
        let scale = scale(suffix)?;
        if text.is_empty() || (whole.is_empty() && fraction.is_empty() && !scale.is_plain()) {
            return Err(QuantityError::NoDigits);
        }
        let nanos = match scale {
            Scale::Decimal(exponent) => decimal(whole, fraction, exponent),
            Scale::Binary(bits) => binary(whole, fraction, bits),
        };
        Ok(Self {
            nanos: if negative { -nanos } else { nanos },
        })
    }
}

fn digits(text: &str) -> (&str, &str) {
    let end = text
        .bytes()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn scale(suffix: &str) -> Result<Scale, QuantityError> {
    Ok(match suffix {
        "" => Scale::Decimal(0),
        "n" => Scale::Decimal(-9),
        "u" => Scale::Decimal(-6),
        "m" => Scale::Decimal(-3),
        "k" => Scale::Decimal(3),
        "M" => Scale::Decimal(6),
        "G" => Scale::Decimal(9),
        "T" => Scale::Decimal(12),
        "P" => Scale::Decimal(15),
        "E" => Scale::Decimal(18),
        "Ki" => Scale::Binary(10),
        "Mi" => Scale::Binary(20),
        "Gi" => Scale::Binary(30),
        "Ti" => Scale::Binary(40),
        "Pi" => Scale::Binary(50),
        "Ei" => Scale::Binary(60),
        _ => {
            let exponent = suffix
                .strip_prefix(['e', 'E'])
                .ok_or(QuantityError::Suffix)?;
            // Go and Rust take the same integers: digits with or without a sign.
            let exponent: i64 = exponent.parse().map_err(|_| QuantityError::Suffix)?;
            let [a, b, c, d, ..] = exponent.to_le_bytes();
            Scale::Decimal(i32::from_le_bytes([a, b, c, d]))
        }
    })
}

/// `whole.fraction * 10^exponent` in billionths, rounded up.
///
/// Works digit by digit, so that any number of digits is exact: digits below a
/// billionth only decide the rounding, and the cap ends a too large value.
fn decimal(whole: &str, fraction: &str, exponent: i32) -> i128 {
    let all = length(whole).saturating_add(length(fraction));
    // How many of the digits stand before the point of the value in billionths.
    let kept = length(whole) + i64::from(exponent) - i64::from(NANO_EXPONENT);
    let mut nanos: i128 = 0;
    let mut rest = false;
    for (digit, position) in whole.bytes().chain(fraction.bytes()).zip(0i64..) {
        let digit = i128::from(digit - b'0');
        if position < kept {
            nanos = nanos.saturating_mul(10).saturating_add(digit);
        } else if digit != 0 {
            rest = true;
        }
    }
    // 39 zeros take any digit past the cap.
    for _ in 0..kept.saturating_sub(all).clamp(0, 39) {
        nanos = nanos.saturating_mul(10);
    }
    nanos.saturating_add(i128::from(rest)).min(MAX_NANOS)
}

/// How many digits.
fn length(digits: &str) -> i64 {
    i64::try_from(digits.len()).unwrap_or(i64::MAX / 2)
}

/// `whole.fraction * 2^bits` in billionths, rounded up.
fn binary(whole: &str, fraction: &str, bits: u32) -> i128 {
    let units = whole.bytes().fold(0i128, |sum, digit| {
        (sum * 10 + i128::from(digit - b'0')).min(MAX_UNITS)
    });
    units
        .saturating_mul(NANO << bits.min(60))
        .saturating_add(binary_fraction(fraction, bits))
        .min(MAX_UNITS * NANO)
}

/// `0.fraction * 2^bits` in billionths, rounded up, by long multiplication
/// from the last digit: no digit is lost, however many there are.
fn binary_fraction(fraction: &str, bits: u32) -> i128 {
    let factor = NANO << bits.min(60);
    // `carry + remainder / 10^k` is the exact product of the digits so far.
    let mut carry: i128 = 0;
    let mut rest = false;
    for digit in fraction.bytes().rev() {
        let sum = carry + i128::from(digit - b'0') * factor;
        rest |= sum % 10 != 0;
        carry = sum / 10;
    }
    carry + i128::from(rest)
}

/// Billionths in canonical decimal form without a suffix: `1.5`, `-0.000000001`.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.nanos < 0 { "-" } else { "" };
        let magnitude = self.nanos.unsigned_abs();
        let unit = NANO.unsigned_abs();
        let (whole, rest) = (magnitude / unit, magnitude % unit);
        if rest == 0 {
            write!(f, "{sign}{whole}")
        } else {
            write!(
                f,
                "{sign}{whole}.{}",
                format!("{rest:09}").trim_end_matches('0')
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// From the tables of apimachinery's quantity_test.go.
    #[test]
    fn reads_what_the_api_server_reads() {
        let cases: &[(&str, i128)] = &[
            ("0", 0),
            ("-0", 0),
            ("0n", 0),
            ("100m", NANO / 10),
            ("1n", 1),
            ("1u", 1_000),
            ("1", NANO),
            ("5m", 5_000_000),
            (".5", NANO / 2),
            ("5.", 5 * NANO),
            ("+.5", NANO / 2),
            ("-.5", -NANO / 2),
            ("1k", 1_000 * NANO),
            ("0.5Ki", 512 * NANO),
            ("1Ki", 1024 * NANO),
            ("1.5Mi", 1024 * 1536 * NANO),
            ("1Gi", (1 << 30) * NANO),
            ("2Ei", (2i128 << 60) * NANO),
            ("12e6", 12_000_000 * NANO),
            ("12E6", 12_000_000 * NANO),
            ("1e-3", NANO / 1000),
            ("1E+3", 1000 * NANO),
            ("3E", 3_000_000_000_000_000_000 * NANO),
            // Finer than a billionth: rounded away from zero.
            ("0.1n", 1),
            ("-0.1n", -1),
            ("1.0000000001", NANO + 1),
            ("9e-12", 1),
            ("0.000000000001Ki", 2),
            ("1e-2147483648", 1),
            // Beyond the range: capped.
            ("9223372036854775807", MAX_UNITS * NANO),
            ("10E", 10_000_000_000_000_000_000 * NANO),
            ("-10E", -10_000_000_000_000_000_000 * NANO),
            ("100Ei", MAX_UNITS * NANO),
            ("99999999999999999999999999999.999999999", MAX_NANOS),
            ("100000000000000000000000000000", MAX_NANOS),
            ("1e2147483647", MAX_NANOS),
            // No digit, and an exponent that is cut.
            ("-", 0),
            (".", 0),
            ("m", 0),
            ("Ti", 0),
            ("+E", 0),
            ("e-9", 0),
            ("1e4294967299", 1000 * NANO),
        ];
        for (text, nanos) in cases {
            assert_eq!(quantity(text).nanos(), *nanos, "{text}");
        }
    }

    #[test]
    fn refuses_what_the_api_server_refuses() {
        for text in [
            "",
            "Pi",
            "-.Ei",
            "e-10",
            "1 Gi",
            " 1",
            "1 ",
            "1K",
            "1ki",
            "1KI",
            "1mi",
            "1i",
            "--1",
            "+-1",
            "1.1.1",
            "1e",
            "1e+",
            "1e1.5",
            "0x10",
            "1e3Ki",
            "1e99999999999999999999",
            "1,5",
            "Inf",
            "NaN",
            "1_000",
            "１",
        ] {
            assert!(text.parse::<Quantity>().is_err(), "{text:?} was read");
        }
    }

    #[test]
    fn views_round_away_from_zero() {
        assert_eq!(quantity("100m").value(), 1);
        assert_eq!(quantity("-100m").value(), -1);
        assert_eq!(quantity("1500u").milli_value(), 2);
        assert_eq!(quantity("1.5").milli_value(), 1500);
        assert_eq!(quantity("1Gi").value(), 1 << 30);
        assert_eq!(quantity("9E").milli_value(), i64::MAX);
        assert_eq!(quantity("-10E").value(), -i64::MAX);
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,12}") {
            let _ = text.parse::<Quantity>();
        }

        #[test]
        fn display_reads_back(nanos in -MAX_NANOS..=MAX_NANOS) {
            let quantity = Quantity { nanos };
            prop_assert_eq!(quantity.to_string().parse::<Quantity>(), Ok(quantity));
        }

        /// Against exact fractions: value = digits * scale, rounded up.
        #[test]
        fn agrees_with_exact_arithmetic(
            negative: bool,
            whole in 0u32..1_000_000,
            fraction in proptest::option::of("[0-9]{0,12}"),
            suffix in proptest::sample::select(SUFFIXES.to_vec()),
        ) {
            let (name, numerator, denominator) = suffix;
            let fraction = fraction.unwrap_or_default();
            let sign = if negative { "-" } else { "" };
            let text = format!("{sign}{whole}.{fraction}{name}");
            // value = digits / 10^k * numerator / denominator, in billionths
            let digits: i128 = format!("{whole}{fraction}").parse().expect("digits");
            let below = 10i128.pow(u32::try_from(fraction.len()).expect("short")) * denominator;
            // Split so that nothing overflows: (digits * numerator) fits 128 bits with a remainder.
            let (q, r) = (digits / below, digits % below);
            let scaled = NANO * numerator;
            let part = exact_product(r, scaled, below);
            let exact = q.saturating_mul(scaled).saturating_add(part);
            let exact = if negative { -exact } else { exact };
            prop_assert_eq!(quantity(&text).nanos(), exact, "{}", text);
        }

        #[test]
        fn order_is_that_of_the_values(a in 0i64..1_000_000, b in 0i64..1_000_000) {
            let (milli, whole) = (quantity(&format!("{a}m")), quantity(&format!("{b}")));
            prop_assert_eq!(milli.cmp(&whole), a.cmp(&(b * 1000)));
        }
    }

    /// `ceil(r * scaled / below)` with r < below, by doubling, without overflow.
    fn exact_product(r: i128, scaled: i128, below: i128) -> i128 {
        let (mut result, mut rest) = (0i128, 0i128);
        for bit in (0..127).rev() {
            result *= 2;
            rest *= 2;
            if scaled >> bit & 1 == 1 {
                rest += r;
            }
            result += rest / below;
            rest %= below;
        }
        result + i128::from(rest > 0)
    }

    const SUFFIXES: [(&str, i128, i128); 14] = [
        ("", 1, 1),
        ("n", 1, 1_000_000_000),
        ("u", 1, 1_000_000),
        ("m", 1, 1_000),
        ("k", 1_000, 1),
        ("M", 1_000_000, 1),
        ("G", 1_000_000_000, 1),
        ("T", 1_000_000_000_000, 1),
        ("Ki", 1 << 10, 1),
        ("Mi", 1 << 20, 1),
        ("Gi", 1 << 30, 1),
        ("Ti", 1 << 40, 1),
        ("e3", 1_000, 1),
        ("e-4", 1, 10_000),
    ];
}
