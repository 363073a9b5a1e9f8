//! Does what is typed or scripted: statements and commands, in order, until one fails.

use super::complete::view;
use super::describe;
use super::failure::Failure;
use super::input::{self, Command, Step};
use super::output::{self, Grid, Style};
use super::script::Statement;
use super::session::{Answered, Session, Written};
use super::write::Allowed;
use crate::terminal;
use anyhow::anyhow;
use arrow::array::{Array, AsArray};
use futures::FutureExt;
use kybern_sql::{SqlError, parse_subscribe};
use kybern_table::Path;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The statement behind `\d`.
const TABLES: &str = "SELECT table_schema AS schema, table_name AS name, kind, \
     CASE WHEN namespaced THEN 'namespaced' ELSE 'cluster' END AS scope \
     FROM kybern.kinds WHERE listable AND preferred \
     UNION ALL SELECT v.table_schema, v.table_name, 'view of ' || k.kind, \
     CASE WHEN k.namespaced THEN 'namespaced' ELSE 'cluster' END \
     FROM information_schema.tables v JOIN kybern.kinds k ON v.table_schema = k.table_schema \
     AND (v.table_name = k.table_name || '_conditions' OR v.table_name = 'pod_containers' AND k.kind = 'Pod') \
     WHERE v.table_type = 'VIEW' AND k.listable AND k.preferred ORDER BY 1, 2";
/// The statement behind `\dk`.
const KINDS: &str = "SELECT table_schema AS schema, table_name AS name, kind, version, preferred, \
     state, rows, reason FROM kybern.kinds ORDER BY 1, 2";

/// How what was typed ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All was done.
    Done,
    /// Something failed; the exit code that tells it.
    Failed(u8),
    /// Whoever types wants to leave.
    Left,
}

/// A session, and how it is shown.
pub(crate) struct Shell {
    pub(crate) session: Session,
    pub(super) style: Style,
    /// What statements that change objects may do.
    allowed: Allowed,
    timing: bool,
    /// Ctrl-C, at the prompt; elsewhere it ends the process.
    pub(super) interrupts: Option<Signal>,
    /// The last statement, for `\watch`.
    last: Option<String>,
    /// What stands before the next answer of the same input.
    pub(super) between: &'static str,
}

impl Shell {
    pub(crate) fn new(session: Session, style: Style, allowed: Allowed) -> Self {
        Self {
            session,
            style,
            allowed,
            timing: false,
            interrupts: None,
            last: None,
            between: "",
        }
    }

    /// From now on Ctrl-C ends a statement and not the process.
    pub(crate) fn cancel_on_interrupt(&mut self) -> std::io::Result<()> {
        self.interrupts = Some(signal(SignalKind::interrupt())?);
        Ok(())
    }

    /// Does it all, or up to the first that fails.
    pub(crate) async fn run(&mut self, script: &str) -> Ended {
        // One from before, when nothing ran, is not meant for what comes now.
        if let Some(interrupts) = &mut self.interrupts {
            let _ = interrupts.recv().now_or_never();
        }
        self.between = "";
        for step in input::steps(script) {
            if step == Step::Do(Command::Quit) {
                return Ended::Left;
            }
            if let Err(failure) = self.step(step).await {
                eprint!("{}", failure.render(script));
                return Ended::Failed(failure.exit_code());
            }
        }
        Ended::Done
    }

    async fn step(&mut self, step: Step<'_>) -> Result<(), Failure> {
        match step {
            Step::Run(statement) => {
                if kybern_sql::is_write(statement.text) {
                    return self.write(&statement.in_place()).await;
                }
                self.last = Some(statement.text.to_owned());
                self.answer(&statement.in_place(), Listed::Before).await
            }
            Step::Watch(statement, pause) => self.watch(statement, pause).await,
            Step::Do(command) => self.command(command).await,
            Step::Wrong(why) => Err(Failure::Usage(why)),
        }
    }

    async fn answer(&mut self, statement: &str, listed: Listed) -> Result<(), Failure> {
        let subscribe = parse_subscribe(statement).map_err(SqlError::from)?;
        if subscribe.is_some_and(|asked| !asked.explain) {
            return self.subscribe(statement).await;
        }
        let session = &mut self.session;
        let began = crate::clock::monotonic();
        let work = async {
            match listed {
                Listed::Before => session.answer(statement).await,
                Listed::Anew => session.answer_anew(statement).await,
            }
        };
        let answered = cancellable(&mut self.interrupts, work).await?;
        let took = crate::clock::monotonic().saturating_sub(began);
        self.show(&answered)?;
        self.between = self.style.separator();
        if self.timing {
            eprintln!("Time: {:.1} ms", took.as_secs_f64() * 1000.0);
        }
        Ok(())
    }

    /// Changes objects, and reports about each.
    async fn write(&mut self, statement: &str) -> Result<(), Failure> {
        let session = &mut self.session;
        let work = session.plan_write(statement);
        let planned = cancellable(&mut self.interrupts, work).await?;
        let planned = match planned {
            Written::Explained(title, answered) => {
                if self.style.is_for_people() {
                    eprintln!(
                        "{title}: one request for each row of the following; nothing was done"
                    );
                }
                self.show(&answered)?;
                self.between = self.style.separator();
                return Ok(());
            }
            Written::Planned(planned) => planned,
        };
        planned.confirm(self.allowed).await?;
        let outcomes = planned.run().await?;
        // What was listed is not so any more.
        self.session.forget();
        let returned = self.session.returned(&planned, &outcomes).await;
        terminal::write(self.between);
        self.between = self.style.separator();
        match returned {
            Ok(returned) => planned.report(&outcomes, returned.as_ref(), &self.style),
            Err(failure) => planned
                .report(&outcomes, None, &self.style)
                .and(Err(failure)),
        }
    }

