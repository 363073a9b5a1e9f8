//! Statements that change objects: what they would do, the question whether they may, the report.
//!
//! # Contract
//!
//! Nothing is changed before the whole statement is known to be about at most `--max-rows` objects
//! and somebody said yes, at the terminal or with `--yes`. Every object that the statement is about
//! is in the report, also after Ctrl-C.

use super::failure::Failure;
use super::output::{self, Style};
use super::progress::Progress;
use crate::operate::difference::{self, Values};
use crate::operate::{self, Effect, Item, Outcome, Work};
use crate::terminal;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use kybern_kube::Cluster;
use kybern_sql::{Answer, Mode, PreparedWrite, Verb};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, IsTerminal, Write as _};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Objects of which a question shows what would change.
const SHOWN: usize = 10;

/// What a person allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowed {
    /// Nobody is asked.
    pub(crate) yes: bool,
    /// More objects than this are not changed.
    pub(crate) max_rows: usize,
}

/// A statement that is ready to be run.
pub(crate) struct Planned {
    pub(crate) write: PreparedWrite,
    pub(crate) items: Vec<Item>,
    pub(crate) cluster: Cluster,
}

/// `UPDATE apps.deployments`.
pub(crate) fn title(write: &PreparedWrite) -> String {
    let table = write.table_name();
    match write.verb() {
        Verb::Update => format!("UPDATE {table}"),
        Verb::Delete { .. } => format!("DELETE FROM {table}"),
        Verb::Insert { .. } => format!("INSERT INTO {table}"),
        Verb::Apply { .. } => "APPLY".to_owned(),
    }
}

impl Planned {
    fn called(&self) -> String {
        title(&self.write)
    }

    /// Refuses more objects than are allowed, and asks.
    pub(crate) async fn confirm(&self, allowed: Allowed) -> Result<(), Failure> {
        let count = self.items.len();
        if count > allowed.max_rows {
            return Err(Failure::Usage(format!(
                "{} is about {count} objects; at most {} may be changed: nothing was done; write a narrower WHERE, or give --max-rows {count}",
                self.called(),
                allowed.max_rows
            )));
        }
        if count == 0 || allowed.yes || self.write.mode() == Mode::DryRun {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return Err(Failure::Usage(format!(
                "{} would change {}: nothing was done; nobody can be asked here, so give --yes if that is meant, or write DRY RUN before the statement to see what would become of them",
                self.called(),
                objects(count)
            )));
        }
        eprint!("{}", self.preview());
        eprint!("Change {}? [y/N] ", objects(count));
        let _ = std::io::stderr().flush();
        let answer = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).map(|_| line)
        });
        let answer = answer.await.map_err(anyhow::Error::from)?;
        let answer = answer.map_err(anyhow::Error::from)?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Failure::Cancelled),
        }
    }

    /// What the statement asks for, as far as it is known without the API server.
    fn preview(&self) -> String {
        let mut text = format!("{}: {}\n", self.called(), objects(self.items.len()));
        for item in self.items.iter().take(SHOWN) {
            let _ = writeln!(text, "  {}", named(item));
            for line in intent(item) {
                let _ = writeln!(text, "    {line}");
            }
        }
        let more = self.items.len().saturating_sub(SHOWN);
        if more > 0 {
            let _ = writeln!(text, "  and {more} more");
        }
        text
    }

    /// Does it. Ctrl-C begins nothing new, and what is under way ends.
    pub(crate) async fn run(&self) -> Result<Vec<Outcome>, Failure> {
        let effect = match self.write.mode() {
            Mode::DryRun => Effect::DryRun,
            Mode::Write | Mode::Explain { .. } => Effect::Real,
        };
        let stop = CancellationToken::new();
        let mut interrupts = signal(SignalKind::interrupt()).map_err(anyhow::Error::from)?;
        let mut ends = signal(SignalKind::terminate()).map_err(anyhow::Error::from)?;
        let progress = Progress::of("done", std::iter::once(format!("of {}", self.items.len())));
        let seen = |done| progress.set(0, done);
        let work = operate::run(&self.cluster, &self.items, effect, &stop, seen);
        let work = progress.during(work);
        tokio::pin!(work);
        loop {
            tokio::select! {
                outcomes = &mut work => return Ok(outcomes),
                _ = interrupts.recv() => stop.cancel(),
                _ = ends.recv() => stop.cancel(),
            }
        }
    }

    /// The report, and what RETURNING says instead of it.
    pub(crate) fn report(
        &self,
        outcomes: &[Outcome],
        returned: Option<&Answer>,
        style: &Style,
    ) -> Result<(), Failure> {
        let is_dry = self.write.mode() == Mode::DryRun;
        let failed: Vec<&Outcome> = outcomes
            .iter()
            .filter(|outcome| outcome.result.is_err())
            .collect();
        match returned {
            Some(returned) => {
                terminal::write(&output::render(returned, style)?);
                for outcome in &failed {
                    let message = outcome.message().unwrap_or_default();
                    let name = called(outcome);
                    eprintln!("{name}: {}: {}", outcome.word(), plain(message));
                }
            }
            None if is_dry && style.is_for_people() => terminal::write(&self.differences(outcomes)),
            None => {
                let answer = self.answer(outcomes, is_dry, style)?;
                terminal::write(&output::render(&answer, style)?);
            }
        }
        if style.is_for_people() {
            let dry = if is_dry { "dry run: " } else { "" };
            eprintln!("{dry}{}", counts(outcomes));
        }
        match failed.len() {
            0 => Ok(()),
            some => Err(Failure::Incomplete(format!(
                "{some} of {} not changed as the statement says",
                objects(outcomes.len())
            ))),
        }
    }

    /// What a dry run answered, for people.
    fn differences(&self, outcomes: &[Outcome]) -> String {
        let mut text = String::new();
        for (item, outcome) in self.items.iter().zip(outcomes) {
            let _ = writeln!(text, "{}: {}", called(outcome), outcome.word());
            if let Some(message) = outcome.message() {
                let _ = writeln!(text, "  {}", plain(message));
            }
            for line in changes(item, outcome) {
                let _ = writeln!(text, "  {line}");
            }
        }
        text
    }

    /// The report as rows.
    fn answer(&self, outcomes: &[Outcome], is_dry: bool, style: &Style) -> Result<Answer, Failure> {
        let text = |of: &dyn Fn(usize, &Outcome) -> Option<String>| -> ArrayRef {
            let values = outcomes.iter().enumerate();
            Arc::new(StringArray::from_iter(
                values.map(|(index, outcome)| of(index, outcome)),
            ))
        };
        let mut columns = vec![
            ("namespace", text(&|_, outcome| outcome.namespace.clone())),
            ("name", text(&|_, outcome| Some(outcome.name.clone()))),
            (
                "outcome",
                text(&|_, outcome| Some(outcome.word().to_owned())),
            ),
        ];
        if is_dry {
            let lines = |index: usize, outcome: &Outcome| {
                let item = self.items.get(index)?;
                Some(changes(item, outcome).join("\n"))
            };
            columns.push(("changes", text(&lines)));
        }
        // People need no column in which nothing is said.
        if !style.is_for_people() || outcomes.iter().any(|outcome| outcome.message().is_some()) {
            let message = |_, outcome: &Outcome| outcome.message().map(str::to_owned);
            columns.push(("message", text(&message)));
        }
        let fields = columns
            .iter()
            .map(|(name, _)| Field::new(*name, DataType::Utf8, true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let arrays = columns.into_iter().map(|(_, column)| column).collect();
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays);
        Ok(Answer {
            schema,
            batches: vec![batch.map_err(anyhow::Error::from)?],
            fingerprint: 0,
            rows: outcomes.len(),
        })
    }
}

