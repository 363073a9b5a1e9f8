//! Plugins that fail whatever they are asked: kept for who asks, told once.
//!
//! # Contract
//! A plugin is in here exactly while its breaker is open ([`crate::breaker`]). A pass of a
//! registration or version that is replaced meanwhile says nothing about the one that is there now.
//! No Event is written: those about a cluster-scoped object live in `default`, where a host that
//! watches one namespace may write nothing.

use crate::breaker::{Called, Turned};
use crate::counters::OfPlugin;
use crate::finding::Finding;
use crate::pass::{Context, Outcome};
use crate::shared::Shared;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// What a plugin failed with when its breaker opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// CamelCase, as in the conditions of its custom resources.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// By registration.
pub type Troubles = BTreeMap<Arc<str>, Trouble>;

impl Trouble {
    fn of(finding: &Finding) -> Self {
        Self {
            reason: finding.reason().to_owned(),
            message: finding.message().to_owned(),
        }
    }

    /// What is wrong, and what the host does meanwhile; the same text for the same cause.
    pub fn told(&self) -> String {
        format!(
            "every resource that is tried fails, so that they are tried one at a time until one does not: {}: {}",
            self.reason, self.message
        )
    }
}

/// Hears what a pass knows about its plugin.
pub(crate) fn hear(shared: &Shared, cx: &Context, counts: &OfPlugin, outcome: &Outcome) {
    let called = match outcome.decided {
        true => Called::Returned,
        false => outcome.finding.called,
    };
    if called == Called::No {
        return;
    }
    let Some(turned) = turn(shared, cx, called, &outcome.finding) else {
        return;
    };
    let plugin = &cx.key.plugin;
    match turned {
        Turned::Opened => {
            counts.lock().trips += 1;
            tracing::error!(%plugin, "{}", Trouble::of(&outcome.finding).told());
        }
        Turned::Closed => {
            tracing::info!(%plugin, "a resource did not fail: all are tried again");
        }
    }
    // Whoever runs waits for what was said to be over.
    shared.wake.notify_one();
}

/// Tells the queue, if the registration is still the one of the pass, and keeps what follows.
fn turn(shared: &Shared, cx: &Context, called: Called, why: &Finding) -> Option<Turned> {
    let plugin = &cx.key.plugin;
    // Held meanwhile, so that no other is registered in between.
    let registry = shared.registry.read();
    let now = registry.get(plugin)?;
    if !Arc::ptr_eq(&now, &cx.registered) {
        return None;
    }
    let turned = shared.queue.lock().hear(&cx.key, called, Instant::now())?;
    match turned {
        Turned::Closed => over(shared, plugin),
        Turned::Opened => shared.troubles.send_modify(|all| {
            all.insert(Arc::clone(plugin), Trouble::of(why));
        }),
    }
    Some(turned)
}

/// It is another plugin now, or gone.
pub(crate) fn over(shared: &Shared, plugin: &Arc<str>) {
    shared
        .troubles
        .send_if_modified(|all| all.remove(plugin).is_some());
}
