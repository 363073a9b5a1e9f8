//! What an unquoted scalar means: the rules of the YAML reader in kubectl, Helm and the API server
//! (go-yaml 2), which are YAML 1.1's but for sexagesimal numbers and timestamps.

use serde_json::{Number, Value};

/// What unquoted text means.
pub fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

/// Whether text can be written without quotes, in a block or a flow, and is read again as the same
/// text by readers of YAML 1.1 and 1.2 alike.
pub fn is_plain_text(text: &str) -> bool {
    let Some(first) = text.chars().next() else {
        return false;
    };
    let opens = matches!(
        first,
        '-' | '?'
            | ':'
            | ','
            | '['
            | ']'
            | '{'
            | '}'
            | '#'
            | '&'
            | '*'
            | '!'
            | '|'
            | '>'
            | '\''
            | '"'
            | '%'
            | '@'
            | '`'
            | '='
            | '<'
            | '.'
            | '~'
    );
    let inside = |c: char| {
        c.is_control()
            || matches!(
                c,
                ',' | '[' | ']' | '{' | '}' | '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}'
            )
    };
    !opens
        && !text.contains(inside)
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.ends_with(':')
        && text.trim() == text
        && !numeric(text)
        && matches!(resolve(text), Value::String(_))
}

/// Digits with what numbers, dates and times have between them: quoted, whatever a reader makes of it.
fn numeric(text: &str) -> bool {
    let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = |c: char| {
        c.is_ascii_hexdigit() || matches!(c, '.' | '_' | '+' | '-' | ':' | 'x' | 'o' | 'T' | 'Z')
    };
    rest.starts_with(|c: char| c.is_ascii_digit()) && rest.chars().all(sign)
}

fn number(text: &str) -> Option<Number> {
    let first = text.chars().next()?;
    if first == '.' {
        return float(text);
    }
    if !(first.is_ascii_digit() || matches!(first, '+' | '-')) {
        return None;
    }
    let plain = text.replace('_', "");
    integer(&plain).or_else(|| float(&plain))
}

/// As Go's `strconv.ParseInt(s, 0, 64)`: a prefix says the base, a leading zero means octal.
fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let small = digits.to_ascii_lowercase();
    let (base, digits) = match small.get(..2) {
        Some("0x") => (16, small.get(2..)?),
        Some("0o") => (8, small.get(2..)?),
        Some("0b") => (2, small.get(2..)?),
        _ if small.len() > 1 && small.starts_with('0') => (8, small.get(1..)?),
        _ => (10, small.as_str()),
    };
    if digits.is_empty() || digits.starts_with(['+', '-']) {
        return None;
    }
    if negative {
        i64::from_str_radix(&format!("-{digits}"), base)
            .ok()
            .map(Number::from)
    } else {
        u64::from_str_radix(digits, base).ok().map(Number::from)
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn float(text: &str) -> Option<Number> {
    let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (rest, None),
    };
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let some = !(whole.is_empty() && fraction.is_empty());
    let exponent_ok = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    if !(some && digits(whole) && digits(fraction) && exponent_ok) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    // JSON of 1e3 and 2.0 is 1000 and 2.
    let whole = format!("{value}");
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return whole.parse::<i64>().ok().map(Number::from);
    }
    Number::from_f64(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_mean_what_kubectl_reads() {
        for (text, value) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("yes", json!(true)),
            ("off", json!(false)),
            ("n", json!(false)),
            ("none", json!("none")),
            ("None", json!("None")),
            ("12", json!(12)),
            ("-12", json!(-12)),
            ("+12", json!(12)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("0755", json!(493)),
            ("0888", json!(888)),
            ("1_000", json!(1000)),
            (
                "18446744073709551615",
                json!(18_446_744_073_709_551_615_u64),
            ),
            ("1.50", json!(1.5)),
            ("1e3", json!(1000)),
            (".5", json!(0.5)),
            ("1.2.3", json!("1.2.3")),
            ("12h", json!("12h")),
            ("2026-01-01", json!("2026-01-01")),
            ("1:30", json!("1:30")),
            ("-", json!("-")),
            ("0x", json!("0x")),
            ("e5", json!("e5")),
        ] {
            assert_eq!(resolve(text), value, "{text:?}");
        }
    }

    #[test]
    fn plain_text_is_only_what_every_reader_takes_for_text() {
        for text in [
            "nginx:1.27",
            "a b",
            "some-name",
            "http://x/y?z=1",
            "a'b",
            "é",
            "a-1",
            "nginx",
        ] {
            assert!(is_plain_text(text), "{text:?}");
        }
        for text in [
            "",
            " a",
            "a ",
            "yes",
            "No",
            "null",
            "~",
            "1",
            "1.5",
            "0x1",
            "1e3",
            "12:30",
            "2026-01-01",
            "- a",
            "a: b",
            "a #b",
            "a:",
            "{a",
            "a, b",
            "[x]",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a",
            "|",
            "a\nb",
            "\u{85}",
            "'a'",
            "\"a\"",
            "#a",
            "=",
            "<<",
            ".5",
            "1_0",
            "0b1",
        ] {
            assert!(!is_plain_text(text), "{text:?}");
        }
    }
}
