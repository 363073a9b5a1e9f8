//! The two ways to the image agree.

use super::{DEFINITION, VERSION, steps};
use std::collections::BTreeSet;
use std::path::Path;

fn read(file: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join(file)).unwrap()
}

/// The instructions of the last stage, `FROM` and `ARG` left out.
fn last_stage(containerfile: &str) -> BTreeSet<String> {
    let (_, stage) = containerfile.rsplit_once("\nFROM ").unwrap();
    let (base, stage) = stage.split_once('\n').unwrap();
    assert_eq!(base, "scratch");
    stage
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("ARG "))
        .map(|line| line.replace('"', ""))
        .collect()
}

/// What buildah is told, as instructions of a Containerfile.
fn from_buildah() -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for step in steps(Path::new("/stage"), "$VERSION") {
        let words: Vec<&str> = step.iter().map(String::as_str).collect();
        if let ["copy", "--quiet", mode, owner, "{}", from, to] = *words {
            lines.insert(format!("COPY --from=build {mode} {owner} {from} {to}"));
            continue;
        }
        for word in words {
            let Some((option, value)) = word.split_once('=') else {
                continue;
            };
            let instruction = match option {
                "--entrypoint" => "ENTRYPOINT",
                "--user" => "USER",
                "--env" => "ENV",
                "--label" => "LABEL",
                other => panic!("no instruction for {other}"),
            };
            lines.insert(format!("{instruction} {}", value.replace('"', "")));
        }
    }
    lines
}

#[test]
fn the_containerfile_makes_the_image_that_buildah_makes() {
    assert_eq!(last_stage(&read("Containerfile")), from_buildah());
}

#[test]
fn the_containerfile_builds_with_the_pinned_toolchain_and_this_version() {
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain
        .lines()
        .find_map(|line| line.strip_prefix("channel = "))
        .unwrap()
        .trim_matches('"');
    let containerfile = read("Containerfile");
    let lines: BTreeSet<&str> = containerfile.lines().collect();
    assert!(lines.contains(format!("FROM rust:{channel}-bookworm AS build").as_str()));
    let version = env!("CARGO_PKG_VERSION");
    assert!(lines.contains(format!("ARG VERSION={version}").as_str()));
}

#[test]
fn nobody_runs_as_root_and_the_cache_is_the_users_own() {
    let (user, _) = DEFINITION.user.split_once(':').unwrap();
    assert!(user.parse::<u32>().unwrap() > 0);
    assert_eq!(
        DEFINITION.environment,
        [
            ("KYBERN_COMPILED", DEFINITION.compiled),
            ("KYBERN_HELM_ENGINE", DEFINITION.engine),
        ]
    );
    let labels = steps(Path::new("/stage"), "7").concat();
    assert!(labels.contains(&format!("--label={VERSION}=7")));
}
