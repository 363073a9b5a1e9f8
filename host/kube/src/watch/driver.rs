//! Does what the state machine asks for: opens streams, reads pages, waits, hands batches over.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use http_body_util::BodyExt;
use kube::client::Body;
use kybern_table::{Batch, Change};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    api_error::chain,
    cluster::Cluster,
    encode,
    exchange::{Call, JSON, open},
    read::ListOptions,
    resource::Resource,
};

use super::{
    WatchConfig, WatchEnd, WatchTarget,
    backoff::{self, Jitter},
    event::{Event, parse, parse_version},
    failure::{Doing, Failure},
    lines::Lines,
    machine::{Machine, Start},
    observe::{Observation, WatchObserver},
    openings::Openings,
    protocol::{Action, Input, Wait, WaitReason},
};

/// How long a list's batch waits for company.
const LINGER: Duration = Duration::from_millis(5);

const METADATA: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// Feeds one table for as long as the token is not cancelled and somebody receives the batches.
///
/// # States
/// See the module's documentation.
pub async fn watch<T: From<Batch>>(
    cluster: Cluster,
    target: WatchTarget,
    config: WatchConfig,
    sink: mpsc::Sender<T>,
    observer: Arc<dyn WatchObserver>,
    cancel: CancellationToken,
) -> WatchEnd {
    let mut driver = Driver::new(cluster, target, config, sink, observer);
    match cancel.run_until_cancelled_owned(driver.run()).await {
        Some(end) => end,
        None => WatchEnd::Cancelled,
    }
}

struct Driver<T> {
    cluster: Cluster,
    target: WatchTarget,
    resource: Resource,
    config: WatchConfig,
    sink: mpsc::Sender<T>,
    observer: Arc<dyn WatchObserver>,
    jitter: Jitter,
    stream: Option<Stream>,
    pending: Pending,
}

/// An open watch.
struct Stream {
    body: Body,
    lines: Lines,
}

/// Changes that were not handed over yet.
#[derive(Default)]
struct Pending {
    batch: Batch,
    bytes: usize,
    /// That it ends a list.
    listed: Option<Observation>,
}

/// What came of waiting for a chunk.
enum Chunk {
    /// Bytes were pushed to the lines.
    More,
    Ended,
    Idle,
}

impl<T: From<Batch>> Driver<T> {
    fn new(
        cluster: Cluster,
        target: WatchTarget,
        config: WatchConfig,
        sink: mpsc::Sender<T>,
        observer: Arc<dyn WatchObserver>,
    ) -> Driver<T> {
        let resource = Resource::from(&target.def);
        let jitter = Jitter::new(config.seed);
        let (stream, pending) = (None, Pending::default());
        Driver {
            cluster,
            target,
            resource,
            config,
            sink,
            observer,
            jitter,
            stream,
            pending,
        }
    }

    async fn run(&mut self) -> WatchEnd {
        let key = self.target.def.key.clone();
        let started = Instant::now();
        let (mut machine, mut action) = Machine::new(Start {
            key: key.clone(),
            what: format!(
                "{} in {}",
                self.resource.qualified(),
                self.target.scope.place()
            ),
            streaming: self.config.streaming,
            page: self.config.page,
            patience: self.config.patience.clone(),
            readable: self.target.readable,
            highest: self.target.highest,
        });
        self.pending
            .batch
            .changes
            .push(Change::Define(self.target.def.clone()));
        loop {
            // Batch what already waits, and hand it over before anything that takes time.
            let more = action == Action::Read && self.more_waits(machine.is_listing()).await;
            if !more && self.hand_over().await.is_err() {
                return WatchEnd::SinkClosed;
            }
            let input = match self.perform(&action).await {
                Some(input) => input,
                None => {
                    action = Action::Read;
                    continue;
                }
            };
            let (next, output) = machine.at(started.elapsed()).step(input);
            machine = next;
            self.pending.add(output.batch);
            for observation in output.observations {
                log(&key, &observation);
                // Who hears of a list looks for it in the table.
                if matches!(observation, Observation::Listed { .. }) {
                    self.pending.listed = Some(observation);
                } else {
                    self.observer.observe(&key, observation);
                }
            }
            action = output.action;
        }
    }

