//! Tests of SQL over a small cluster, as sqllogictest files: what a statement answers, or how it
//! is refused.
//!
//! The statements are in `*.slt` here, the cluster in `world`, the runner in `tests/sql`.
