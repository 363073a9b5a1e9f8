//! The store under the API server: its process, and copies of its data.

use crate::component::Component;
use crate::ports;
use crate::process::Process;
use crate::wait::{Progress, until};
use anyhow::{Context, Result, ensure};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const READY: Duration = Duration::from_secs(30);

/// A running store; the same ports and folder after a restart.
pub(crate) struct Etcd {
    pub(crate) url: String,
    client: u16,
    peer: u16,
    folder: PathBuf,
    process: Mutex<Option<Process>>,
}

impl Etcd {
    /// Starts a store with its data in `folder`; returns when it accepts connections.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let [client, peer] = ports::free()?;
        let etcd = Self {
            url: format!("http://127.0.0.1:{client}"),
            client,
            peer,
            folder: folder.to_owned(),
            process: Mutex::new(None),
        };
        etcd.launch()?;
        Ok(etcd)
    }

    pub(crate) fn process_id(&self) -> Option<u32> {
        self.slot().as_ref().map(Process::id)
    }

    /// Stops the store, copies its data, and starts it again.
    pub(crate) fn copy(&self) -> Result<PathBuf> {
        let folder = tempfile::Builder::new()
            .prefix("etcd-copy-")
            .tempdir_in(&self.folder)
            .context("make a folder for the copy")?
            .keep();
        self.stop()?;
        copy_folder(&self.data(), &folder)?;
        self.launch()?;
        Ok(folder)
    }

    /// Stops the store, puts a copy in the place of its data, and starts it again.
    pub(crate) fn restore(&self, copy: &Path) -> Result<()> {
        self.stop()?;
        std::fs::remove_dir_all(self.data()).context("remove the store's data")?;
        copy_folder(copy, &self.data())?;
        self.launch()
    }

    fn data(&self) -> PathBuf {
        self.folder.join("etcd")
    }

    fn stop(&self) -> Result<()> {
        if let Some(mut process) = self.slot().take() {
            // What it has written is in the kernel's hands: nothing is lost.
            process.kill()?;
        }
        Ok(())
    }

    fn launch(&self) -> Result<()> {
        let mut slot = self.slot();
        ensure!(slot.is_none(), "etcd runs");
        let url = &self.url;
        let peer = format!("http://127.0.0.1:{}", self.peer);
        let mut command = Command::new(Component::Etcd.find()?);
        command
            .arg("--name=default")
            .arg(format!("--data-dir={}", self.data().display()))
            .arg(format!("--listen-client-urls={url}"))
            .arg(format!("--advertise-client-urls={url}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=default={peer}"))
            // Nothing here outlives a crash of the machine.
            .arg("--unsafe-no-fsync")
            .arg("--quota-backend-bytes=8589934592")
            .arg("--log-level=warn");
        let mut process = Process::start("etcd", command, &self.folder)?;
        until("etcd listens", READY, || {
            process.alive()?;
            let address = (Ipv4Addr::LOCALHOST, self.client);
            Ok(match TcpStream::connect(address) {
                Ok(_) => Progress::Done(()),
                Err(error) => Progress::Waiting(error.to_string()),
            })
        })?;
        *slot = Some(process);
        Ok(())
    }

    fn slot(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)
                .with_context(|| format!("copy to {}", target.display()))?;
        }
    }
    Ok(())
}
