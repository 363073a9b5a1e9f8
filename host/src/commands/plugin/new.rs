//! `kybern plugin new`: a crate, or a bundle of YAML, that works, to begin with.

use crate::args::NewArgs;
use crate::terminal::say;
use anyhow::{Context, anyhow, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is written where.
type Files = &'static [(&'static str, &'static str)];

/// A crate; see [`Blanks::fill`] for what the texts leave open.
const CRATE: Files = &[
    ("Cargo.toml", include_str!("template/Cargo.toml.txt")),
    ("src/lib.rs", include_str!("template/lib.rs.txt")),
    ("README.md", include_str!("template/README.md.txt")),
    (".gitignore", include_str!("template/gitignore.txt")),
    ("example.yaml", include_str!("template/example.yaml.txt")),
    (
        "cases/two-pods/situation.yaml",
        include_str!("template/situation.yaml.txt"),
    ),
    (
        "cases/two-pods/plan.yaml",
        include_str!("template/plan.yaml.txt"),
    ),
    (
        "cases/untrimmed-image/situation.yaml",
        include_str!("template/wrong.yaml.txt"),
    ),
    (
        "cases/untrimmed-image/error.yaml",
        include_str!("template/error.yaml.txt"),
    ),
];

/// An operator in YAML. Cases lie beside the bundle: what is in it is part of its digest.
const BUNDLE: Files = &[
    (
        "bundle/operator.yaml",
        include_str!("template/declarative/operator.yaml.txt"),
    ),
    (
        "bundle/crd.yaml",
        include_str!("template/declarative/crd.yaml.txt"),
    ),
    (
        "bundle/values.yaml",
        include_str!("template/declarative/values.yaml.txt"),
    ),
    (
        "bundle/templates/deployment.yaml",
        include_str!("template/declarative/deployment.yaml.txt"),
    ),
    (
        "cases/two-pods/situation.yaml",
        include_str!("template/declarative/situation.yaml.txt"),
    ),
    (
        "cases/two-pods/plan.yaml",
        include_str!("template/declarative/plan.yaml.txt"),
    ),
    (
        "example.yaml",
        include_str!("template/declarative/example.yaml.txt"),
    ),
    (
        "README.md",
        include_str!("template/declarative/README.md.txt"),
    ),
    (
        ".gitignore",
        include_str!("template/declarative/gitignore.txt"),
    ),
    // The editor's: of the language as this program knows it.
    (
        "operator.schema.json",
        include_str!("../../../../plugins/declarative/schema/operator.json"),
    ),
];

/// Longest name: the plugin's name is a DNS label.
const MAX_NAME: usize = 63;

/// Writes it.
pub(super) fn run(args: &NewArgs) -> anyhow::Result<ExitCode> {
    let blanks = Blanks::of(args)?;
    let (files, next) = match args.declarative {
        true => (BUNDLE, "kybern plugin test bundle"),
        false => (CRATE, "cargo test && kybern plugin build"),
    };
    let folder = args
        .dir
        .clone()
        .unwrap_or_else(|| PathBuf::from(&args.name));
    let occupied = fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some());
    ensure!(
        !occupied && !folder.is_file(),
        "{}: there is something already; name another folder with --dir",
        folder.display()
    );
    for (name, text) in files {
        write(&folder.join(name), &blanks.fill(text))?;
        say!("{}", folder.join(name).display());
    }
    if let Some(lock) = blanks.sdk.as_deref().and_then(lock_of) {
        // The versions with which the SDK is tested.
        write(&folder.join("Cargo.lock"), &lock)?;
    }
    say!("\nnext: cd {} && {next}", folder.display());
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)
        .and_then(|()| fs::write(path, text))
        .with_context(|| format!("{}: cannot be written", path.display()))
}

/// The lock file of the workspace that the SDK is part of.
fn lock_of(sdk: &Path) -> Option<String> {
    fs::read_to_string(sdk.parent()?.join("Cargo.lock")).ok()
}

/// What the texts leave open.
struct Blanks {
    name: String,
    group: String,
    version: String,
    kind: String,
    /// Of a crate.
    sdk: Option<PathBuf>,
}

impl Blanks {
    fn of(args: &NewArgs) -> anyhow::Result<Self> {
        ensure!(
            is_name(&args.name),
            "`{}` can name no plugin; use a-z, 0-9 and - in at most {MAX_NAME} characters, beginning with a letter",
            args.name.escape_debug()
        );
        let of_name = || format!("example.com/v1/{}", camel(&args.name));
        let text = args.kind.clone().unwrap_or_else(of_name);
        let (group, version, kind) = parse_kind(&text).ok_or_else(|| {
            anyhow!(
                "--kind: `{}` is not GROUP/VERSION/KIND, like example.com/v1/Hello",
                text.escape_debug()
            )
        })?;
        Ok(Self {
            name: args.name.clone(),
            group,
            version,
            kind,
            sdk: match args.declarative {
                true => None,
                false => Some(sdk(args.sdk.as_deref())?),
            },
        })
    }

    fn fill(&self, text: &str) -> String {
        let singular = self.kind.to_lowercase();
        let sdk = self.sdk.as_deref().unwrap_or(Path::new(""));
        text.replace("{{name}}", &self.name)
            .replace("{{group}}", &self.group)
            .replace("{{version}}", &self.version)
            .replace("{{kind}}", &self.kind)
            .replace("{{plural}}", &plural(&singular))
            .replace("{{singular}}", &singular)
            .replace("{{sdk}}", &sdk.to_string_lossy())
    }
}

