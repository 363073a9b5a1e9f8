//! Kubernetes quantities, exactly: `500m`, `1.5Gi`, `2e3`.

use super::wrong;
use minijinja::{Environment, Error, Value};

/// Nanos in one.
const ONE: i128 = 1_000_000_000;

/// How a quantity is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `Ki`, `Mi`, ...
    Binary,
    /// `m`, `k`, `M`, ...
    Decimal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Quantity {
    nanos: i128,
    form: Form,
}

pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("quantity", |value: &Value| {
        let nanos = read(value)?.nanos;
        Ok::<Value, Error>(if nanos % ONE == 0 {
            i64::try_from(nanos / ONE).map_or_else(|_| float(nanos), Value::from)
        } else {
            float(nanos)
        })
    });
    environment.add_filter("cpu_millis", |value: &Value| {
        whole(read(value)?.nanos, ONE / 1000)
    });
    environment.add_filter("bytes", |value: &Value| whole(read(value)?.nanos, ONE));
    environment.add_filter("quantity_add", |a: &Value, b: &Value| {
        let (a, b) = (read(a)?, read(b)?);
        written(a.nanos.checked_add(b.nanos), a.form)
    });
    environment.add_filter("quantity_sub", |a: &Value, b: &Value| {
        let (a, b) = (read(a)?, read(b)?);
        written(a.nanos.checked_sub(b.nanos), a.form)
    });
    environment.add_filter("quantity_mul", |a: &Value, factor: &Value| {
        let (a, factor) = (read(a)?, read(factor)?.nanos);
        // To the next whole bit of what is asked for.
        let product = a.nanos.checked_mul(factor).map(|product| up(product, ONE));
        written(product, a.form)
    });
    environment.add_test("quantity", |value: &Value| read(value).is_ok());
}

fn float(nanos: i128) -> Value {
    // A decimal text is the nearest float's shortest way in.
    let sign = if nanos < 0 { "-" } else { "" };
    let (whole, rest) = (
        nanos.unsigned_abs() / ONE.unsigned_abs(),
        nanos.unsigned_abs() % ONE.unsigned_abs(),
    );
    let text = format!("{sign}{whole}.{rest:09}");
    Value::from(text.parse::<f64>().unwrap_or(f64::NAN))
}

/// Division that rounds away from zero, as Kubernetes does.
fn up(value: i128, by: i128) -> i128 {
    value / by + if value % by == 0 { 0 } else { value.signum() }
}

fn whole(nanos: i128, unit: i128) -> Result<Value, Error> {
    let units = i64::try_from(up(nanos, unit));
    units
        .map(Value::from)
        .map_err(|_| wrong("the quantity is too large"))
}

fn read(value: &Value) -> Result<Quantity, Error> {
    let text = match value.as_str() {
        Some(text) => text.to_owned(),
        None if value.is_number() => value.to_string(),
        None => return Err(wrong(format!("`{value}` is no quantity, like 500m or 2Gi"))),
    };
    parse(&text).ok_or_else(|| wrong(format!("`{text}` is no quantity, like 500m or 2Gi")))
}

fn parse(text: &str) -> Option<Quantity> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-')));
    let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
    let (form, scale): (Form, Scale) = match suffix {
        "Ki" => (Form::Binary, Scale::Times(1 << 10)),
        "Mi" => (Form::Binary, Scale::Times(1 << 20)),
        "Gi" => (Form::Binary, Scale::Times(1 << 30)),
        "Ti" => (Form::Binary, Scale::Times(1 << 40)),
        "Pi" => (Form::Binary, Scale::Times(1 << 50)),
        "Ei" => (Form::Binary, Scale::Times(1 << 60)),
        "n" => (Form::Decimal, Scale::Ten(-9)),
        "u" => (Form::Decimal, Scale::Ten(-6)),
        "m" => (Form::Decimal, Scale::Ten(-3)),
        "" => (Form::Decimal, Scale::Ten(0)),
        "k" => (Form::Decimal, Scale::Ten(3)),
        "M" => (Form::Decimal, Scale::Ten(6)),
        "G" => (Form::Decimal, Scale::Ten(9)),
        "T" => (Form::Decimal, Scale::Ten(12)),
        "P" => (Form::Decimal, Scale::Ten(15)),
        "E" => (Form::Decimal, Scale::Ten(18)),
        other => {
            let exponent = other.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?;
            (Form::Decimal, Scale::Ten(exponent))
        }
    };
    let (negative, digits) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mantissa: i128 = all.parse().ok()?;
    let places = i32::try_from(fraction.len()).ok()?;
    let nanos = match scale {
        Scale::Times(factor) => shifted(mantissa.checked_mul(factor)?, 9 - places)?,
        Scale::Ten(exponent) => {
            shifted(mantissa, 9i32.checked_add(exponent)?.checked_sub(places)?)?
        }
    };
    let nanos = if negative { -nanos } else { nanos };
    Some(Quantity { nanos, form })
}

enum Scale {
    Times(i128),
    Ten(i32),
}

fn shifted(value: i128, places: i32) -> Option<i128> {
    let power = 10i128.checked_pow(places.unsigned_abs());
    if places >= 0 {
        value.checked_mul(power?)
    } else {
        Some(power.map_or(value.signum(), |power| up(value, power)))
    }
}

fn written(nanos: Option<i128>, form: Form) -> Result<Value, Error> {
    let nanos = nanos.ok_or_else(|| wrong("the quantity is too large"))?;
    Ok(Value::from(canonical(nanos, form)))
}

/// As `resource.Quantity` writes it: no fraction, the largest suffix.
fn canonical(nanos: i128, form: Form) -> String {
    if nanos == 0 {
        return "0".to_owned();
    }
    if form == Form::Binary && nanos % ONE == 0 {
        let mut value = nanos / ONE;
        let mut suffix = "";
        for next in ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"] {
            if value % 1024 != 0 {
                break;
            }
            value /= 1024;
            suffix = next;
        }
        return format!("{value}{suffix}");
    }
    let mut value = nanos;
    let mut suffix = "n";
    for next in ["u", "m", "", "k", "M", "G", "T", "P", "E"] {
        if value % 1000 != 0 {
            break;
        }
        value /= 1000;
        suffix = next;
    }
    format!("{value}{suffix}")
}
