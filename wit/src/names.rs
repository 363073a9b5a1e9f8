//! Annotations, labels, finalizers and field managers: the names others build on.

/// The API group of the host's own kinds.
pub const GROUP: &str = "kybern.dev";
/// The version of the `Plugin` kind.
pub const VERSION: &str = "v1alpha1";
/// The custom section of a component that holds its manifest as JSON.
pub const MANIFEST_SECTION: &str = "kybern:manifest";
/// The custom section of a component that holds its bundle: a tar of sorted paths, without times and owners.
pub const BUNDLE_SECTION: &str = "kybern:bundle";
/// What all custom sections begin with that are read and never run.
pub const SECTION_PREFIX: &str = "kybern:";

/// On a CR: any value but `false` stops its passes (never its deletion).
pub const PAUSED: &str = "kybern.dev/paused";
/// On a CR: a new value starts a pass.
pub const RECONCILE_AT: &str = "kybern.dev/reconcile-at";
/// On a CR: a new value starts a pass that skips nothing and applies every child again.
pub const FORCE_RESYNC: &str = "kybern.dev/force-resync";
/// On a CR: the digest of the plugin revision that decides for it.
pub const PLUGIN_REVISION: &str = "kybern.dev/plugin-revision";
/// On a CR: the count of held deletions that may go ahead (see condition `PruneHeld`).
pub const CONFIRM_PRUNE: &str = "kybern.dev/confirm-prune";
/// On a child: `disabled` keeps it when the plan no longer names it.
pub const PRUNE: &str = "kybern.dev/prune";
/// On a child: the hash of the intent that was last applied.
pub const INTENT: &str = "kybern.dev/intent";
/// On a child: the inventory that it belongs to.
pub const PART_OF: &str = "applyset.kubernetes.io/part-of";
/// On a record: whose it is, for people.
pub const RECORD_OF: &str = "kybern.dev/record-of";
/// How the names of records, the Secrets in which the host remembers, begin; no plan may name them.
pub const RECORD_PREFIX: &str = "kybern-record-";
/// Their type.
pub const RECORD_TYPE: &str = "kybern.dev/record";
/// On a `Plugin`: held until CRs and children are released.
pub const PLUGIN_FINALIZER: &str = "kybern.dev/release";

/// The finalizer that a registration puts on its CRs when deletion needs work.
pub fn cleanup_finalizer(registration: &str) -> String {
    format!("{registration}.finalizers.kybern.dev/cleanup")
}

/// The field manager of a registration's children, unless it names another.
pub fn field_manager(registration: &str) -> String {
    format!("kybern/{registration}")
}

/// The field manager of a registration's status writes.
pub fn status_manager(field_manager: &str) -> String {
    format!("{field_manager}/status")
}

/// The field manager of the patches that a CR's plans make on objects that are not its children.
/// The end of the uid, 48 random bits, tells two CRs of one registration apart.
pub fn patch_manager(registration: &str, uid: &str) -> String {
    let from = uid.char_indices().rev().nth(11).map_or(0, |(at, _)| at);
    let short = uid.get(from..).unwrap_or(uid);
    format!("kybern/{registration}/{short}")
}