    fn show(&self, answered: &Answered) -> anyhow::Result<()> {
        terminal::write(self.between);
        let people = self.style.is_for_people();
        if people && answered.is_explain {
            terminal::write(&lines(&answered.answer));
            return Ok(());
        }
        terminal::write(&output::render(&answered.answer, &self.style)?);
        if people {
            eprintln!("{}", output::count(answered.answer.rows));
        }
        Ok(())
    }

    /// Answers again and again until Ctrl-C or an error.
    async fn watch(
        &mut self,
        given: Option<Statement<'_>>,
        pause: Duration,
    ) -> Result<(), Failure> {
        if let Some(statement) = given {
            self.last = Some(statement.text.to_owned());
        }
        let Some(statement) = self.last.clone() else {
            return Err(Failure::Usage(
                r"\watch answers the statement before it: there is none".into(),
            ));
        };
        loop {
            if self.style.is_for_people() {
                let now = crate::clock::wall()
                    .strftime("%Y-%m-%dT%H:%M:%SZ")
                    .to_string();
                eprintln!("{now} (every {} s)", pause.as_secs_f64());
            }
            let round = async {
                self.answer(&statement, Listed::Anew).await?;
                let wait = async {
                    tokio::time::sleep(pause).await;
                    Ok(())
                };
                cancellable(&mut self.interrupts, wait).await
            };
            match round.await {
                Ok(()) => {}
                Err(Failure::Cancelled) => return Ok(()),
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn command(&mut self, command: Command) -> Result<(), Failure> {
        match command {
            Command::Help => terminal::write(input::HELP),
            Command::Quit => {}
            Command::Tables => {
                // A name that is cut cannot be typed.
                let width = self.style.width.take();
                let answered = self.answer(TABLES, Listed::Before).await;
                self.style.width = width;
                answered?;
            }
            Command::Kinds => self.answer(KINDS, Listed::Before).await?,
            Command::Table { name, below } => self.describe(&name, below.as_deref()).await?,
            Command::Output(output) => self.style.output = output,
            Command::Expanded => {
                self.style.expanded = !self.style.expanded;
                eprintln!("expanded: {}", on(self.style.expanded));
            }
            Command::Timing => {
                self.timing = !self.timing;
                eprintln!("timing: {}", on(self.timing));
            }
            Command::Refresh => {
                let session = &mut self.session;
                let work = async { session.refresh().await.map_err(Failure::from) };
                cancellable(&mut self.interrupts, work).await?;
            }
        }
        Ok(())
    }

    async fn describe(&mut self, name: &str, below: Option<&str>) -> Result<(), Failure> {
        let session = &mut self.session;
        let work = async { Ok(session.table(name).await?) };
        let found = cancellable(&mut self.interrupts, work).await;
        let Some(key) = found.map_err(Failure::without_place)? else {
            let columns = format!("SELECT * FROM {name} WHERE false");
            let answered = self.session.answer(&columns).await?;
            self.grid(&describe::of_schema(&answered.answer.schema));
            return Ok(());
        };
        let catalog = self.session.kinds().catalog();
        if let (Some(view), None) = (view(name, &catalog), below) {
            let (title, columns) = describe::view(view);
            terminal::write(&title);
            self.grid(&columns);
            return Ok(());
        }
        let table = catalog.tables().find(|table| table.def.key == key);
        let table = table.ok_or_else(|| anyhow!("{name} is no longer served"))?;
        let Some(below) = below else {
            terminal::write(&describe::title(table));
            self.grid(&describe::columns(table));
            if let Some(paths) = describe::paths(table, None) {
                terminal::write("\n");
                self.grid(&paths);
            }
            return Ok(());
        };
        let path: Path = below
            .parse()
            .map_err(|error| Failure::Usage(format!("{error}")))?;
        match describe::paths(table, Some(&path)) {
            Some(paths) => self.grid(&paths),
            None => {
                return Err(Failure::Usage(format!(
                    "the schema knows no path below {path}"
                )));
            }
        }
        Ok(())
    }

    fn grid(&self, grid: &Grid) {
        terminal::write(&grid.table(self.style.cut_to()));
    }
}

/// Whether what was listed before will do.
#[derive(Clone, Copy)]
enum Listed {
    Before,
    Anew,
}

fn on(is: bool) -> &'static str {
    if is { "on" } else { "off" }
}

/// The lines of an EXPLAIN.
fn lines(answer: &kybern_sql::Answer) -> String {
    let columns = answer
        .batches
        .iter()
        .filter_map(|batch| batch.columns().first());
    let lines = columns.filter_map(|column| column.as_string_opt::<i32>());
    let lines = lines.flat_map(|column| (0..column.len()).map(|row| column.value(row)));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Runs the work until it is done or Ctrl-C.
pub(super) async fn cancellable<T>(
    interrupts: &mut Option<Signal>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match interrupts {
        None => work.await,
        Some(interrupts) => tokio::select! {
            biased;
            _ = interrupts.recv() => Err(Failure::Cancelled),
            done = work => done,
        },
    }
}