/// What is to become of an object, as far as it is known without the API server.
fn intent(item: &Item) -> Vec<String> {
    match &item.work {
        Work::Edit {
            before,
            assignments,
            ..
        } => match kybern_sql::edit(before, assignments) {
            Ok(edited) if edited.operations.is_empty() => vec!["unchanged".to_owned()],
            Ok(edited) => difference::lines(before, &edited.object, values(item)),
            Err(error) => vec![error.to_string()],
        },
        Work::Delete { .. } => vec!["deleted".to_owned()],
        Work::Create { .. } => vec!["created".to_owned()],
        Work::Apply { .. } => vec!["applied".to_owned()],
    }
}

/// What an answer changes of an object.
fn changes(item: &Item, outcome: &Outcome) -> Vec<String> {
    match (&item.work, &outcome.after) {
        (Work::Edit { before, .. }, Some(after)) => difference::lines(before, after, values(item)),
        _ => Vec::new(),
    }
}

/// Values of Secrets are not for terminals and logs.
fn values(item: &Item) -> Values {
    if item.is_secret() {
        Values::Hidden
    } else {
        Values::Shown
    }
}

fn named(item: &Item) -> String {
    match (&item.namespace, item.name.as_str()) {
        (Some(namespace), "") => plain(&format!("{namespace}/(new)")),
        (Some(namespace), name) => plain(&format!("{namespace}/{name}")),
        (None, "") => "(new)".to_owned(),
        (None, name) => plain(name),
    }
}

fn called(outcome: &Outcome) -> String {
    match &outcome.namespace {
        Some(namespace) => plain(&format!("{namespace}/{}", outcome.name)),
        None => plain(&outcome.name),
    }
}

fn objects(count: usize) -> String {
    format!("{count} object{}", if count == 1 { "" } else { "s" })
}

/// `updated 3, conflict 1`; what was asked for and happened comes first.
fn counts(outcomes: &[Outcome]) -> String {
    let mut counts: BTreeMap<(bool, &str), usize> = BTreeMap::new();
    for outcome in outcomes {
        *counts
            .entry((outcome.result.is_err(), outcome.word()))
            .or_default() += 1;
    }
    if counts.is_empty() {
        return "no object matches: nothing was done".to_owned();
    }
    let counts = counts
        .iter()
        .map(|((_, word), count)| format!("{word} {count}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// Text of the API server on one line, without what controls a terminal.
fn plain(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(visible).collect()
}
