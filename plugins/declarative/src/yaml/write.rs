//! Values as YAML that every reader reads as these values.

use super::is_plain_text;
use serde_json::Value;
use std::fmt::Write;

/// One line: JSON, which is YAML.
pub fn flow(value: &Value) -> String {
    escaped(&value.to_string())
}

/// JSON leaves characters alone that YAML does not take.
fn escaped(json: &str) -> String {
    let odd = |c: char| {
        matches!(
            c,
            '\u{7f}'..='\u{9f}' | '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}'
        )
    };
    if !json.contains(odd) {
        return json.to_owned();
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if odd(c) {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// Text as a scalar: quoted where it would mean something else, or end too early.
pub fn text(text: &str) -> String {
    if is_plain_text(text) {
        text.to_owned()
    } else {
        flow(&Value::from(text))
    }
}

/// Lines, each level `step` deeper; ends with a line break.
pub fn block(value: &Value, step: usize) -> String {
    let mut out = String::new();
    write(&mut out, value, 0, step);
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

fn write(out: &mut String, value: &Value, indent: usize, step: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (at, (key, value)) in map.iter().enumerate() {
                if at > 0 || out.ends_with('\n') {
                    out.extend(std::iter::repeat_n(' ', indent));
                }
                let _ = write!(out, "{}:", text(key));
                below(out, value, indent, step, false);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, item) in items.iter().enumerate() {
                if at > 0 || out.ends_with('\n') {
                    out.extend(std::iter::repeat_n(' ', indent));
                }
                out.push('-');
                below(out, item, indent, step, true);
            }
        }
        Value::String(line) => out.push_str(&text(line)),
        other => out.push_str(&flow(other)),
    }
}

/// What comes after a key or a dash.
fn below(out: &mut String, value: &Value, indent: usize, step: usize, item: bool) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            if item {
                // The first key beside the dash.
                out.push(' ');
                write(out, value, indent + 2, step);
            } else {
                out.push('\n');
                write(out, value, indent + step, step);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            if item {
                out.push(' ');
                write(out, value, indent + 2, step);
            } else {
                // As kubectl and PyYAML: lists are not deeper than their key.
                out.push('\n');
                write(out, value, indent, step);
            }
        }
        Value::String(lines) if literal(lines) => {
            let keep = if lines.ends_with('\n') { "|" } else { "|-" };
            let _ = writeln!(out, " {keep}");
            let inner = indent + if item { 2 } else { step };
            for line in lines.strip_suffix('\n').unwrap_or(lines).split('\n') {
                if !line.is_empty() {
                    out.extend(std::iter::repeat_n(' ', inner));
                    out.push_str(line);
                }
                out.push('\n');
            }
        }
        scalar => {
            out.push(' ');
            write(out, scalar, indent, step);
            out.push('\n');
        }
    }
}

/// Whether text is readable, and the same, as a literal block.
fn literal(text: &str) -> bool {
    let odd = |c: char| {
        c != '\n'
            && (c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}'))
    };
    text.trim_end_matches('\n').contains('\n')
        && !text.starts_with([' ', '\n'])
        && !text.ends_with("\n\n")
        && !text.contains(odd)
        && !text.contains(" \n")
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Duplicates, Limits, documents};
    use serde_json::json;

    fn again(value: &Value) -> Value {
        let text = block(value, 2);
        let read = documents("f", &text, &Limits::RENDERED, Duplicates::Refused);
        read.unwrap_or_else(|errors| panic!("{errors}\n{text}"))[0].value()
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let values = [
            json!({"a": [1, 2.5, true, null, "x", "yes", "", "1", "a: b", "#c", "- d"], "b": {}, "c": []}),
            json!({"m": {"n": {"o": [[1, [2]], {"p": [{"q": 1, "r": [3]}]}]}}}),
            json!({"s": "line one\nline two\n", "t": "a\nb", "u": "\n a", "v": "a \nb", "w": "a\n\n", "x": "tab\tand \u{7f} \u{85} \u{2028}"}),
            json!({"8080": 1, "true": 2, "a b": 3, "": 4, "key: x": 5, "multi\nline": 6}),
            json!([{"a": 1, "b": "x\ny"}, ["z\nz\n"], "q"]),
            json!("alone"),
            json!("yes"),
        ];
        for value in values {
            assert_eq!(again(&value), value);
        }
    }

    #[test]
    fn what_is_written_is_what_people_write() {
        let value = json!({"spec": {"ports": [{"name": "http", "port": 80}], "args": ["-v"]}});
        assert_eq!(
            block(&value, 2),
            "spec:\n  args:\n  - \"-v\"\n  ports:\n  - name: http\n    port: 80\n"
        );
    }
}
