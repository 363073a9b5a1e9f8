//! The store under the API server.

use crate::component::Component;
use crate::ports;
use crate::process::Process;
use crate::wait::{Progress, until};
use anyhow::Result;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const READY: Duration = Duration::from_secs(30);

pub(crate) struct Etcd {
    pub(crate) url: String,
    pub(crate) process: Process,
}

impl Etcd {
    /// Starts a store with its data in `folder`; returns when it accepts connections.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let [client, peer] = ports::free()?;
        let url = format!("http://127.0.0.1:{client}");
        let peer = format!("http://127.0.0.1:{peer}");
        let mut command = Command::new(Component::Etcd.find()?);
        command
            .arg("--name=default")
            .arg(format!("--data-dir={}", folder.join("etcd").display()))
            .arg(format!("--listen-client-urls={url}"))
            .arg(format!("--advertise-client-urls={url}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=default={peer}"))
            // Nothing here outlives a crash of the machine.
            .arg("--unsafe-no-fsync")
            .arg("--quota-backend-bytes=8589934592")
            .arg("--log-level=warn");
        let mut process = Process::start("etcd", command, folder)?;
        until("etcd listens", READY, || {
            process.alive()?;
            Ok(match TcpStream::connect((Ipv4Addr::LOCALHOST, client)) {
                Ok(_) => Progress::Done(()),
                Err(error) => Progress::Waiting(error.to_string()),
            })
        })?;
        Ok(Self { url, process })
    }
}
