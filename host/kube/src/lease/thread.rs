//! The thread that stands for election: performs what the elector asks for.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use bytes::Bytes;
use http::Method;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    api_error::RequestError,
    clock::Clock,
    cluster::Cluster,
    exchange::{Call, JSON, exchange},
    resource::{Resource, Target},
};

use super::{
    LeaderState, Leadership, LeaseConfig, LeaseError, Shared,
    elector::{Action, Elector, Input},
    record::{self, Record},
};

/// A running candidacy. Dropping it ends it too, without waiting for the lease to be given back.
pub struct Election {
    cancel: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Election {
    /// Ends the candidacy: writes are refused from now on, and the lease is given back. Blocks
    /// until that is done, for at most one retry period or so; finish writing before.
    pub fn stop(mut self) {
        self.cancel.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of leader election has panicked");
        }
    }
}

impl Drop for Election {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Begins to stand for election.
///
/// # Errors
/// [`LeaseError`], when the configuration contradicts itself or the thread cannot be started.
pub fn start(
    cluster: &Cluster,
    config: LeaseConfig,
    clock: Arc<dyn Clock>,
) -> Result<(Leadership, Election), LeaseError> {
    config.check()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(LeaseError::Thread)?;
    let entered = runtime.enter();
    let own = cluster.in_this_runtime()?;
    drop(entered);
    let shared = Arc::new(Shared {
        clock,
        until: AtomicU64::new(0),
    });
    let (sender, receiver) = watch::channel(LeaderState::Standby { holder: None });
    let cancel = CancellationToken::new();
    let candidate = Candidate {
        lease: Resource::new("coordination.k8s.io", "v1", "Lease", "leases", true),
        own,
        writers: cluster.clone(),
        config,
        shared: shared.clone(),
        state: sender,
        cancel: cancel.clone(),
    };
    let thread = std::thread::Builder::new()
        .name("election".to_owned())
        .spawn(move || runtime.block_on(candidate.run()))
        .map_err(LeaseError::Thread)?;
    Ok((
        Leadership {
            shared,
            state: receiver,
        },
        Election {
            cancel,
            thread: Some(thread),
        },
    ))
}

struct Candidate {
    lease: Resource,
    /// The election's own connections.
    own: Cluster,
    /// The connections that writes use; replaced after a standstill.
    writers: Cluster,
    config: LeaseConfig,
    shared: Arc<Shared>,
    state: watch::Sender<LeaderState>,
    cancel: CancellationToken,
}

/// A thread that ends, however it ends, leads no more.
impl Drop for Candidate {
    fn drop(&mut self) {
        self.shared.set_until(None);
        self.state.send_replace(LeaderState::Stopped);
    }
}

impl Candidate {
    async fn run(self) {
        let mut elector = Elector::new();
        let mut action = Action::Read;
        loop {
            let limit = elector.deadline(self.now(), &self.config);
            let performed = self
                .cancel
                .run_until_cancelled(self.perform(&action, limit))
                .await;
            let Some(input) = performed else { break };
            let (next, next_action) = elector.step(input, self.now(), &self.config);
            elector = next;
            action = next_action;
            self.publish(&elector);
        }
        self.shared.set_until(None);
        if let Some(record) = elector.to_release() {
            self.release(record).await;
        }
    }

    fn now(&self) -> Duration {
        self.shared.clock.since_boot()
    }

    fn publish(&self, elector: &Elector) {
        self.shared.set_until(elector.until(&self.config));
        let state = elector.state();
        self.state.send_if_modified(|current| {
            let changed = *current != state;
            if changed {
                tracing::info!(identity = self.config.identity, ?state, "leader election");
                *current = state;
            }
            changed
        });
    }

    async fn perform(&self, action: &Action, limit: Duration) -> Input {
        match action {
            Action::Pause => {
                self.pause().await;
                Input::Rested
            }
            Action::Read => match self.send(Method::GET, true, None, limit).await {
                Ok(record) => Input::Read(Some(record)),
                Err(RequestError::Api(error)) if error.is_not_found() => Input::Read(None),
                Err(error) => self.failed(&error),
            },
            Action::Create => {
                let body = record::held(&self.config, None, self.shared.clock.now());
                self.hold(Method::POST, false, body, limit).await
            }
            Action::Hold(old) => {
                let body = record::held(&self.config, Some(old), self.shared.clock.now());
                self.hold(Method::PUT, true, body, limit).await
            }
        }
    }

    async fn hold(&self, method: Method, named: bool, body: Bytes, limit: Duration) -> Input {
        let sent = self.now();
        match self.send(method, named, Some(body), limit).await {
            Ok(record) => Input::Held { record, sent },
            Err(RequestError::Api(error)) if error.code == 409 || error.is_not_found() => {
                Input::LostRace
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&self, error: &RequestError) -> Input {
        let lease = format!("{}/{}", self.config.namespace, self.config.name);
        tracing::warn!(
            lease,
            error = error.chain(),
            "leader election failed to reach its lease"
        );
        Input::Failed
    }

    async fn send(
        &self,
        method: Method,
        named: bool,
        body: Option<Bytes>,
        limit: Duration,
    ) -> Result<Record, RequestError> {
        let namespace = Some(self.config.namespace.as_str());
        let path = if named {
            Target::new(&self.lease, namespace, &self.config.name).path(None)
        } else {
            self.lease.collection(namespace)
        };
        let mut call = Call::get(&self.own, path);
        call.method = method;
        call.timeout = limit;
        call.body = body.map(|body| (JSON, body));
        let answer = exchange(&self.own, &call).await?;
        Record::parse(&answer).map_err(|source| RequestError::Decode {
            what: call.what(),
            source,
        })
    }

    /// Rests, and notices when the machine slept meanwhile.
    async fn pause(&self) {
        let before = self.now();
        tokio::time::sleep(self.config.retry).await;
        let late = self
            .now()
            .saturating_sub(before)
            .saturating_sub(self.config.retry);
        if late > self.config.gap {
            tracing::warn!(?late, "this machine stood still: replacing all connections");
            for cluster in [&self.writers, &self.own] {
                if let Err(error) = cluster.close_connections() {
                    tracing::error!(
                        error = crate::api_error::chain(&error),
                        "cannot replace connections"
                    );
                }
            }
        }
    }

    async fn release(&self, record: &Record) {
        let mut given = self.give_back(record).await;
        // The last renewal may have been cut off after it was stored: look again, once.
        if let Err(RequestError::Api(error)) = &given
            && error.is_conflict()
            && let Ok(current) = self.send(Method::GET, true, None, self.config.retry).await
            && current.holder.as_deref() == Some(&self.config.identity)
        {
            given = self.give_back(&current).await;
        }
        match given {
            Ok(_) => tracing::info!(identity = self.config.identity, "gave the lease back"),
            Err(error) => {
                tracing::warn!(
                    error = error.chain(),
                    "could not give the lease back; it expires by itself"
                );
            }
        }
    }

    async fn give_back(&self, record: &Record) -> Result<Record, RequestError> {
        let body = record::released(&self.config, record, self.shared.clock.now());
        self.send(Method::PUT, true, Some(body), self.config.retry)
            .await
    }
}
