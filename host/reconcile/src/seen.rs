//! Which changes made a pass due: only of children, or others too.
//!
//! A pass's own writes come back as changes of its children. If nothing else changed, and each child
//! is in the state that the pass left it in, another pass would find nothing to do. A change that
//! an answer was read from is never of these: the plugin decided on another answer.

use std::collections::HashMap;
use std::sync::Arc;

/// Children that are told apart.
const MOST: usize = 1_024;

/// What made a pass due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing yet.
    #[default]
    Nothing,
    /// Changes of children alone: the last resourceVersion by uid, none for one that is gone.
    Children(HashMap<Arc<str>, Option<u64>>),
    /// Anything else.
    More,
}

impl Seen {
    /// The change of one child.
    pub(crate) fn child(uid: &Arc<str>, version: Option<u64>) -> Self {
        Self::Children(HashMap::from([(Arc::clone(uid), version)]))
    }

    /// Adds what came later.
    pub(crate) fn merge(&mut self, later: Self) {
        match (&mut *self, later) {
            (_, Self::Nothing) => {}
            (Self::Nothing, later) => *self = later,
            (Self::Children(all), Self::Children(later)) => {
                all.extend(later);
                if all.len() > MOST {
                    *self = Self::More;
                }
            }
            (_, _) => *self = Self::More,
        }
    }
}
