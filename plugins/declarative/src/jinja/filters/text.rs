//! Patterns, quotes and names.

use super::{back, json, wrong};
use minijinja::value::Kwargs;
use minijinja::{Environment, Error, Value};
use regex_lite::{Regex, RegexBuilder};
use sha2::Digest;

/// Bytes of a pattern.
const PATTERN: usize = 4096;

pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("regex_replace", replace);
    environment.add_filter("regex_search", search);
    environment.add_filter("regex_findall", findall);
    environment.add_filter("regex_escape", |text: String| regex_lite::escape(&text));
    environment.add_filter("quote", |value: &Value| {
        let text = match json(value)? {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        Ok::<Value, Error>(Value::from_safe_string(crate::yaml::flow(&text.into())))
    });
    environment.add_filter("dns_label", label);
    environment.add_test("match", |text: String, pattern: String| {
        let found = compiled(&format!("^(?:{pattern})"), false, false)?;
        Ok::<bool, Error>(found.is_match(&text))
    });
    environment.add_test("search", |text: String, pattern: String| {
        Ok::<bool, Error>(compiled(&pattern, false, false)?.is_match(&text))
    });
    environment.add_test(
        "contains",
        |whole: &Value, part: &Value| -> Result<bool, Error> {
            let (whole, part) = (json(whole)?, json(part)?);
            Ok(match &whole {
                serde_json::Value::String(text) => {
                    part.as_str().is_some_and(|part| text.contains(part))
                }
                serde_json::Value::Array(items) => items.contains(&part),
                serde_json::Value::Object(map) => {
                    part.as_str().is_some_and(|part| map.contains_key(part))
                }
                _ => false,
            })
        },
    );
}

fn compiled(pattern: &str, ignore_case: bool, multi_line: bool) -> Result<Regex, Error> {
    if pattern.len() > PATTERN {
        return Err(wrong(format!("the pattern has more than {PATTERN} bytes")));
    }
    let mut builder = RegexBuilder::new(pattern);
    builder.case_insensitive(ignore_case).multi_line(multi_line);
    builder.build().map_err(|why| {
        wrong(format!(
            "`{pattern}` is no pattern: {why} (no look-around, no references back)"
        ))
    })
}

fn flags(options: &Kwargs) -> Result<(bool, bool), Error> {
    let ignore_case = options.get::<Option<bool>>("ignorecase")?.unwrap_or(false);
    let multi_line = options.get::<Option<bool>>("multiline")?.unwrap_or(false);
    Ok((ignore_case, multi_line))
}

fn replace(text: String, pattern: String, with: String, options: Kwargs) -> Result<String, Error> {
    let (ignore_case, multi_line) = flags(&options)?;
    let count = options.get::<Option<usize>>("count")?.unwrap_or(0);
    options.assert_all_used()?;
    let pattern = compiled(&pattern, ignore_case, multi_line)?;
    let with = groups(&with);
    let most = if count == 0 { usize::MAX } else { count };
    let (mut out, mut copied) = (String::new(), 0);
    for found in pattern.captures_iter(&text).take(most) {
        let Some(whole) = found.get(0) else { continue };
        out.push_str(text.get(copied..whole.start()).unwrap_or_default());
        found.expand(&with, &mut out);
        copied = whole.end();
        if out.len() > crate::jinja::OUTPUT {
            let most = crate::jinja::OUTPUT;
            return Err(wrong(format!(
                "regex_replace: what it gives has more than {most} bytes; at most these are taken"
            )));
        }
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    Ok(out)
}

/// Python's `\1` and `\g<name>` are `${1}` and `${name}` here; a dollar is a dollar.
fn groups(with: &str) -> String {
    let mut out = String::new();
    let mut chars = with.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek().copied()) {
            ('$', _) => out.push_str("$$"),
            ('\\', Some(digit)) if digit.is_ascii_digit() => {
                chars.next();
                out.push_str(&format!("${{{digit}}}"));
            }
            ('\\', Some('g')) => {
                chars.next();
                let name: String = chars
                    .by_ref()
                    .skip_while(|c| *c == '<')
                    .take_while(|c| *c != '>')
                    .collect();
                out.push_str(&format!("${{{name}}}"));
            }
            ('\\', Some('n')) => {
                chars.next();
                out.push('\n');
            }
            ('\\', Some('\\')) => {
                chars.next();
                out.push('\\');
            }
            (c, _) => out.push(c),
        }
    }
    out
}

/// The first match; with groups in the arguments (`'\\1'`), the list of these.
fn search(
    text: String,
    pattern: String,
    wanted: minijinja::value::Rest<String>,
    options: Kwargs,
) -> Result<Value, Error> {
    let (ignore_case, multi_line) = flags(&options)?;
    options.assert_all_used()?;
    let pattern = compiled(&pattern, ignore_case, multi_line)?;
    let Some(found) = pattern.captures(&text) else {
        return Ok(Value::from(()));
    };
    if wanted.is_empty() {
        return Ok(Value::from(found.get(0).map_or("", |all| all.as_str())));
    }
    let mut all = Vec::new();
    for one in wanted.iter() {
        let name = one
            .trim_start_matches('\\')
            .trim_start_matches('g')
            .trim_matches(['<', '>']);
        let group = match name.parse::<usize>() {
            Ok(number) => found.get(number),
            Err(_) => found.name(name),
        };
        all.push(Value::from(group.map(|group| group.as_str())));
    }
    Ok(Value::from(all))
}

/// All matches; with one group the group's, with several lists of them.
fn findall(text: String, pattern: String, options: Kwargs) -> Result<Value, Error> {
    let (ignore_case, multi_line) = flags(&options)?;
    options.assert_all_used()?;
    let pattern = compiled(&pattern, ignore_case, multi_line)?;
    let all = pattern.captures_iter(&text).map(|found| {
        let groups = found
            .iter()
            .skip(1)
            .map(|group| group.map_or("", |group| group.as_str()));
        let groups: Vec<&str> = groups.collect();
        match groups.as_slice() {
            [] => serde_json::Value::from(found.get(0).map_or("", |all| all.as_str())),
            [one] => serde_json::Value::from(*one),
            _ => serde_json::Value::from(groups),
        }
    });
    Ok(back(&all.collect()))
}

/// A name that Kubernetes takes: small letters, digits and dashes, at most `length` of them; what
/// had to be cut is told apart by a hash.
fn label(text: String, length: Option<usize>) -> Result<String, Error> {
    let length = length.unwrap_or(63);
    if !(8..=253).contains(&length) {
        return Err(wrong("dns_label: a length from 8 to 253 is meant"));
    }
    let small = text.to_lowercase();
    let made: String = small
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let made = made.trim_matches('-');
    if made.is_empty() {
        return Err(wrong(format!("dns_label: `{text}` has no letter or digit")));
    }
    if made.len() <= length {
        return Ok(made.to_owned());
    }
    let digest = sha2::Sha256::digest(text.as_bytes());
    let hash: String = digest
        .iter()
        .take(3)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let short = made
        .get(..length - 7)
        .unwrap_or_default()
        .trim_end_matches('-');
    Ok(format!("{short}-{hash}"))
}