/// The SDK's folder, whole.
fn sdk(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let Some(given) = given else {
        bail!(
            "--sdk: the crate kybern-sdk is not published yet. Clone Kybern's repository and give the path of its folder guest-sdk: --sdk PATH, or KYBERN_SDK"
        );
    };
    let manifest = fs::read_to_string(given.join("Cargo.toml")).unwrap_or_default();
    ensure!(
        manifest
            .lines()
            .any(|line| line.trim() == "name = \"kybern-sdk\""),
        "--sdk: {} is not the folder of the crate kybern-sdk; it is guest-sdk in Kybern's repository",
        given.display()
    );
    let whole = given
        .canonicalize()
        .with_context(|| format!("--sdk: {}", given.display()))?;
    let text = whole
        .to_str()
        .filter(|text| !text.contains(['"', '\\', '\n']));
    ensure!(
        text.is_some(),
        "--sdk: {}: a path in Cargo.toml cannot have quotes, backslashes or line ends",
        whole.display()
    );
    Ok(whole)
}

fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// `web-app` as `WebApp`.
fn camel(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        first.to_ascii_uppercase() + rest
    });
    words.collect()
}

/// As Kubernetes' own tools guess it.
fn plural(singular: &str) -> String {
    let ends = |endings: &[&str]| endings.iter().any(|end| singular.ends_with(end));
    match singular.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
        _ if ends(&["s", "x", "z", "ch", "sh"]) => format!("{singular}es"),
        _ => format!("{singular}s"),
    }
}

fn parse_kind(text: &str) -> Option<(String, String, String)> {
    let mut parts = text.split('/');
    let (group, version, kind) = (parts.next()?, parts.next()?, parts.next()?);
    let label = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let good = parts.next().is_none()
        && group.contains('.')
        && group.split('.').all(label)
        && label(version)
        && version.starts_with('v')
        && kind.starts_with(|first: char| first.is_ascii_uppercase())
        && kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
    good.then(|| (group.to_owned(), version.to_owned(), kind.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(args: &NewArgs) -> String {
        format!("{:#}", run(args).unwrap_err())
    }

    fn args(name: &str, folder: &Path) -> NewArgs {
        NewArgs {
            name: name.to_owned(),
            declarative: false,
            kind: None,
            dir: Some(folder.join("new")),
            sdk: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-sdk")),
        }
    }

    #[test]
    fn everything_is_filled_in_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let args = args("web-app", folder.path());
        run(&args).unwrap();
        for (name, _) in CRATE {
            let text = fs::read_to_string(folder.path().join("new").join(name)).unwrap();
            assert!(!text.contains("{{"), "{name}: {text}");
        }
        let lib = fs::read_to_string(folder.path().join("new/src/lib.rs")).unwrap();
        assert!(
            lib.contains("crd(kind = \"example.com/v1/WebApp\")"),
            "{lib}"
        );
        assert!(folder.path().join("new/Cargo.lock").is_file());
        assert!(refusal(&args).contains("there is something already"));
    }

    #[test]
    fn a_bundle_needs_no_sdk_and_is_filled_in() {
        let folder = tempfile::tempdir().unwrap();
        let args = NewArgs {
            declarative: true,
            kind: Some("shop.example.com/v2/Policy".into()),
            sdk: None,
            ..args("web-app", folder.path())
        };
        run(&args).unwrap();
        let at = |name: &str| fs::read_to_string(folder.path().join("new").join(name)).unwrap();
        for (name, _) in BUNDLE {
            let text = at(name);
            for blank in ["{{name", "{{group", "{{kind", "{{plural", "{{singular"] {
                assert!(!text.contains(blank), "{name}: {text}");
            }
        }
        let definition = at("bundle/crd.yaml");
        for part in ["name: policies.shop.example.com", "singular: policy\n"] {
            assert!(definition.contains(part), "{definition}");
        }
        let schema = at("bundle/operator.yaml");
        let named = schema.lines().next().unwrap().split_once("$schema=");
        let (_, place) = named.unwrap();
        assert!(folder.path().join("new/bundle").join(place).is_file());
        assert!(refusal(&args).contains("there is something already"));
    }

    #[test]
    fn bad_input_is_told_the_cure_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["Web", "1web", "web_app", "web-", ""] {
            assert!(
                refusal(&args(name, folder.path())).contains("can name no plugin"),
                "{name}"
            );
        }
        let good = args("web", folder.path());
        for kind in [
            "Hello",
            "example/v1/Hello",
            "example.com/v1/hello",
            "example.com/v1/A/B",
            "a.b/1/C",
        ] {
            let args = NewArgs {
                kind: Some(kind.into()),
                ..good.clone()
            };
            assert!(refusal(&args).starts_with("--kind: "), "{kind}");
        }
        let without = NewArgs {
            sdk: None,
            ..good.clone()
        };
        assert!(refusal(&without).contains("not published yet"));
        let other = NewArgs {
            sdk: Some(folder.path().to_owned()),
            ..good
        };
        assert!(refusal(&other).contains("is not the folder of the crate kybern-sdk"));
        assert!(!folder.path().join("new").exists());
    }
}
