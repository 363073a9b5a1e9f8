//! What tests on the real node work with: the node, its programs, releases of the chart.
//!
//! The tests are in `tests/node`. `cargo xtask node test` starts the node and
//! says where it is; without it each test fails and says so.

mod command;
mod container;
mod http;
mod node;
mod plugin;
mod release;

pub use command::{Output, helm, kubectl, kybern, run};
pub use container::Container;
pub use http::{Answer, get};
pub use node::{Node, node};
pub use plugin::{APP, AppService, has};
pub use release::{Release, Replica};

use std::time::Duration;

/// How long a change may take to be seen on a busy machine.
pub const SOON: Duration = Duration::from_secs(90);
