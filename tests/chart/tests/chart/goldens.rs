//! What each value set renders, line by line; and that helm's own linter has nothing to say.

use crate::helm::{SETS, chart, folder, helm, rendered, succeed, values};
use anyhow::Result;

/// Compares what a set renders with its golden, or writes that.
#[expect(
    clippy::disallowed_methods,
    reason = "blessing is asked for through the environment"
)]
fn golden(set: &str) -> Result<()> {
    let now = rendered(set)?;
    let path = folder("goldens").join(format!("{set}.yaml"));
    if std::env::var("KYBERN_BLESS").is_ok() {
        std::fs::write(&path, &now)?;
        return Ok(());
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    for (at, (kept, now)) in padded(&kept).zip(padded(&now)).enumerate() {
        assert_eq!(
            kept,
            now,
            "{} line {}: write it anew with KYBERN_BLESS=1 and read what changed",
            path.display(),
            at + 1
        );
        if kept.is_none() {
            break;
        }
    }
    Ok(())
}

/// The lines, then nothing for ever.
fn padded(text: &str) -> impl Iterator<Item = Option<&str>> {
    text.lines().map(Some).chain(std::iter::repeat(None))
}

#[test]
fn by_default() -> Result<()> {
    golden("default")
}

#[test]
fn one_replica_and_nothing_that_is_optional() -> Result<()> {
    golden("minimal")
}

#[test]
fn everything_that_is_optional() -> Result<()> {
    golden("everything")
}

#[test]
fn one_namespace_and_a_class() -> Result<()> {
    golden("namespaced")
}

#[test]
fn rules_of_plugins() -> Result<()> {
    golden("plugin-rules")
}

#[test]
fn service_account_rights_and_crd_brought_along() -> Result<()> {
    golden("brought-along")
}

#[test]
fn each_golden_has_a_set() -> Result<()> {
    for entry in std::fs::read_dir(folder("goldens"))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        assert!(SETS.contains(&&*name), "{} is of no set", path.display());
    }
    Ok(())
}

#[test]
fn lint_is_content_in_its_strict_mode() -> Result<()> {
    for set in SETS {
        let mut lint = helm()?;
        lint.args(["lint", "--strict"]).arg(chart());
        let said = succeed(lint.arg("--values").arg(values(set)))?;
        assert!(said.contains("0 chart(s) failed"), "{set}: {said}");
    }
    Ok(())
}
