//! The in-memory columnar store: every watched object, queryable at any moment.
//!
//! A table holds the objects of one kind. One [`Writer`] applies batches of
//! changes, each as one commit; any number of [`Reader`]s take [`Snapshot`]s, each
//! a picture of all tables at one [`Sequence`] that never changes. Neither end
//! waits for the other.
//!
//! ```
//! use kybern_table::{Batch, Change, Column, Index, KindKey, Origin, TableDef, store};
//!
//! let (mut writer, reader) = store(Default::default());
//! let pods = KindKey::new("", "v1", "Pod");
//! let pod = r#"{"metadata":{"name":"web-0","namespace":"shop","uid":"u1","resourceVersion":"7"},
//!               "spec":{"nodeName":"n1"}}"#;
//! let applied = writer.apply(Batch {
//!     changes: vec![
//!         Change::Define(TableDef {
//!             key: pods.clone(),
//!             schema: "core".to_owned(),
//!             plural: "pods".to_owned(),
//!             namespaced: true,
//!             label_keys: vec![],
//!             path_indexes: vec!["spec.nodeName".parse()?],
//!         }),
//!         Change::ListBegin { table: pods.clone() },
//!         Change::Upsert { table: pods.clone(), raw: pod.into(), origin: Origin::List },
//!         Change::ListEnd { table: pods.clone(), resource_version: 7 },
//!     ],
//! });
//! assert!(applied.errors.is_empty());
//!
//! let snapshot = reader.snapshot();
//! let view = snapshot.table(&pods).ok_or("not defined")?;
//! let on_node = view.lookup(&Index::Path("spec.nodeName".parse()?), "n1")?;
//! assert_eq!(on_node[0].name(), "web-0");
//! for chunk in view.scan()? {
//!     assert_eq!(chunk.fixed(&Column::Name)?.len(), chunk.live()?.len());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Shape
//!
//! New rows are appended to an open block; a full one is sealed into columns and
//! compressed bodies under the same number, so that positions and indexes stay
//! valid. A row is live or dead by a bitmap that is copied when it changes.
//! Publishing swaps one pointer. Indexes are shared by all snapshots and find
//! more than one snapshot may see; look-ups check each candidate.
//!
//! # Limits
//!
//! [`StoreConfig`] has every bound; [`Reader::stats`] has every gauge.

mod bitmap;
mod block;
mod body;
mod change;
mod chunk;
mod column;
mod config;
mod delta;
mod extract;
mod follow;
mod garbage;
mod gather;
mod index;
mod ingest;
mod job;
mod json;
mod key;
mod log;
mod merge;
mod num;
mod path;
mod postings;
mod publish;
mod reader;
mod readset;
mod record;
mod refer;
mod root;
mod row;
mod seal;
mod shred;
mod slots;
mod snapshot;
mod stats;
mod store;
mod sync;
mod table;
mod tombstone;
mod train;
mod uid;
mod version;
mod view;
mod work;

pub use change::{Applied, Batch, Change, ChangeError, Deleted, Origin, Sequence};
pub use column::{Column, PathType};
pub use config::StoreConfig;
pub use extract::inside;
pub use gather::Gather;
pub use job::{Done, Job};
pub use json::elements;
pub use key::{Index, KindKey, TableDef};
pub use path::{Path, PathError, Segment};
pub use reader::Reader;
pub use readset::{Columns, Keys, ReadSet, ScanRead};
pub use row::Row;
pub use snapshot::{RowChange, Snapshot, SnapshotTooOld};
pub use stats::{Stats, TableStats};
pub use store::{Writer, store};
pub use view::{Body, ChunkView, TableState, TableView};
