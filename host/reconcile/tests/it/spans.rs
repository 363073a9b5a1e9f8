//! The spans and events of one test, which runs on one thread.
//!
//! There is one subscriber for all tests: with one for each, a callsite that another test's thread
//! meets first could be taken for one that nobody listens to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Once;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

/// A span by its name, that of the span it is in, and its fields.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) name: &'static str,
    pub(crate) inside: Option<&'static str>,
    pub(crate) fields: BTreeMap<&'static str, String>,
}

/// What this thread did since the last look.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    spans: Vec<(u64, Seen)>,
    /// What events said, a line each.
    pub(crate) events: String,
}

impl Trace {
    pub(crate) fn spans(self) -> Vec<Seen> {
        self.spans.into_iter().map(|(_, seen)| seen).collect()
    }
}

thread_local! {
    static TRACE: RefCell<Option<Trace>> = const { RefCell::new(None) };
}

/// Before anything of the engine runs.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::subscriber::set_global_default(Registry::default().with(Listener)).unwrap();
    });
}

/// Keeps what this thread does from here on, and gives what was kept before.
pub(crate) fn listen() -> Trace {
    TRACE.replace(Some(Trace::default())).unwrap_or_default()
}

fn keep(what: impl FnOnce(&mut Trace)) {
    TRACE.with_borrow_mut(|trace| trace.as_mut().map(what));
}

struct Fields<'f>(&'f mut BTreeMap<&'static str, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

struct Listener;

impl Layer<Registry> for Listener {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, Registry>) {
        let mut seen = Seen {
            name: attributes.metadata().name(),
            inside: context.lookup_current().map(|span| span.name()),
            ..Seen::default()
        };
        attributes.record(&mut Fields(&mut seen.fields));
        keep(|trace| trace.spans.push((id.into_u64(), seen)));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, Registry>) {
        keep(|trace| {
            // Ids are used again: the last is meant.
            let mut spans = trace.spans.iter_mut().rev();
            let last = spans.find(|(of, _)| *of == id.into_u64());
            values.record(&mut Fields(&mut last.unwrap().1.fields));
        });
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, Registry>) {
        keep(|trace| {
            let mut fields = BTreeMap::new();
            event.record(&mut Fields(&mut fields));
            trace.events.push_str(&format!("{fields:?}\n"));
        });
    }
}
