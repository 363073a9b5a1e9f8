//! Runs the records of one script.

use std::path::Path;

use anyhow::Context;
use kybern_sql::{Answer, Param, SqlError};

use crate::asker::Askers;
use crate::cells;
use crate::script::{self, Record};

/// What became of a script.
pub(crate) struct Report {
    pub(crate) records: usize,
    pub(crate) failures: Vec<String>,
}

impl Report {
    /// The script's line for people.
    pub(crate) fn line(&self, name: &str) -> String {
        let end = match self.failures.len() {
            0 => "ok".to_owned(),
            failed => format!("{failed} FAILED"),
        };
        format!("{name:<20} {:>4} records  {end}", self.records)
    }
}

/// Runs a script; `write` puts what is answered into it.
pub(crate) async fn file(path: &Path, askers: &Askers, write: bool) -> anyhow::Result<Report> {
    let text = std::fs::read_to_string(path)?;
    let lines: Vec<&str> = text.lines().collect();
    let records = script::read(&text)?;
    let mut report = Report {
        records: records.len(),
        failures: Vec::new(),
    };
    let mut written = Vec::new();
    let mut copied = 0;
    for record in &records {
        let found = answer(record, askers).await?;
        let expected: Vec<&str> = lines
            .get(record.expected.clone())
            .unwrap_or_default()
            .to_vec();
        let differs = found.types != record.types || found.lines != expected;
        if differs && !write {
            report
                .failures
                .push(failure(path, record, &expected, &found));
        }
        let before = lines.get(copied..record.expected.start).unwrap_or_default();
        let begin = record.line - 1 - copied;
        for (at, line) in before.iter().enumerate() {
            written.push(if at == begin {
                found.directive(record)
            } else {
                (*line).to_owned()
            });
        }
        written.extend(found.lines);
        copied = record.expected.end;
    }
    if write {
        let rest = lines.get(copied..).unwrap_or_default();
        written.extend(rest.iter().map(|line| (*line).to_owned()));
        std::fs::write(path, written.join("\n") + "\n")?;
    }
    Ok(report)
}

/// What a statement answered: column types and rows, or the lines of its error.
struct Found {
    types: Option<String>,
    lines: Vec<String>,
}

impl Found {
    /// The `query` line that would expect this.
    fn directive(&self, record: &Record) -> String {
        let header = if record.header { " header" } else { "" };
        match &self.types {
            Some(types) => format!("query {types}{header}"),
            None => "query error".to_owned(),
        }
    }
}

async fn answer(record: &Record, askers: &Askers) -> anyhow::Result<Found> {
    Ok(match ask(record, askers).await? {
        Ok(answer) => Found {
            types: Some(cells::letters(&answer.schema)),
            lines: cells::lines(&answer, record.header)?,
        },
        Err(error) => Found {
            types: None,
            lines: error
                .render(&record.sql)
                .lines()
                .map(str::to_owned)
                .collect(),
        },
    })
}

/// The outer error is one of the script, the inner one the statement's.
async fn ask(record: &Record, askers: &Askers) -> anyhow::Result<Result<Answer, SqlError>> {
    let asker = askers
        .get(&record.asker)
        .with_context(|| format!("line {}: there is no asker {}", record.line, record.asker))?;
    let params: Vec<Param> = record.params.iter().cloned().map(Param::from).collect();
    let engine = &asker.engine;
    Ok(match engine.prepare(&record.sql, &asker.access).await {
        Ok(prepared) => engine.execute(&prepared, &params, &engine.snapshot()).await,
        Err(error) => Err(error),
    })
}

fn failure(path: &Path, record: &Record, expected: &[&str], found: &Found) -> String {
    let place = format!("{}:{}", path.display(), record.line);
    let types = |types: &Option<String>| types.clone().unwrap_or_else(|| "error".to_owned());
    format!(
        "\n{place}\n{}\nexpected {}:\n{}\nfound {}:\n{}\n",
        record.sql,
        types(&record.types),
        expected.join("\n"),
        types(&found.types),
        found.lines.join("\n"),
    )
}
