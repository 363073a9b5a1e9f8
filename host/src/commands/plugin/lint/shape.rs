//! What the binary and the manifest's text tell: size, imports, hooks, words that nobody knows.

use super::super::component::Component;
use super::finding::{Finding, Severity};
use kybern_plugin::{Import, LoadError, Offer, Outline};
use serde_json::Value;
use std::collections::BTreeSet;

/// A component larger than this is slow to load everywhere.
const LARGE: usize = 8 << 20;
/// What a manifest may name in lists of words.
const CAPABILITIES: [&str; 3] = ["http", "secrets", "render"];
const VERBS: [&str; 3] = ["apply", "patch", "delete"];

/// What is found before the manifest is understood.
pub(super) fn findings(component: &Component, outline: &Outline) -> Vec<Finding> {
    let mut found = imports(outline);
    let words = words(outline);
    if let (Err(why), true) = (&outline.manifest, words.is_empty()) {
        let finding = of_manifest(why);
        // The names say the same as the manifest where it was built for another version.
        if !found.contains(&finding) {
            found.push(finding);
        }
    }
    found.extend(words);
    if !outline.has_hook("decide") {
        found.push(Finding::error(
            "no-decide",
            "exports",
            "the component exports no decide hook (kybern:operator/decide)",
            "implement `decide`; the SDK's attribute `plugin` exports it",
        ));
    }
    found.extend(size(component.bytes.len()));
    found
}

fn size(bytes: usize) -> Option<Finding> {
    (bytes > LARGE).then(|| {
        Finding::warning(
            "large",
            "the component",
            format!("it has {bytes} bytes, more than {LARGE}"),
            "build it for size, without debug information and without what it does not use",
        )
    })
}

fn imports(outline: &Outline) -> Vec<Finding> {
    let refused = outline.imports.iter().filter_map(|import| {
        let Offer::Nothing { cure } = import.offer else {
            return None;
        };
        let (code, message) = if import.name.starts_with("wasi:") {
            (
                "wasi-import",
                "the component imports what of WASI this host does not offer",
            )
        } else {
            (
                "unknown-import",
                "the component imports what this host does not offer",
            )
        };
        Some(Finding::error(code, &import.name, message, cure))
    });
    let mut found: Vec<Finding> = refused.collect();
    found.extend(wasi(outline));
    match &outline.refused {
        Some(why @ LoadError::World { .. }) => found.push(of_manifest(why)),
        Some(LoadError::Imports { imports, cure }) if !found.iter().any(is_error) => {
            let message = "the component imports it, but the manifest does not ask for it";
            found.push(Finding::error(
                "import-without-capability",
                imports.join(", "),
                message,
                *cure,
            ));
        }
        _ => {}
    }
    found
}

fn is_error(finding: &Finding) -> bool {
    finding.severity == Severity::Error
}

/// What it may expect of a WASI that leads nowhere.
fn wasi(outline: &Outline) -> Option<Finding> {
    let is_wasi = |import: &&Import| matches!(import.offer, Offer::Wasi { .. });
    let packages = outline.imports.iter().filter(is_wasi);
    let packages = packages.filter_map(|import| Some(import.name.split_once('/')?.0));
    let packages: BTreeSet<&str> = packages.collect();
    if packages.is_empty() {
        return None;
    }
    Some(Finding::warning(
        "wasi",
        Vec::from_iter(packages).join(", "),
        "WASI leads nowhere: there are no files, no sockets and no environment, clocks stand still \
         at the situation's `now`, random numbers follow from the situation (both are real in act); \
         and a runtime that comes along makes components larger and calls slower",
        "nothing, if that is meant; Rust for wasm32-unknown-unknown needs no WASI",
    ))
}

/// A manifest that the host would refuse.
fn of_manifest(why: &LoadError) -> Finding {
    let (code, cure) = match why {
        LoadError::World { .. } => ("world", "build it with an SDK for this host's version"),
        _ => (
            "manifest",
            "build it with the SDK and `kybern plugin build`, which write the manifest",
        ),
    };
    Finding::error(code, "manifest", why.to_string(), cure)
}

/// Words of the manifest that the interface does not have.
fn words(outline: &Outline) -> Vec<Finding> {
    let Some(document) = &outline.document else {
        return Vec::new();
    };
    let list =
        |value: Option<&'_ Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let mut found = Vec::new();
    for (index, ask) in list(document.get("capabilities")).iter().enumerate() {
        let place = format!("capabilities[{index}].name");
        found.extend(word(
            "unknown-capability",
            place,
            ask.get("name"),
            &CAPABILITIES,
        ));
    }
    for (index, ask) in list(document.get("writes")).iter().enumerate() {
        for verb in list(ask.get("verbs")) {
            let place = format!("writes[{index}].verbs");
            found.extend(word("unknown-verb", place, Some(&verb), &VERBS));
        }
    }
    found
}

fn word(
    code: &'static str,
    place: String,
    given: Option<&Value>,
    known: &[&str],
) -> Option<Finding> {
    let given = given?.as_str()?;
    if known.contains(&given) {
        return None;
    }
    let near = known.iter().find(|word| alike(given, word));
    let cure = match near {
        Some(near) => format!("did you mean {near}?"),
        None => format!("there is {}", known.join(", ")),
    };
    Some(Finding::error(
        code,
        place,
        format!("the interface has no `{given}`"),
        cure,
    ))
}

/// Whether one may be meant by the other: at most two letters differ.
fn alike(given: &str, word: &str) -> bool {
    let given = given.to_lowercase();
    let mut row: Vec<usize> = (0..=word.chars().count()).collect();
    for (above, letter) in given.chars().take(64).enumerate() {
        let mut next = vec![above + 1];
        for (column, other) in word.chars().enumerate() {
            let at = |place: usize| row.get(place).copied().unwrap_or(usize::MAX / 2);
            let left = next.last().copied().unwrap_or_default();
            let changed = at(column) + usize::from(letter != other);
            next.push(changed.min(at(column + 1) + 1).min(left + 1));
        }
        row = next;
    }
    row.last().is_some_and(|distance| *distance <= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_known_and_another_word_is_not() {
        for slip in ["htttp", "HTTP", "htp", "http2"] {
            assert!(alike(slip, "http"), "{slip}");
        }
        for other in ["mail", "", "hyperlink"] {
            assert!(!alike(other, "http"), "{other}");
        }
    }

    #[test]
    fn eight_mebibytes_are_not_yet_large() {
        assert_eq!(size(LARGE), None);
        assert_eq!(size(LARGE + 1).unwrap().code, "large");
    }
}
