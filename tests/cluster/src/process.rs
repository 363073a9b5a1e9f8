//! One child process with its log file.

use crate::spawner::spawn;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// How much of the log's end an error shows.
const TAIL_BYTES: u64 = 4096;

/// A child process that is killed when it is dropped, and when this process ends.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` as `name` with its output appended to `<folder>/<name>.log`.
    ///
    /// # Errors
    /// The log cannot be written or the program cannot be started.
    pub fn start(name: &str, mut command: Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("open {}", log.display()))?;
        let errors = output.try_clone().context("share the log file")?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = spawn(command).with_context(|| format!("start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// File with everything that it printed.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The operating system's.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("ask for {}", self.name))
    }

    /// The last lines that it printed.
    #[must_use]
    pub fn tail(&self) -> String {
        tail(&self.log).unwrap_or_else(|error| format!("(no log: {error})"))
    }

    /// Fails with the last lines of the log if the process has ended.
    ///
    /// # Errors
    /// It has ended.
    pub fn alive(&mut self) -> Result<()> {
        match self.exited()? {
            None => Ok(()),
            Some(status) => anyhow::bail!("{} ended ({status}):\n{}", self.name, self.tail()),
        }
    }

    /// Asks it to end with SIGTERM and returns how it did; the caller waits with [`Process::exited`].
    ///
    /// # Errors
    /// The operating system's.
    pub fn terminate(&self) -> Result<()> {
        self.signal(rustix::process::Signal::TERM)
    }

    /// Kills it with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// The operating system's.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.child
            .kill()
            .with_context(|| format!("kill {}", self.name))?;
        self.child
            .wait()
            .with_context(|| format!("wait for {}", self.name))
    }

    fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal)
            .with_context(|| format!("signal {}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
