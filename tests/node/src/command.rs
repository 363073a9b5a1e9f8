//! kubectl, helm and kybern as a user runs them; a failure shows all that they said.

use anyhow::{Context, Result, ensure};
use std::ffi::OsStr;
use std::process::{Command, ExitStatus, Stdio};

/// What a program said.
#[derive(Debug)]
pub struct Output {
    /// The command as one would type it.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Standard output, if the command succeeded.
    ///
    /// # Errors
    /// It failed: the message holds all that it said.
    pub fn ok(self) -> Result<String> {
        ensure!(self.status.success(), "{self}");
        Ok(self.stdout)
    }

    /// Standard error, if the command failed as it should.
    ///
    /// # Errors
    /// It succeeded.
    pub fn refused(self) -> Result<String> {
        ensure!(
            !self.status.success(),
            "this should have been refused: {self}"
        );
        Ok(self.stderr)
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            command,
            status,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "`{command}`: {status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        )
    }
}

/// Runs a command to its end.
///
/// # Errors
/// It cannot be started, or prints what is no UTF-8.
pub fn run(command: &mut Command) -> Result<Output> {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    let words = words.join(" ");
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start `{words}`"))?;
    Ok(Output {
        stdout: String::from_utf8(output.stdout)
            .with_context(|| format!("standard output of `{words}`"))?,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        status: output.status,
        command: words,
    })
}

/// Runs kubectl as the administrator.
///
/// # Errors
/// As of [`run`].
pub fn kubectl<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result<Output> {
    run(Command::new("kubectl").args(arguments))
}

/// Runs helm as the administrator.
///
/// # Errors
/// As of [`run`].
pub fn helm<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result<Output> {
    run(Command::new("helm").args(arguments))
}

/// Runs kybern on this machine, as the administrator where it asks the cluster.
///
/// # Errors
/// As of [`run`], or it has not been built.
pub fn kybern<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result<Output> {
    run(Command::new(kybern_testcluster::kybern()?).args(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Output {
        run(Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn a_failure_shows_all_that_was_said() {
        let error = shell("echo out; echo err >&2; exit 3").ok().unwrap_err();
        let text = error.to_string();
        for part in ["sh -c echo out", "exit status: 3", "\nout\n", "\nerr\n"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[test]
    fn a_success_that_should_have_been_refused_is_one() {
        assert_eq!(shell("echo no >&2; exit 1").refused().unwrap(), "no\n");
        assert!(shell("true").refused().is_err());
    }
}
