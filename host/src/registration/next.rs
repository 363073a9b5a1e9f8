//! When the controller syncs again.

/// Whether the schemas of all wanted kinds are known.
#[derive(PartialEq)]
pub(super) enum Schemas {
    /// They are, or are taken not to be published.
    Settled,
    /// Some are not published yet.
    Missing,
}

/// When a sync must be tried again.
#[derive(PartialEq)]
pub(super) enum Next {
    /// When something changes.
    OnChange,
    /// Soon: a write failed or a removal goes on.
    Soon,
    /// After a while: something outside stands in the way.
    Later,
    /// When more kinds are served.
    Unserved,
}
