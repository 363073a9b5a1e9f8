//! Statements in operator files: what stands in `{{ }}` is a parameter, never text of the statement.

use crate::diagnostic::{Diagnostic, Errors};
use crate::jinja::{Context, Jinja, Source};
use kybern_sdk::Gvk;
use serde_json::Value;

/// A statement and the expressions of its parameters.
#[derive(Debug, Clone)]
pub struct Statement {
    /// What stands between the parameters.
    parts: Vec<String>,
    /// Their values.
    pub params: Vec<Source>,
}

impl Statement {
    /// A statement without parameters.
    pub fn plain(sql: &str) -> Self {
        Self {
            parts: vec![sql.to_owned()],
            params: Vec::new(),
        }
    }

    /// The statement, its parameters numbered from `first` on.
    pub fn sql(&self, first: usize) -> String {
        let mut sql = String::new();
        for (at, part) in self.parts.iter().enumerate() {
            if at > 0 {
                sql.push_str(&format!("${}", first + at - 1));
            }
            sql.push_str(part);
        }
        sql.trim().trim_end_matches(';').to_owned()
    }

    /// Reads a statement.
    pub fn read(source: &Source) -> Result<Self, Errors> {
        let (mut parts, mut params) = (Vec::new(), Vec::new());
        let mut quotes = 0;
        let mut rest = source.text.as_str();
        let wrong = |what: &str, cure: &str| {
            Errors::from(Diagnostic::new(&source.file, source.place, what).cure(cure))
        };
        if rest.contains("{%") {
            return Err(wrong(
                "a statement is no template",
                "put the choice into SQL, or use two commands with `when`",
            ));
        }
        while let Some((before, after)) = rest.split_once("{{") {
            quotes += before.matches('\'').count();
            parts.push(before.to_owned());
            let Some((inner, after)) = after.split_once("}}") else {
                return Err(wrong("`{{` is never closed", "close it with `}}`"));
            };
            if quotes % 2 == 1 {
                let cure = format!("write {{{{{inner}}}}} without quotes: it is a value");
                return Err(wrong("a parameter stands in quotes", &cure));
            }
            let mut param = source.clone();
            param.text = inner.trim().to_owned();
            if source.plain {
                let position = source.text.len() - rest.len() + before.len() + 2;
                let lead = inner.len() - inner.trim_start().len();
                let before = source.text.get(..position + lead).unwrap_or_default();
                param.place.column += before.chars().count();
            }
            params.push(param);
            rest = after;
        }
        parts.push(rest.to_owned());
        Ok(Self { parts, params })
    }

    /// The values of the parameters.
    pub fn values(&self, jinja: &Jinja, context: &Context) -> Result<Vec<Value>, Errors> {
        let one = |source: &Source| {
            let value = jinja.value(source, context)?;
            Ok(match value {
                Value::Array(_) | Value::Object(_) => Value::String(value.to_string()),
                other => other,
            })
        };
        self.params.iter().map(one).collect()
    }
}

/// The table of a kind.
pub fn table(gvk: &Gvk, plural: &str) -> String {
    let schema = if gvk.group.is_empty() {
        "core".to_owned()
    } else {
        gvk.group.replace(['.', '-'], "_")
    };
    format!("{schema}.{plural}")
}

/// The plural that Kubernetes guesses for a kind.
pub fn plural(kind: &str) -> String {
    let small = kind.to_lowercase();
    if small == "endpoints" {
        return small;
    }
    if small.ends_with('s') || small.ends_with('x') || small.ends_with("ch") {
        return format!("{small}es");
    }
    match small.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{small}s"),
    }
}
