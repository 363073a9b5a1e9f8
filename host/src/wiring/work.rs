//! The work pool: SQL runs here, so that a heavy statement never holds an I/O thread.

use std::sync::LazyLock;
use tokio::runtime::{Builder, Handle, Runtime};

/// Made once, ends with the process: a runtime must not be dropped inside another.
static WORK: LazyLock<std::io::Result<Runtime>> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .thread_name("kybern-work")
        .enable_time()
        .build()
});

/// Where to compute. Without threads for a pool of its own, where the caller is.
pub(crate) fn pool() -> Handle {
    match &*WORK {
        Ok(runtime) => runtime.handle().clone(),
        Err(error) => {
            tracing::error!(%error, "no work pool; SQL runs on I/O threads");
            Handle::current()
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_pool_has_threads_of_its_own() {
        let io = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let name = super::pool().spawn(async { std::thread::current().name().map(str::to_owned) });
        let name = io.block_on(name).unwrap();
        assert_eq!(name.as_deref(), Some("kybern-work"));
    }
}