    /// Carries an action out; `None` when a stream is now open and nothing is known yet.
    async fn perform(&mut self, action: &Action) -> Option<Input> {
        if *action != Action::Read {
            self.stream = None;
        }
        let _turn = match self.openings(action) {
            Some(openings) => openings.turn().await,
            None => None,
        };
        match action {
            Action::StreamList => self.open_stream(None).await,
            Action::Watch { from } => self.open_stream(Some(*from)).await,
            Action::Read => Some(self.read().await),
            Action::Probe => Some(self.probe().await),
            Action::ReadPage { token, limit } => Some(self.read_page(token.clone(), *limit).await),
            Action::Wait(wait) => {
                tokio::time::sleep(self.delay(wait)).await;
                Some(Input::Resumed)
            }
        }
    }

    /// Who says when, for what makes the API server work.
    fn openings(&self, action: &Action) -> Option<Openings> {
        match action {
            Action::Read | Action::Wait(_) => None,
            Action::StreamList | Action::Watch { .. } | Action::Probe | Action::ReadPage { .. } => {
                self.config.openings.clone()
            }
        }
    }

    async fn open_stream(&mut self, from: Option<u64>) -> Option<Input> {
        let from_text = from.map(|from| from.to_string());
        let half = self.config.server_timeout / 2;
        let seconds = half
            .saturating_add(self.jitter.shorten(half))
            .as_secs()
            .max(1)
            .to_string();
        let mut parameters = vec![
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", &seconds),
        ];
        match from_text.as_deref() {
            Some(from) => parameters.push(("resourceVersion", from)),
            None => parameters.extend([
                ("sendInitialEvents", "true"),
                ("resourceVersionMatch", "NotOlderThan"),
            ]),
        }
        let scope = &self.target.scope;
        let selectors = [
            ("labelSelector", scope.label_selector.as_deref()),
            ("fieldSelector", scope.field_selector.as_deref()),
        ];
        parameters.extend(
            selectors
                .iter()
                .filter_map(|(key, value)| Some((*key, (*value)?))),
        );
        let path = self.resource.collection(scope.namespace.as_deref());
        let mut call = Call::get(&self.cluster, encode::with_query(&path, &parameters));
        call.timeout = self.config.open_timeout;
        call.accept = if scope.metadata_only { METADATA } else { JSON };
        match open(&self.cluster, &call).await {
            Ok(response) => {
                let lines = Lines::new(self.config.max_line_bytes);
                self.stream = Some(Stream {
                    body: response.into_body(),
                    lines,
                });
                None
            }
            // A streaming list is a watch: that is the permission it needs.
            Err(error) => Some(Input::Failed(Failure::from_request(
                &error,
                Doing::Watch,
                &self.resource,
                scope,
            ))),
        }
    }

    /// A consistent list of one object, whichever: only its resourceVersion is wanted. With another
    /// selector than a name the API server might read them all to find one; of a name it reads that
    /// one, and the right to more may not be there.
    async fn probe(&mut self) -> Input {
        let scope = &self.target.scope;
        let options = ListOptions {
            limit: Some(1),
            field_selector: scope.one().map(str::to_owned),
            metadata_only: true,
            ..ListOptions::default()
        };
        match self.list(&options).await {
            Input::Page {
                resource_version, ..
            } => Input::Probed { resource_version },
            other => other,
        }
    }

    async fn read_page(&mut self, token: Option<String>, limit: Option<u32>) -> Input {
        let scope = &self.target.scope;
        let options = ListOptions {
            limit,
            continue_token: token,
            label_selector: scope.label_selector.clone(),
            field_selector: scope.field_selector.clone(),
            metadata_only: scope.metadata_only,
            max_bytes: None,
        };
        self.list(&options).await
    }

    async fn list(&mut self, options: &ListOptions) -> Input {
        let scope = &self.target.scope;
        let page = self
            .cluster
            .list_page(&self.resource, scope.namespace.as_deref(), options)
            .await;
        match page {
            Ok(page) => match parse_version(&page.resource_version) {
                Ok(resource_version) => Input::Page {
                    items: page.items,
                    resource_version,
                    token: page.continue_token,
                },
                Err(error) => Input::Failed(Failure::from(&error)),
            },
            Err(error) => Input::Failed(Failure::from_request(
                &error,
                Doing::List,
                &self.resource,
                scope,
            )),
        }
    }

    /// The next line of the open stream.
    async fn read(&mut self) -> Input {
        let idle = self.config.idle;
        let Some(stream) = &mut self.stream else {
            return Input::Ended;
        };
        loop {
            match stream.lines.next() {
                Ok(Some(line)) => return self.understand(&line),
                Ok(None) => {}
                Err(error) => return Input::Failed(error.into()),
            }
            match stream.fill(idle).await {
                Chunk::More => {}
                Chunk::Ended => return Input::Ended,
                Chunk::Idle => {
                    self.distrust_connections();
                    return Input::Idle;
                }
            }
        }
    }

