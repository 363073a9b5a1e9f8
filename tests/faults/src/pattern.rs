//! Which requests a fault is about.

use crate::ask::{Ask, Verb};
use std::fmt;
use std::sync::Arc;

type Test = Arc<dyn Fn(&Ask) -> bool + Send + Sync>;

/// Which requests a fault is about: those for which all that was said holds.
#[derive(Clone, Default)]
pub struct Pattern {
    tests: Vec<Test>,
}

impl Pattern {
    /// All requests.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// What asks for a change, as of [`Ask::writes`].
    #[must_use]
    pub fn writes() -> Self {
        Self::any().and(Ask::writes)
    }

    /// Watches that start from a resourceVersion, not those that begin with a list.
    #[must_use]
    pub fn resumed_watches() -> Self {
        let resumed = |ask: &Ask| ask.from.is_some() && !ask.initial_events;
        Self::any().verb(Verb::Watch).and(resumed)
    }

    /// Lists, streamed or not. A `limit=1` is one of them: see [`Pattern::streamed_lists`].
    #[must_use]
    pub fn lists() -> Self {
        Self::any().and(|ask| ask.verb == Verb::List || ask.initial_events)
    }

    /// Watches that begin with a list.
    #[must_use]
    pub fn streamed_lists() -> Self {
        Self::any().verb(Verb::Watch).and(|ask| ask.initial_events)
    }

    /// This verb.
    #[must_use]
    pub fn verb(self, verb: Verb) -> Self {
        self.and(move |ask| ask.verb == verb)
    }

    /// This group and plural.
    #[must_use]
    pub fn resource(self, group: &str, resource: &str) -> Self {
        let (group, resource) = (group.to_owned(), resource.to_owned());
        self.and(move |ask| ask.group == group && ask.resource == resource)
    }

    /// This subresource.
    #[must_use]
    pub fn subresource(self, subresource: &str) -> Self {
        let subresource = subresource.to_owned();
        self.and(move |ask| ask.subresource.as_deref() == Some(&subresource))
    }

    /// This namespace.
    #[must_use]
    pub fn namespace(self, namespace: &str) -> Self {
        let namespace = namespace.to_owned();
        self.and(move |ask| ask.namespace.as_deref() == Some(&namespace))
    }

    /// This name.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        let name = name.to_owned();
        self.and(move |ask| ask.name.as_deref() == Some(&name))
    }

    /// Objects of this name and those that they own, as of [`Ask::is_about`].
    #[must_use]
    pub fn about(self, name: &str) -> Self {
        let name = name.to_owned();
        self.and(move |ask| ask.is_about(&name))
    }

    /// This field manager.
    #[must_use]
    pub fn manager(self, manager: &str) -> Self {
        let manager = manager.to_owned();
        self.and(move |ask| ask.manager.as_deref() == Some(&manager))
    }

    /// Whatever else.
    #[must_use]
    pub fn and(mut self, test: impl Fn(&Ask) -> bool + Send + Sync + 'static) -> Self {
        self.tests.push(Arc::new(test));
        self
    }

    /// Whether the request is one of them.
    #[must_use]
    pub fn matches(&self, ask: &Ask) -> bool {
        self.tests.iter().all(|test| test(ask))
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern of {} tests", self.tests.len())
    }
}
