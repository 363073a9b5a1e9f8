//! The first plugin as a component: what it imports, exports and carries.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test stops at what it did not expect; where the cache is comes from the environment"
)]

#[path = "../src/guests.rs"]
mod guests;

use kybern_interface::{Manifest, names};
use std::path::PathBuf;
use wasmparser::{Parser, Payload};
use wit_component::DecodedWasm;

/// The cache that `cargo xtask guests` uses, so that a build is shared.
fn cache() -> PathBuf {
    std::env::var("KYBERN_CACHE").map_or_else(
        |_| {
            std::env::home_dir()
                .expect("a home directory")
                .join(".cache/kybern")
        },
        PathBuf::from,
    )
}

fn appservice() -> guests::Guest {
    guests::build(&cache(), &["appservice"]).unwrap().remove(0)
}

/// Sorted names of what a component imports and exports.
fn interface(component: &[u8]) -> (Vec<String>, Vec<String>) {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component).unwrap() else {
        panic!("not a component");
    };
    let world = resolve.worlds.get(world).unwrap();
    let names = |items: Vec<_>| -> Vec<String> {
        let mut names: Vec<String> = items
            .into_iter()
            .map(|key| resolve.name_world_key(key))
            .collect();
        names.sort();
        names
    };
    (
        names(world.imports.keys().collect()),
        names(world.exports.keys().collect()),
    )
}

const IMPORTS: [&str; 3] = [
    "kybern:operator/log@0.1.0",
    "kybern:operator/rows@0.1.0",
    "kybern:operator/types@0.1.0",
];

#[test]
fn a_component_imports_only_the_interface_and_exports_the_hooks_that_it_has() {
    let (imports, exports) = interface(&std::fs::read(appservice().path).unwrap());
    assert_eq!(imports, IMPORTS);
    assert_eq!(exports, ["kybern:operator/decide@0.1.0"]);
}

#[test]
fn a_plugin_with_three_hooks_exports_three() {
    let target = cache().join("guests-target");
    let status = std::process::Command::new("cargo")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "build",
            "--quiet",
            "--package",
            "kybern-sdk",
            "--example",
            "hooks",
        ])
        .args(["--target", "wasm32-unknown-unknown", "--target-dir"])
        .arg(&target)
        .status()
        .unwrap();
    assert!(status.success());
    let module = target.join("wasm32-unknown-unknown/debug/examples/hooks.wasm");
    let component = kybern_component::componentize(&std::fs::read(module).unwrap()).unwrap();
    let (imports, exports) = interface(&component);
    assert_eq!(imports, IMPORTS);
    assert_eq!(
        exports,
        [
            "kybern:operator/act@0.1.0",
            "kybern:operator/decide@0.1.0",
            "kybern:operator/sense@0.1.0",
        ]
    );
}

#[test]
fn the_manifest_is_the_first_section_and_nowhere_else() {
    let bytes = std::fs::read(appservice().path).unwrap();
    let manifests: Vec<(usize, Manifest)> = Parser::new(0)
        .parse_all(&bytes)
        .enumerate()
        .filter_map(|(at, payload)| match payload.unwrap() {
            Payload::CustomSection(section) if section.name() == names::MANIFEST_SECTION => {
                Some((at, serde_json::from_slice(section.data()).unwrap()))
            }
            _ => None,
        })
        .collect();
    let [(1, manifest)] = manifests.as_slice() else {
        panic!("{manifests:?}");
    };
    assert_eq!(
        (manifest.name.as_str(), manifest.crds.len()),
        ("appservice", 1)
    );
}

#[test]
fn what_is_unchanged_is_not_built_again() {
    let first = appservice();
    let written = || std::fs::metadata(&first.path).unwrap().modified().unwrap();
    let before = written();
    assert_eq!(appservice(), first);
    assert_eq!(written(), before);
    assert!(
        first.digest.starts_with("sha256:") && first.digest.len() == 71,
        "{}",
        first.digest
    );
}

#[test]
fn an_unknown_guest_is_named() {
    let error = guests::build(&cache(), &["nobody"]).unwrap_err();
    assert!(
        format!("{error:#}").starts_with("guest nobody: no such package"),
        "{error:#}"
    );
}
