//! Planned statements, kept by text, grants and catalog.

use std::collections::HashMap;
use std::sync::Arc;

use crate::access::Grants;
use crate::planner::Planned;

/// What a planned statement depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey {
    pub sql: Arc<str>,
    pub grants: Grants,
    /// Of the catalog.
    pub epoch: u64,
}

/// A bounded cache; the statement that was not asked for the longest goes first.
#[derive(Debug)]
pub(crate) struct PlanCache {
    plans: HashMap<CacheKey, (u64, Arc<Planned>)>,
    clock: u64,
    bound: usize,
}

impl PlanCache {
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            plans: HashMap::new(),
            clock: 0,
            bound,
        }
    }

    pub(crate) fn get(&mut self, key: &CacheKey) -> Option<Arc<Planned>> {
        self.clock += 1;
        let (used, planned) = self.plans.get_mut(key)?;
        *used = self.clock;
        Some(Arc::clone(planned))
    }

    pub(crate) fn insert(&mut self, key: CacheKey, planned: Arc<Planned>) {
        self.clock += 1;
        if self.plans.len() >= self.bound && !self.plans.contains_key(&key) {
            // Plans of an older catalog cannot be asked for any more.
            self.plans.retain(|known, _| known.epoch == key.epoch);
            let oldest = self
                .plans
                .iter()
                .min_by_key(|(_, (used, _))| *used)
                .map(|(k, _)| k.clone());
            if let Some(oldest) = oldest.filter(|_| self.plans.len() >= self.bound) {
                self.plans.remove(&oldest);
            }
        }
        if self.bound > 0 {
            self.plans.insert(key, (self.clock, planned));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.plans.len()
    }
}
