//! Joins the rooms: watches to the table, the engine's traits to SQL, sandbox and API server.

mod act;
pub(crate) mod apply;
pub(crate) mod decide;
pub(crate) mod ingest;
mod jobs;
pub(crate) mod pace;
pub(crate) mod time;
pub(crate) mod watches;
pub(crate) mod work;
