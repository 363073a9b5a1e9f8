//! A system under measurement, in a process of its own.
//!
//! # Contract
//! `PROGRAM be-cache SYSTEM URL` answers each line on its standard input with one line: `wait
//! NAMESPACE/NAME RESOURCE_VERSION` once its cache shows that pod at that version or later,
//! `settle` once it has built what it keeps beside the objects, `budget` with what it knows about
//! its bytes. It ends when its input does. `PROGRAM be-ingest SYSTEM FILE OBJECTS` and `PROGRAM be-sql
//! SYSTEM FOLDER PODS ANSWERS MILLISECONDS` answer by themselves; so does a Python whose first word
//! is a script instead. What the peers of `pass` answer stands in [`crate::pass`]'s file `peer`.

use crate::proc::{Resident, resident};
use crate::systems::Runnable;
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child as Process, ChildStdin, ChildStdout, Command, Stdio};

/// A running system.
#[derive(Debug)]
pub(crate) struct Child {
    name: String,
    process: Process,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Child {
    pub(crate) fn start(of: &Runnable, words: &[&str]) -> Result<Child> {
        let name = of.system.name();
        let (first, rest) = words.split_first().context("a child needs a command")?;
        let mut process = Command::new(&of.program)
            .arg(first)
            .arg(&name)
            .args(rest)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", of.program.display()))?;
        let input = process.stdin.take();
        let output = process.stdout.take().context("the child has an output")?;
        Ok(Child {
            name,
            process,
            input,
            output: BufReader::new(output),
        })
    }

    /// Its next line.
    pub(crate) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(
            line.ends_with('\n'),
            "{} ended; its own message is above",
            self.name
        );
        line.truncate(line.trim_end().len());
        Ok(line)
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&mut self, question: &str) -> Result<String> {
        let input = self.input.as_mut().context("the child's input is open")?;
        writeln!(input, "{question}")?;
        input.flush()?;
        let answer = self.line()?;
        if let Some(message) = answer.strip_prefix("error: ") {
            bail!("{}: {message}", self.name);
        }
        Ok(answer)
    }

    /// What it holds.
    pub(crate) fn resident(&self) -> Result<Resident> {
        resident(self.process.id())
    }

    /// Lets the peak start anew from what it holds now.
    pub(crate) fn reset_peak(&self) -> Result<()> {
        let file = format!("/proc/{}/clear_refs", self.process.id());
        std::fs::write(file, "5").context("reset the peak")
    }

    /// Ends it.
    pub(crate) fn end(mut self) -> Result<()> {
        drop(self.input.take());
        let status = self.process.wait()?;
        ensure!(status.success(), "{} failed: {status}", self.name);
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended; then there is nobody to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
