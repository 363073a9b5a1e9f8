//! Registrations: from a `Plugin` object to a plugin that the engine runs, and back.
//!
//! ```text
//! Plugin row -> check -> source, digest, signature -> load -> manifest -> settings -> CRDs -> kinds -> queries -> tables -> engine
//! ```
//!
//! Each step that fails ends in a condition whose message says what to do; other registrations go on.

pub(crate) mod access;
pub(crate) mod account;
pub(crate) mod activate;
pub(crate) mod authorized;
pub(crate) mod bundled;
pub(crate) mod capabilities;
pub(crate) mod check;
pub(crate) mod condition;
pub(crate) mod controller;
pub(crate) mod crds;
pub(crate) mod dropped;
pub(crate) mod former;
pub(crate) mod given;
pub(crate) mod heard;
pub(crate) mod hold;
pub(crate) mod jobs;
pub(crate) mod known;
pub(crate) mod latest;
pub(crate) mod limits;
pub(crate) mod loads;
pub(crate) mod news;
pub(crate) mod next;
pub(crate) mod origin;
pub(crate) mod prepare;
pub(crate) mod prepared;
pub(crate) mod problem;
pub(crate) mod rediscover;
pub(crate) mod releases;
pub(crate) mod removal;
pub(crate) mod report;
pub(crate) mod reviewed;
pub(crate) mod reviews;
pub(crate) mod revisions;
pub(crate) mod settings;
pub(crate) mod status_shape;
pub(crate) mod trial;
pub(crate) mod wanted;
