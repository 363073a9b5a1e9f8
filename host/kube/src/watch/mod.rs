//! Keeps one table up to date with the API server, for ever.
//!
//! # Contract
//! [`watch`] first sends `Define`, then whole lists (`ListBegin`, `Upsert`s, `ListEnd`) and the events
//! after them, in the API server's order. A table is never left readable and wrong: what cannot be
//! followed is sent as `Fail` with a reason that says what to do, and retried. A table that was
//! complete outlives transient failures, old but readable; see [`Patience`] for one that was not.
//!
//! # States
//! See [`machine`]: *Listing* (streamed or in pages), *Watching*, *Waiting*, *Probing*. All decisions are made
//! by its pure `step`; [`driver`] only does what it asks for.
//!
//! # Limits
//! One line of a watch at most 3 MiB, one page at most the connection's bound, one batch at most
//! [`WatchConfig::max_batch_changes`] changes; a connection without any line for
//! [`WatchConfig::idle`] is dead.

mod backoff;
mod driver;
mod event;
mod failure;
mod lines;
mod machine;
mod observe;
mod openings;
mod protocol;
mod replay;
mod state;

use std::time::Duration;

use kybern_table::TableDef;

pub use driver::watch;
pub use observe::{Interruption, NoObserver, Observation, Phase, WatchObserver};
pub use openings::Openings;
pub use replay::{Replay, ReplayError};

/// Which objects of the kind are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only this namespace; all when absent.
    pub namespace: Option<String>,
    /// Label selector in the API's own syntax.
    pub label_selector: Option<String>,
    /// Field selector in the API's own syntax.
    pub field_selector: Option<String>,
    /// Keep `metadata` alone: the API server never sends the rest.
    pub metadata_only: bool,
}

impl Scope {
    /// What the scope covers, for messages: `all namespaces`, `namespace a`.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("namespace {namespace}"),
            None => "all namespaces".to_owned(),
        }
    }

    /// The field selector, if it names one object.
    pub(crate) fn one(&self) -> Option<&str> {
        let selector = self.field_selector.as_deref()?;
        let name = selector.strip_prefix("metadata.name=")?;
        let other = |c: char| matches!(c, ',' | '=' | '!');
        (!name.is_empty() && !name.contains(other)).then_some(selector)
    }
}

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchTarget {
    /// The table that is fed.
    pub def: TableDef,
    /// The part of the kind that it holds.
    pub scope: Scope,
    /// Whether the table is complete from an earlier watch. Then transient failures leave it as it
    /// is, old but readable; otherwise it fails with their reason after a [`Patience`].
    pub readable: bool,
    /// The highest resourceVersion that the table knows of, 0 for none. A list below it is of
    /// another etcd, also when no watch was there to see it change.
    pub highest: u64,
}

impl WatchTarget {
    /// All objects of the kind.
    #[must_use]
    pub fn all(def: TableDef) -> WatchTarget {
        WatchTarget {
            def,
            scope: Scope::default(),
            readable: false,
            highest: 0,
        }
    }
}

/// Waits between attempts: exponential from `first` to `last`, each shortened at random by up to half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub last: Duration,
}

/// How long a table without a complete list may say that it is loading while its lists fail.
/// Whatever of the two comes first ends it; the list is tried again all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Failures in a row, without a page or a whole list between them.
    pub tries: u32,
    /// Time in which nothing came.
    pub time: Duration,
}

/// Bounds of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchConfig {
    /// A connection that says nothing for so long is dead; 200 s unless told. Bookmarks come each
    /// minute, and load balancers forget quiet connections after 240 s and more.
    pub idle: Duration,
    /// After which the API server is asked to end a watch (`timeoutSeconds`); 8 min unless told.
    pub server_timeout: Duration,
    /// For the headers of a watch's answer; 30 s unless told.
    pub open_timeout: Duration,
    /// Pace after lost connections and overload; 0.8 s to 30 s unless told.
    pub retry: Pace,
    /// Pace after refusals that somebody must cure (not served, forbidden); 2 s to 60 s unless told.
    pub refused: Pace,
    /// Until a list that goes on failing fails its table; 5 tries or 20 s unless told.
    pub patience: Patience,
    /// Longest accepted line, in bytes; 3 MiB unless told.
    pub max_line_bytes: usize,
    /// Most changes in one batch; 512 unless told.
    pub max_batch_changes: usize,
    /// A batch is sent when its bodies reach this size, in bytes; 512 KiB unless told.
    pub max_batch_bytes: usize,
    /// Objects per page where streaming lists are not served; 500 unless told.
    pub page: u32,
    /// Ask for streaming lists first; true unless told.
    pub streaming: bool,
    /// Seed of the jitter; different in each process unless told.
    pub seed: u64,
    /// Who waits for whom to list and to open; nobody for anybody unless told.
    pub openings: Option<Openings>,
}

impl Default for WatchConfig {
    fn default() -> WatchConfig {
        WatchConfig {
            idle: Duration::from_secs(200),
            server_timeout: Duration::from_secs(480),
            open_timeout: Duration::from_secs(30),
            retry: Pace {
                first: Duration::from_millis(800),
                last: Duration::from_secs(30),
            },
            refused: Pace {
                first: Duration::from_secs(2),
                last: Duration::from_secs(60),
            },
            patience: Patience {
                tries: 5,
                time: Duration::from_secs(20),
            },
            max_line_bytes: 3 << 20,
            max_batch_changes: 512,
            max_batch_bytes: 512 << 10,
            page: 500,
            streaming: true,
            seed: backoff::process_seed(),
            openings: None,
        }
    }
}

/// Why a watch ended. It never ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchEnd {
    /// The token was cancelled.
    Cancelled,
    /// Nobody receives batches any more.
    SinkClosed,
}
