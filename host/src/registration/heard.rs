//! What the engine says of plugins while this replica leads: which fail whatever they are asked,
//! which revisions custom resources name, how a trial goes.

use super::controller::Role;
use kybern_reconcile::{Pinned, Trialled, Trials, Trouble, Troubles};
use std::collections::BTreeSet;
use tokio::sync::watch;

/// What the engine of the lead says; nothing on a standby.
pub(super) struct Heard(Option<Channels>);

struct Channels {
    troubles: watch::Receiver<Troubles>,
    pinned: watch::Receiver<Pinned>,
    trials: watch::Receiver<Trials>,
}

impl Heard {
    /// Of this role's engine.
    pub(super) fn of(role: &Role) -> Self {
        Self(match role {
            Role::Leader(engine) => Some(Channels {
                troubles: engine.troubles(),
                pinned: engine.pinned(),
                trials: engine.trials(),
            }),
            Role::Standby => None,
        })
    }

    /// What a plugin fails with, for its condition.
    pub(super) fn trouble(&mut self, plugin: &str) -> Option<String> {
        let troubles = self.0.as_mut()?.troubles.borrow_and_update();
        troubles.get(plugin).map(Trouble::told)
    }

    /// The digests that custom resources name.
    pub(super) fn pinned(&mut self, plugin: &str) -> BTreeSet<String> {
        let Some(channels) = &mut self.0 else {
            return BTreeSet::new();
        };
        let pinned = channels.pinned.borrow_and_update();
        pinned.get(plugin).cloned().unwrap_or_default()
    }

    /// What is known of the revision on trial.
    pub(super) fn trial(&mut self, plugin: &str) -> Option<Trialled> {
        let trials = self.0.as_mut()?.trials.borrow_and_update();
        trials.get(plugin).cloned()
    }

    /// Until it says something else; for ever on a standby.
    pub(super) async fn changed(&mut self) {
        let changed = match &mut self.0 {
            Some(channels) => tokio::select! {
                changed = channels.troubles.changed() => changed,
                changed = channels.pinned.changed() => changed,
                changed = channels.trials.changed() => changed,
            },
            None => std::future::pending().await,
        };
        if changed.is_err() {
            // The engine is gone, and the next role is on its way.
            self.0 = None;
        }
    }
}
