//! Which children go because the plan no longer names them.

use crate::active::MaxPrune;
use crate::intent::{PRUNE_DISABLED, PRUNE_ORPHAN};
use crate::owner::{Child, Owner, provably_ours};
use crate::report::Verdict;
use kybern_interface::names;
use kybern_table::KindKey;

/// Whether losing an object of this kind loses data: it is never deleted without an explicit
/// delete action.
pub(crate) fn is_precious(table: &KindKey) -> bool {
    matches!(
        (&*table.group, &*table.kind),
        (
            "",
            "PersistentVolumeClaim" | "PersistentVolume" | "Namespace"
        ) | ("apiextensions.k8s.io", "CustomResourceDefinition")
    )
}

/// What happens to one child that the plan does not name.
pub(crate) fn verdict(child: &Child, owner: &Owner) -> Verdict {
    if child.row.deleting() || !provably_ours(&child.row, owner) {
        return Verdict::Kept;
    }
    match child.row.annotation(names::PRUNE).as_deref() {
        Some(PRUNE_DISABLED) => Verdict::Kept,
        Some(PRUNE_ORPHAN) => Verdict::Orphan,
        _ if is_precious(&child.table) => Verdict::Kept,
        _ => Verdict::Prune,
    }
}

/// Whether so many deletions may go ahead. `confirmed` is the value of
/// `kybern.dev/confirm-prune` on the CR.
pub(crate) fn allowed(
    pruned: usize,
    children: usize,
    max: MaxPrune,
    confirmed: Option<&str>,
) -> bool {
    let percent = usize::try_from(max.percent).unwrap_or(usize::MAX);
    pruned <= max.free
        || pruned.saturating_mul(100) <= children.saturating_mul(percent)
        || confirmed.is_some_and(|text| text.trim().parse() == Ok(pruned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_or_a_small_share_or_confirmed() {
        let max = MaxPrune::default();
        assert!(allowed(3, 3, max, None));
        assert!(!allowed(4, 7, max, None));
        assert!(allowed(4, 8, max, None));
        assert!(allowed(4, 7, max, Some("4")));
        assert!(!allowed(4, 7, max, Some("3")));
        assert!(!allowed(4, 7, max, Some("yes")));
        let none = MaxPrune {
            percent: 0,
            free: 3,
        };
        assert!(!allowed(4, 1_000, none, None));
    }

    #[test]
    fn data_is_precious() {
        assert!(is_precious(&KindKey::new(
            "",
            "v1",
            "PersistentVolumeClaim"
        )));
        assert!(is_precious(&KindKey::new("", "v1", "Namespace")));
        assert!(!is_precious(&KindKey::new("", "v1", "ConfigMap")));
    }
}
