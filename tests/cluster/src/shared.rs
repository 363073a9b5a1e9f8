//! The control plane that all tests of one binary share.

use crate::options::Options;
use crate::plane::ControlPlane;
use anyhow::{Result, anyhow};
use std::sync::OnceLock;

static SHARED: OnceLock<std::result::Result<ControlPlane, String>> = OnceLock::new();

/// The control plane of this test run: started by whoever asks first, ends with the process.
///
/// Tests keep apart by namespace and, for what has none, by unique names.
///
/// # Errors
/// It could not be started; every caller gets the same message.
pub fn shared() -> Result<&'static ControlPlane> {
    SHARED
        .get_or_init(|| ControlPlane::start(Options::new()).map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow!("the shared control plane could not be started: {error}"))
}
