//! Counts what a store's instances take and refuses what is over the limit.

use crate::limits::CallLimits;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use wasmtime::ResourceLimiter;

/// The guest wanted too much. Travels through the engine as the error of the growth.
///
/// A refused growth ends the call instead of returning -1 to the guest: a pure
/// function must not be able to see how much memory the host has.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("needs more than {limit} bytes")]
pub(crate) struct OutOfMemory {
    pub(crate) limit: usize,
}

/// Counts what a store's instances take, beside what all stores take.
#[derive(Debug)]
pub(crate) struct Limiter {
    /// Bytes of linear memory of all calls that run.
    all: Arc<AtomicUsize>,
    memory_limit: usize,
    memory: usize,
    peak: usize,
    /// The growth that was allowed last, to take it back if it fails.
    last_growth: usize,
    element_limit: usize,
    elements: usize,
    instances: usize,
}

impl Limiter {
    pub(crate) fn new(limits: &CallLimits, all: Arc<AtomicUsize>) -> Self {
        Self {
            all,
            memory_limit: limits.memory,
            memory: 0,
            peak: 0,
            last_growth: 0,
            element_limit: limits.table_elements,
            elements: 0,
            instances: limits.instances,
        }
    }

    /// Most bytes of all linear memories at one time.
    pub(crate) fn peak(&self) -> usize {
        self.peak
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.all.fetch_sub(self.memory, Ordering::Relaxed);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.last_growth = 0;
        if maximum.is_some_and(|maximum| desired > maximum && maximum < self.memory_limit) {
            // The module's own maximum: part of the program, so it may see it.
            return Ok(false);
        }
        let growth = desired.saturating_sub(current);
        let memory = self.memory.saturating_add(growth);
        if memory > self.memory_limit {
            let limit = self.memory_limit;
            return Err(OutOfMemory { limit }.into());
        }
        self.memory = memory;
        self.all.fetch_add(growth, Ordering::Relaxed);
        self.peak = self.peak.max(memory);
        self.last_growth = growth;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        let growth = std::mem::take(&mut self.last_growth);
        if growth == 0 {
            return Ok(());
        }
        // Allowed, but the host has not got it: the guest must not see that either.
        self.memory = self.memory.saturating_sub(growth);
        self.all.fetch_sub(growth, Ordering::Relaxed);
        Err(error)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let elements = self
            .elements
            .saturating_add(desired.saturating_sub(current));
        if elements > self.element_limit {
            let limit = self.memory_limit;
            return Err(OutOfMemory { limit }.into());
        }
        self.elements = elements;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.instances
    }

    fn memories(&self) -> usize {
        self.instances
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(memory: usize) -> Limiter {
        beside(memory, &Arc::default())
    }

    fn beside(memory: usize, all: &Arc<AtomicUsize>) -> Limiter {
        let limits = CallLimits {
            memory,
            table_elements: 10,
            ..CallLimits::default()
        };
        Limiter::new(&limits, Arc::clone(all))
    }

    #[test]
    fn what_all_calls_take_is_counted_and_taken_back() {
        let all = Arc::default();
        let (mut first, mut second) = (beside(100, &all), beside(100, &all));
        let taken = || all.load(Ordering::Relaxed);
        assert!(first.memory_growing(0, 60, None).unwrap());
        assert!(second.memory_growing(0, 30, None).unwrap());
        assert_eq!(taken(), 90);
        // Refused, so not taken; allowed but failed, so taken back.
        assert!(first.memory_growing(60, 101, None).is_err());
        assert!(second.memory_growing(30, 50, None).unwrap());
        let none_left = wasmtime::Error::msg("the host has none left");
        assert!(second.memory_grow_failed(none_left).is_err());
        assert_eq!(taken(), 90);
        drop(first);
        assert_eq!(taken(), 30);
        drop(second);
        assert_eq!(taken(), 0);
    }

    #[test]
    fn counts_all_memories_together() {
        let mut limiter = limiter(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(0, 40, None).unwrap());
        let error = limiter.memory_growing(60, 61, None).unwrap_err();
        assert_eq!(error.downcast_ref::<OutOfMemory>().unwrap().limit, 100);
        assert_eq!(limiter.peak(), 100);
    }

    #[test]
    fn a_module_sees_its_own_maximum_only() {
        let mut limiter = limiter(100);
        assert!(!limiter.memory_growing(0, 60, Some(50)).unwrap());
        // The pool's maximum is no part of the program.
        assert!(limiter.memory_growing(0, 101, Some(100)).is_err());
        assert_eq!(limiter.peak(), 0);
        assert!(
            limiter
                .memory_grow_failed(wasmtime::Error::msg("maximum"))
                .is_ok()
        );
        assert!(limiter.memory_growing(0, 60, Some(60)).unwrap());
        assert!(
            limiter
                .memory_grow_failed(wasmtime::Error::msg("the host has none left"))
                .is_err()
        );
        assert!(limiter.memory_growing(0, 100, None).unwrap());
    }

    #[test]
    fn counts_table_elements() {
        let mut limiter = limiter(100);
        assert!(limiter.table_growing(0, 10, None).unwrap());
        assert!(limiter.table_growing(0, 1, None).is_err());
    }
}
