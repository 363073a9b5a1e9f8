//! What is read from the environment beside the arguments: the one module that does.

use std::path::PathBuf;

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var(name)
        .ok()
        .filter(|v| !v.is_empty())
        .map(PathBuf::from)
}

/// The user's cache directory for Kybern: `$KYBERN_CACHE`, else `~/.cache/kybern`, else a
/// directory of the working one.
pub(crate) fn cache_dir() -> PathBuf {
    variable("KYBERN_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|dir| dir.join("kybern")))
        .or_else(|| variable("HOME").map(|dir| dir.join(".cache/kybern")))
        .unwrap_or_else(|| PathBuf::from(".kybern"))
}

/// The user's state directory for Kybern: `$XDG_STATE_HOME`, else `~/.local/state`; none without
/// a home.
pub(crate) fn state_dir() -> Option<PathBuf> {
    variable("XDG_STATE_HOME")
        .or_else(|| variable("HOME").map(|dir| dir.join(".local/state")))
        .map(|dir| dir.join("kybern"))
}

/// The docker config: `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
pub(crate) fn docker_config() -> Option<PathBuf> {
    variable("DOCKER_CONFIG")
        .or_else(|| variable("HOME").map(|dir| dir.join(".docker")))
        .map(|dir| dir.join("config.json"))
}

/// The folder of guests that were built: `$KYBERN_GUESTS`.
pub(crate) fn guests() -> Option<PathBuf> {
    variable("KYBERN_GUESTS")
}

/// The folder that this program is in.
pub(crate) fn program_folder() -> Option<PathBuf> {
    std::env::current_exe().ok()?.parent().map(PathBuf::from)
}

/// Where a running host is asked: `$KYBERN_SOCKET`.
pub(crate) fn socket() -> Option<PathBuf> {
    variable("KYBERN_SOCKET")
}

/// The machine's or Pod's name.
pub(crate) fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "kybern".to_owned())
}
