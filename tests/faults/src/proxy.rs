//! The proxy: its port, its threads, and what a test says to it.

use crate::error::FaultError;
use crate::events::EventPattern;
use crate::fault::Fault;
use crate::journal::Journal;
use crate::owners::Owners;
use crate::pattern::Pattern;
use crate::rules::{Injected, Rules};
use crate::serve::Way;
use crate::upstream::{Connections, Upstream};
use crate::watches::{Flow, Flowing, Watches};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// A running proxy; its connections end when it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    way: Arc<Way>,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl FaultProxy {
    /// Listens on 127.0.0.1, on a port of the system's choice.
    ///
    /// # Errors
    /// [`FaultError`], when there is no port or the API server's certificates are none.
    pub fn start(upstream: Upstream) -> Result<Self, FaultError> {
        let runtime = runtime()?;
        let inside = runtime.enter();
        let connections = Connections::new(upstream)?;
        drop(inside);
        let way = Arc::new(Way {
            connections,
            rules: Rules::default(),
            journal: Journal::default(),
            watches: Arc::new(Watches::default()),
            owners: Owners::default(),
        });
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .map_err(FaultError::Start)?;
        let address = listener.local_addr().map_err(FaultError::Start)?;
        runtime.spawn(accept(listener, Arc::clone(&way)));
        Ok(Self {
            way,
            address,
            runtime: Some(runtime),
        })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A fault is in force from now on until its handle is dropped.
    pub fn inject(&self, fault: Fault) -> Injected {
        self.way.rules.add(fault)
    }

    /// Events of watches are disturbed from now on until the handle is dropped. The first of
    /// several disturbances that an event matches counts.
    pub fn disturb(&self, pattern: EventPattern, flow: Flow) -> Flowing {
        self.way.watches.disturb(pattern, flow)
    }

    /// Breaks the open watches that match; how many there were.
    #[must_use]
    pub fn cut(&self, pattern: &Pattern) -> usize {
        self.way.watches.cut(pattern)
    }

    /// How many watches that match are open.
    #[must_use]
    pub fn open_watches(&self, pattern: &Pattern) -> usize {
        self.way.watches.count(pattern)
    }

    /// What was asked and what came of it.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.way.journal
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // Requests that are never answered would be waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn runtime() -> Result<Runtime, FaultError> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("faults")
        .enable_all()
        .build()
        .map_err(FaultError::Start)
}

async fn accept(listener: TcpListener, way: Arc<Way>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(stream, Arc::clone(&way)));
                }
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// Ends when either side does, or when a fault cuts it: then without an answer.
async fn connection(stream: TcpStream, way: Arc<Way>) {
    // Only a matter of speed.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let way = Arc::clone(&way);
        async move { way.serve(request).await }
    });
    let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // How it ended is in the journal.
    let _ = serving.await;
}
