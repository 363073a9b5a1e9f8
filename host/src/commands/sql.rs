//! `kybern sql`: statements over a cluster or over manifests, given, scripted or typed.
//!
//! # Contract
//!
//! Standard output holds answers and reports alone. Exit code 0: all were answered and done; 1: a
//! table could not be listed, a file not read, or an object not changed; 2: a statement was refused. Nothing after the first failure is run.

mod complete;
mod describe;
mod extent;
mod failure;
mod follow;
mod input;
mod items;
mod output;
mod progress;
mod prompt;
mod script;
mod session;
mod shell;
mod subscribe;
mod write;

use crate::args::SqlArgs;
use anyhow::{Context, ensure};
use output::Style;
use session::Session;
use shell::{Ended, Shell};
use std::io::{IsTerminal, Read};
use std::path::Path;
use std::process::ExitCode;
use write::Allowed;

/// Largest script that is read.
const SCRIPT_BYTES: u64 = 16 << 20;

/// Answers, prints, exits.
pub(crate) async fn run(args: SqlArgs) -> anyhow::Result<ExitCode> {
    let script = script(&args)?;
    let session = Session::open(&args).await?;
    let allowed = Allowed {
        yes: args.yes,
        max_rows: args.max_rows,
    };
    let style = Style {
        output: args.output,
        expanded: false,
        width: crate::terminal::width(std::io::stdout()),
    };
    let Some(script) = script else {
        prompt::run(Shell::new(session, style, allowed)).await?;
        return Ok(ExitCode::SUCCESS);
    };
    let mut shell = Shell::new(session, style, allowed);
    Ok(match shell.run(&script).await {
        Ended::Done | Ended::Left => ExitCode::SUCCESS,
        Ended::Failed(code) => ExitCode::from(code),
    })
}

/// The statements that are given or come from standard input; none if a person types them.
fn script(args: &SqlArgs) -> anyhow::Result<Option<String>> {
    let given = args
        .statement
        .as_deref()
        .filter(|statement| *statement != "-");
    if let Some(statement) = given {
        return Ok(Some(statement.to_owned()));
    }
    let manifests = args.filename.iter().any(|path| path == Path::new("-"));
    ensure!(
        !manifests,
        "standard input holds the manifests (-f -): give the statement as an argument"
    );
    if args.statement.is_none() && std::io::stdin().is_terminal() {
        return Ok(None);
    }
    let mut script = String::new();
    let read = std::io::stdin()
        .lock()
        .take(SCRIPT_BYTES + 1)
        .read_to_string(&mut script);
    let read = read.context("standard input cannot be read as a script")?;
    let most = usize::try_from(SCRIPT_BYTES)?;
    ensure!(
        read <= most,
        "the script is larger than {SCRIPT_BYTES} bytes"
    );
    Ok(Some(script))
}
