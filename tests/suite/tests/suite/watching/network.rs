//! The network between a watch and the API server, which can fall silent or break.

use crate::proxy::{Fate, Proxy, Rules};
use crate::scene::Scene;
use anyhow::Result;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[derive(Debug, Default)]
struct State {
    /// Connections so far.
    count: AtomicU64,
    /// Connections up to this one forward nothing any more.
    silent: AtomicU64,
    /// No new connection is taken.
    down: AtomicBool,
}

/// A network that a test breaks and mends.
#[derive(Debug)]
pub(super) struct Network {
    proxy: Proxy,
    state: Arc<State>,
}

impl Network {
    pub(super) fn new(scene: &Scene) -> Result<Self> {
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let proxy = Proxy::start(scene, move || {
            if shared.down.load(Ordering::SeqCst) {
                return None;
            }
            let number = shared.count.fetch_add(1, Ordering::SeqCst) + 1;
            let rule = || {
                let state = Arc::clone(&shared);
                Box::new(move || {
                    let silent = number <= state.silent.load(Ordering::SeqCst);
                    Ok(if silent { Fate::Lost } else { Fate::Pass })
                })
            };
            Some(Rules {
                asked: rule(),
                answered: rule(),
            })
        })?;
        Ok(Self { proxy, state })
    }

    /// Makes the kubeconfig of a scene's host lead through this network; its path.
    pub(super) fn lead(&self, scene: &Scene) -> Result<PathBuf> {
        self.proxy.lead(scene)
    }

    /// Nothing passes on the present connections, and nobody is told: no FIN, no reset. New ones
    /// work. So does a load balancer or a firewall that forgets what it carried.
    pub(super) fn forget_connections(&self) {
        let now = self.state.count.load(Ordering::SeqCst);
        self.state.silent.store(now, Ordering::SeqCst);
    }

    /// Breaks all connections and takes no new one.
    pub(super) fn cut(&self) {
        self.state.down.store(true, Ordering::SeqCst);
        self.proxy.close();
    }

    /// Takes connections again.
    pub(super) fn mend(&self) {
        self.state.down.store(false, Ordering::SeqCst);
    }
}