    /// What silenced this connection has silenced the unused ones beside it too: a request on one of
    /// them would wait for its whole time limit.
    fn distrust_connections(&self) {
        if let Err(error) = self.cluster.close_connections() {
            tracing::warn!(error = chain(&error), "unused connections are kept");
        }
    }

    fn understand(&self, line: &[u8]) -> Input {
        match parse(line, &self.resource, self.target.scope.metadata_only) {
            Ok(Event::Error(error)) => {
                let scope = &self.target.scope;
                Input::Failed(Failure::from_api(
                    &error,
                    Doing::Watch,
                    &self.resource,
                    scope,
                ))
            }
            Ok(event) => Input::Event(event),
            Err(error) => Input::Failed(Failure::from(&error)),
        }
    }

    /// Whether a whole line waits already and the batch has room for it. During a list, which
    /// nobody can read before its end, "already" is taken generously.
    async fn more_waits(&mut self, listing: bool) -> bool {
        let room = self.pending.batch.changes.len() < self.config.max_batch_changes
            && self.pending.bytes < self.config.max_batch_bytes;
        if !room || self.pending.batch.changes.is_empty() {
            return false;
        }
        let Some(stream) = &mut self.stream else {
            return false;
        };
        if stream.has_line() {
            return true;
        }
        if listing {
            // An end is met again by the next read.
            let _chunk = stream.fill(LINGER).await;
        } else {
            // The connection's own task needs a turn to pass on what it has read.
            tokio::task::yield_now().await;
        }
        stream.has_line()
    }

    /// Hands over what is pending, then tells what is true of it.
    async fn hand_over(&mut self) -> Result<(), mpsc::error::SendError<T>> {
        let Pending {
            batch,
            bytes,
            listed,
        } = std::mem::take(&mut self.pending);
        if batch.changes.is_empty() {
            return Ok(());
        }
        let changes = batch.changes.len();
        self.sink.send(batch.into()).await?;
        let handed = Observation::Batch { changes, bytes };
        for observation in std::iter::once(handed).chain(listed) {
            self.observer.observe(&self.target.def.key, observation);
        }
        Ok(())
    }

    fn delay(&mut self, wait: &Wait) -> Duration {
        let pace = match wait.reason {
            WaitReason::Retry => &self.config.retry,
            WaitReason::Refused => &self.config.refused,
        };
        let delay = self.jitter.shorten(backoff::wait(pace, wait.attempt));
        delay.max(wait.at_least.unwrap_or_default())
    }
}

impl Stream {
    async fn fill(&mut self, idle: Duration) -> Chunk {
        match tokio::time::timeout(idle, self.body.frame()).await {
            Err(_) => Chunk::Idle,
            Ok(None) => Chunk::Ended,
            Ok(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.lines.push(data);
                }
                Chunk::More
            }
            Ok(Some(Err(error))) => {
                tracing::debug!(error = chain(&error), "a watch broke");
                Chunk::Ended
            }
        }
    }

    /// Takes what the connection has ready, without waiting.
    fn has_line(&mut self) -> bool {
        loop {
            if self.lines.has_line() {
                return true;
            }
            match self.body.frame().now_or_never() {
                Some(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_ref() {
                        self.lines.push(data);
                    }
                }
                // An end or an error is met again by the next read.
                _ => return false,
            }
        }
    }
}

impl Pending {
    fn add(&mut self, batch: Batch) {
        for change in &batch.changes {
            if let Change::Upsert { raw, .. } = change {
                self.bytes = self.bytes.saturating_add(raw.len());
            }
        }
        self.batch.changes.extend(batch.changes);
    }
}

fn log(key: &kybern_table::KindKey, observation: &Observation) {
    match observation {
        Observation::Interrupted { cause, reason } => {
            tracing::info!(kind = %key, cause = cause.name(), reason, "a watch was interrupted");
        }
        Observation::NewEpoch => {
            tracing::warn!(kind = %key, "resourceVersions went backwards: etcd was restored; replacing the whole table");
        }
        Observation::Listed { resource_version } => {
            tracing::debug!(kind = %key, resource_version, "listed");
        }
        Observation::Phase(_) | Observation::Batch { .. } | Observation::Bookmark { .. } => {}
    }
}
