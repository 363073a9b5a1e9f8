//! The cells where readers and the writer meet.
//!
//! With the feature `model` they are loom's, so that a test can try every order of
//! their steps (`tests/model.rs`). What that leaves open is whether `arc_swap` and
//! `parking_lot` are what they say: a cell and a lock.

#[cfg(not(feature = "model"))]
pub(crate) use arc_swap::ArcSwap;
#[cfg(not(feature = "model"))]
pub(crate) use parking_lot::RwLock;

#[cfg(feature = "model")]
pub(crate) use model::{ArcSwap, RwLock};

#[cfg(feature = "model")]
mod model {
    use std::ops::Deref;
    use std::sync::{Arc, PoisonError};

    use loom::sync::{Mutex, MutexGuard, RwLockReadGuard, RwLockWriteGuard};

    /// A cell of which each use is one step.
    #[derive(Debug)]
    pub(crate) struct ArcSwap<T>(Mutex<Arc<T>>);

    /// What was in the cell.
    pub(crate) struct Loaded<T>(Arc<T>);

    impl<T> Deref for Loaded<T> {
        type Target = Arc<T>;

        fn deref(&self) -> &Arc<T> {
            &self.0
        }
    }

    impl<T> ArcSwap<T> {
        pub(crate) fn from_pointee(value: T) -> ArcSwap<T> {
            ArcSwap(Mutex::new(Arc::new(value)))
        }

        fn cell(&self) -> MutexGuard<'_, Arc<T>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn load(&self) -> Loaded<T> {
            Loaded(self.load_full())
        }

        pub(crate) fn load_full(&self) -> Arc<T> {
            Arc::clone(&self.cell())
        }

        pub(crate) fn store(&self, value: Arc<T>) {
            // The old value is dropped with the cell let go.
            drop(self.swap(value));
        }

        pub(crate) fn swap(&self, value: Arc<T>) -> Arc<T> {
            std::mem::replace(&mut *self.cell(), value)
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct RwLock<T>(loom::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
