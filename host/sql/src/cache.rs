//! Planned statements, kept by text, grants and catalog.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;

use crate::access::Grants;
use crate::planner::Planned;

/// Bytes of a planned statement beside its nodes and its text, as measured with a counting allocator.
const PLAN_BYTES: usize = 1 << 10;
/// Bytes of each of its nodes, likewise: most is its schema.
const NODE_BYTES: usize = 2 << 10;

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
    plans: HashMap<CacheKey, Kept>,
    bytes: usize,
    clock: u64,
    bound: usize,
}

#[derive(Debug)]
struct Kept {
    used: u64,
    bytes: usize,
    planned: Arc<Planned>,
}

impl PlanCache {
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            plans: HashMap::new(),
            bytes: 0,
            clock: 0,
            bound,
        }
    }

    pub(crate) fn get(&mut self, key: &CacheKey) -> Option<Arc<Planned>> {
        self.clock += 1;
        let kept = self.plans.get_mut(key)?;
        kept.used = self.clock;
        Some(Arc::clone(&kept.planned))
    }

    pub(crate) fn insert(&mut self, key: CacheKey, planned: Arc<Planned>) {
        self.clock += 1;
        if self.plans.len() >= self.bound && !self.plans.contains_key(&key) {
            // Plans of an older catalog cannot be asked for any more.
            let bytes = &mut self.bytes;
            self.plans.retain(|known, kept| {
                let current = known.epoch == key.epoch;
                *bytes -= if current { 0 } else { kept.bytes };
                current
            });
            if self.plans.len() >= self.bound {
                self.forget_oldest();
            }
        }
        if self.bound > 0 {
            let kept = Kept {
                used: self.clock,
                bytes: weight(&key, &planned),
                planned,
            };
            self.bytes += kept.bytes;
            if let Some(before) = self.plans.insert(key, kept) {
                self.bytes -= before.bytes;
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.plans.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets plans until at least so many bytes are free. Bytes forgotten.
    pub(crate) fn evict(&mut self, bytes: usize) -> usize {
        let before = self.bytes;
        while before - self.bytes < bytes && !self.plans.is_empty() {
            self.forget_oldest();
        }
        before - self.bytes
    }

    fn forget_oldest(&mut self) {
        let oldest = self.plans.iter().min_by_key(|(_, kept)| kept.used);
        if let Some(key) = oldest.map(|(key, _)| key.clone())
            && let Some(kept) = self.plans.remove(&key)
        {
            self.bytes -= kept.bytes;
        }
    }
}

/// Bytes of a planned statement, about.
fn weight(key: &CacheKey, planned: &Planned) -> usize {
    let mut nodes = 0;
    // The walk cannot fail: the visitor does not.
    let _ = planned.plan.apply_with_subqueries(|_| {
        nodes += 1;
        Ok(TreeNodeRecursion::Continue)
    });
    PLAN_BYTES + nodes * NODE_BYTES + key.sql.len()
}
