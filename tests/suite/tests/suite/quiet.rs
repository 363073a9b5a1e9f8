//! Converged means zero writes, by the API server's own audit log.

use crate::scene::{Language, Scene, pass_time};
use anyhow::Result;
use std::time::Duration;

crate::scene::in_each_language! {
    a_converged_host_writes_nothing_also_after_a_restart,
}

/// The window in which nothing may be written.
const WINDOW: Duration = Duration::from_secs(60);

fn a_converged_host_writes_nothing_also_after_a_restart(language: Language) -> Result<()> {
    let mut scene = Scene::with_appservice_in(language, "quiet")?;
    for name in ["one", "two", "three"] {
        scene.create_app(name, 2)?;
    }
    scene.converged()?;
    scene.stop_host()?;
    let mark = scene.plane.audit().mark()?;
    scene.start_host()?;
    pass_time(language.window(WINDOW))?;
    let writes = scene.plane.audit().writes_of(&scene.user, mark)?;
    assert!(
        writes.is_empty(),
        "a restart over a converged cluster writes nothing: {writes:#?}"
    );
    Ok(())
}
