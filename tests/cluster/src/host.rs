//! Runs the built `kybern` against a control plane, as its users do.

use crate::ports;
use crate::process::Process;
use crate::wait::{Progress, until};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

const READY: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(30);

/// How `kybern run` is started.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// The program.
    pub binary: PathBuf,
    /// Whose rights it has.
    pub kubeconfig: PathBuf,
    /// `--class`.
    pub class: String,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Variables beside those of the test.
    pub environment: Vec<(String, PathBuf)>,
    /// Where its log goes.
    pub folder: PathBuf,
}

/// A running `kybern run`; killed when dropped.
#[derive(Debug)]
pub struct Host {
    process: Process,
    address: String,
}

impl Host {
    /// Starts the host without waiting for anything.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(options: &HostOptions) -> Result<Self> {
        let [port] = ports::free()?;
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(&options.binary);
        command
            .arg("run")
            .arg("--kubeconfig")
            .arg(&options.kubeconfig)
            .args(["--class", &options.class, "--listen", &address])
            .args(&options.arguments)
            .envs(
                options
                    .environment
                    .iter()
                    .map(|(name, value)| (name, value)),
            );
        let process = Process::start(&format!("kybern-{port}"), command, &options.folder)?;
        Ok(Self { process, address })
    }

    /// Waits until `/readyz` says yes.
    ///
    /// # Errors
    /// It ends (the message holds the end of its log), or time is up.
    pub fn wait_ready(&mut self) -> Result<()> {
        let log = self.process.log().to_owned();
        until("kybern is ready", READY, || {
            self.process.alive()?;
            Ok(match http_get(&self.address, "/readyz") {
                Ok((200, _)) => Progress::Done(()),
                Ok((code, body)) => Progress::Waiting(format!("{code} {}", body.trim())),
                Err(error) => Progress::Waiting(error.to_string()),
            })
        })
        .with_context(|| format!("log: {}", log.display()))
    }

    /// The text of `/metrics`.
    ///
    /// # Errors
    /// No answer.
    pub fn metrics(&self) -> Result<String> {
        let (code, body) = http_get(&self.address, "/metrics").context("GET /metrics")?;
        anyhow::ensure!(code == 200, "GET /metrics: {code}");
        Ok(body)
    }

    /// `127.0.0.1:PORT` of its probes and metrics.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its log file.
    #[must_use]
    pub fn log(&self) -> &Path {
        self.process.log()
    }

    /// Most bytes that it had in memory so far (`VmHWM`).
    ///
    /// # Errors
    /// It has ended.
    pub fn peak_resident(&self) -> Result<u64> {
        let file = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(&file).with_context(|| file.clone())?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let line = line.with_context(|| format!("{file} has no VmHWM"))?;
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kibibytes * 1024)
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.process.terminate()?;
        until("kybern ends", GRACE, || {
            Ok(Progress::from(self.process.exited()?))
        })
        .with_context(|| self.process.tail())
    }
}

fn http_get(address: &str, path: &str) -> std::result::Result<(u16, String), ureq::Error> {
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(5)))
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .new_agent();
    let mut answer = agent.get(format!("http://{address}{path}")).call()?;
    Ok((
        answer.status().as_u16(),
        answer.body_mut().read_to_string()?,
    ))
}
