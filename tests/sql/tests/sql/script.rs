//! Reads a script: the part of the sqllogictest format that is used here.
//!
//! ```text
//! # a comment
//! connection reader          who asks; for the next record only
//! params ["a", 3, null]      values of $1, $2, ...; for the next record only
//! query TI                   types of the columns; `query TI header` shows their names too
//! SELECT ...
//! ----
//! a 1                        one line for each row, up to an empty line
//!
//! query error
//! SELECT ...
//! ----
//! error: ...                 the error as people see it, up to an empty line
//! ```

use anyhow::{Context, bail};
use serde_json::Value;

/// One statement and what it must answer.
#[derive(Debug)]
pub(crate) struct Record {
    /// The line of `query`, from 1.
    pub(crate) line: usize,
    pub(crate) asker: String,
    pub(crate) params: Vec<Value>,
    /// The letters of the columns; none when an error is expected.
    pub(crate) types: Option<String>,
    pub(crate) header: bool,
    pub(crate) sql: String,
    /// The lines behind `----`, counted from 0.
    pub(crate) expected: std::ops::Range<usize>,
}

/// Who asks where no connection is named.
pub(crate) const EVERYBODY: &str = "everything";

/// The records of a script in their order.
pub(crate) fn read(text: &str) -> anyhow::Result<Vec<Record>> {
    let lines: Vec<&str> = text.lines().collect();
    let mut records = Vec::new();
    let (mut asker, mut params) = (EVERYBODY.to_owned(), Vec::new());
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            ["connection", name] => asker = (*name).to_owned(),
            ["params", ..] => {
                let json = line.trim_start().trim_start_matches("params");
                params = serde_json::from_str(json).with_context(|| format!("line {}", at + 1))?;
            }
            ["query", rest @ ..] => {
                let begin = Begin {
                    line: at,
                    asker: std::mem::replace(&mut asker, EVERYBODY.to_owned()),
                    params: std::mem::take(&mut params),
                };
                let record = record(&lines, begin, rest)?;
                at = record.expected.end;
                records.push(record);
                continue;
            }
            _ => bail!(
                "line {}: {line} is neither query, connection nor params",
                at + 1
            ),
        }
        at += 1;
    }
    Ok(records)
}

struct Begin {
    line: usize,
    asker: String,
    params: Vec<Value>,
}

fn record(lines: &[&str], begin: Begin, words: &[&str]) -> anyhow::Result<Record> {
    let line = begin.line + 1;
    let (types, header) = match words {
        ["error"] => (None, false),
        [types] => (Some((*types).to_owned()), false),
        [types, "header"] => (Some((*types).to_owned()), true),
        _ => bail!("line {line}: query is followed by column types or error"),
    };
    let below = lines.iter().enumerate().skip(line);
    let end = below.clone().find(|(_, text)| **text == "----");
    let end = end
        .map(|(at, _)| at)
        .with_context(|| format!("line {line}: there is no ----"))?;
    let blank = below
        .skip_while(|(at, _)| *at <= end)
        .find(|(_, text)| text.is_empty());
    let blank = blank.map_or(lines.len(), |(at, _)| at);
    let sql = lines.get(line..end).unwrap_or_default().join("\n");
    Ok(Record {
        line,
        asker: begin.asker,
        params: begin.params,
        types,
        header,
        sql,
        expected: end + 1..blank,
    })
}
