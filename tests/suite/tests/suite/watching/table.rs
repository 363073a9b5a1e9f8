//! A table of this process: the product's watch and store, without the rest of the host.

use anyhow::{Context, Result};
use kybern_kube::watch::Pace;
use kybern_kube::{Cluster, Interruption, Observation, WatchConfig, WatchObserver, WatchTarget};
use kybern_table::{Index, KindKey, Reader, Row, StoreConfig, TableDef, TableView, Writer};
use kybern_testcluster::Object;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What the watch said of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    pub(super) interruptions: BTreeMap<Interruption, u64>,
    pub(super) lists: u64,
    pub(super) epochs: u64,
    /// What the store could not take in.
    pub(super) errors: Vec<String>,
}

#[derive(Debug, Default)]
struct Notes(Mutex<Said>);

impl WatchObserver for Notes {
    fn observe(&self, _kind: &KindKey, observation: Observation) {
        let mut said = self.0.lock().unwrap();
        match observation {
            Observation::Interrupted { cause, .. } => {
                *said.interruptions.entry(cause).or_default() += 1;
            }
            Observation::Listed { .. } => said.lists += 1,
            Observation::NewEpoch => said.epochs += 1,
            _ => {}
        }
    }
}

/// All pods, followed for as long as it lives.
#[derive(Debug)]
pub(super) struct Table {
    reader: Reader,
    notes: Arc<Notes>,
    /// Ends the watch when it is dropped.
    _runtime: Runtime,
}

pub(super) fn pods() -> TableDef {
    TableDef {
        key: KindKey::new("", "v1", "Pod"),
        schema: "core".to_owned(),
        plural: "pods".to_owned(),
        namespaced: true,
        label_keys: Vec::new(),
        path_indexes: Vec::new(),
    }
}

impl Table {
    pub(super) fn start(kubeconfig: &Path, idle: Duration) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let cluster = runtime
            .block_on(Cluster::from_kubeconfig_path(kubeconfig, None))
            .context("connect")?;
        let (writer, reader) = kybern_table::store(StoreConfig::default());
        let notes = Arc::new(Notes::default());
        let (sink, batches) = mpsc::channel(256);
        let taken = Arc::clone(&notes);
        std::thread::spawn(move || take(writer, batches, &taken));
        let observer: Arc<dyn WatchObserver> = Arc::<Notes>::clone(&notes);
        let config = WatchConfig {
            idle,
            // As in the product, but for the longest wait: a test waits for it.
            retry: Pace {
                last: Duration::from_secs(5),
                ..WatchConfig::default().retry
            },
            ..WatchConfig::default()
        };
        let watching = kybern_kube::watch(
            cluster,
            WatchTarget::all(pods()),
            config,
            sink,
            observer,
            CancellationToken::new(),
        );
        runtime.spawn(watching);
        Ok(Self {
            reader,
            notes,
            _runtime: runtime,
        })
    }

    /// The table as it is now.
    pub(super) fn view(&self) -> Option<TableView> {
        self.reader.snapshot().table(&pods().key)
    }

    /// The row of an object.
    pub(super) fn row(&self, object: &Object) -> Option<Row> {
        let namespace = object.namespace.as_deref().unwrap_or_default();
        let key = format!("{namespace}/{}", object.name);
        let rows = self.view()?.lookup(&Index::Name, &key).ok()?;
        rows.into_iter().next()
    }

    pub(super) fn said(&self) -> Said {
        self.notes.0.lock().unwrap().clone()
    }
}

/// The writer's thread; ends when the watch does.
fn take(mut writer: Writer, mut batches: mpsc::Receiver<kybern_table::Batch>, notes: &Notes) {
    while let Some(batch) = batches.blocking_recv() {
        let errors = writer.apply(batch).errors;
        let texts = errors.iter().map(ToString::to_string);
        notes.0.lock().unwrap().errors.extend(texts);
    }
}
