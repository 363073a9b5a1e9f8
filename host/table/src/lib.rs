//! The in-memory columnar store: every watched object, queryable at any moment.

mod change;
mod column;
mod config;
mod gather;
mod key;
mod path;
mod readset;
mod row;
mod snapshot;
mod stats;
mod store;
mod view;

pub use change::{Applied, Batch, Change, ChangeError, Deleted, Origin, Sequence};
pub use column::{Column, PathType};
pub use config::StoreConfig;
pub use gather::gather;
pub use key::{Index, KindKey, TableDef};
pub use path::{Path, PathError, Segment};
pub use readset::{Columns, Keys, ReadSet, ScanRead};
pub use row::Row;
pub use snapshot::{RowChange, Snapshot, SnapshotTooOld};
pub use stats::{Stats, TableStats};
pub use store::{Reader, Writer, store};
pub use view::{Body, ChunkView, TableState, TableView};
