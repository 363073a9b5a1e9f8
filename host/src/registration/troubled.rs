//! Which plugins the engine finds failing whatever they are asked, while this replica leads.

use super::controller::Role;
use kybern_reconcile::{Trouble, Troubles};
use tokio::sync::watch;

/// What the engine of the lead says; nothing on a standby.
pub(super) struct Troubled(Option<watch::Receiver<Troubles>>);

impl Troubled {
    /// That of this role's engine.
    pub(super) fn of(role: &Role) -> Self {
        Self(match role {
            Role::Leader(engine) => Some(engine.troubles()),
            Role::Standby => None,
        })
    }

    /// What a plugin fails with, for its condition.
    pub(super) fn told(&mut self, plugin: &str) -> Option<String> {
        let troubles = self.0.as_mut()?.borrow_and_update();
        troubles.get(plugin).map(Trouble::told)
    }

    /// Until it says something else; for ever on a standby.
    pub(super) async fn changed(&mut self) {
        let changed = match &mut self.0 {
            Some(troubles) => troubles.changed().await,
            None => std::future::pending().await,
        };
        if changed.is_err() {
            // The engine is gone, and the next role is on its way.
            self.0 = None;
        }
    }
}
