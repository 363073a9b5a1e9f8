//! 20,000 pods, and all that can happen to a watch of them: in the end the table is what the API
//! server has.
//!
//! # What is compared
//! * A table of this process: the product's watch (`kybern-kube`) and store (`kybern-table`). Each
//!   row against a fresh list: uid, resourceVersion and the whole object, without managedFields.
//! * The built host beside it, on the same bad network: rows, resourceVersions and uids by SQL, from
//!   inside a plugin; its metrics name what happened.
//!
//! # How
//! Pods are written into etcd, a hundred in a transaction: through the API server it would take
//! minutes. What changes, comes and goes later does so through the API server.

mod crowd;
mod fresh;
mod lead;
mod network;
mod table;
mod torture;
