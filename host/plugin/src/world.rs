//! Which versions of the interface, and which imports and exports, this host takes.
//!
//! Names are read from the component's binary, so a component that does not
//! fit is refused before seconds are spent on compiling it.

use crate::load::LoadError;
use crate::shape::Shape;
use crate::wasi;
use kybern_interface::{Capability, CapabilityAsk, Manifest, PACKAGE};

const PACKAGE_NAME: &str = "kybern:operator";

const WASI_HTTP_CURE: &str = "requests are sent with kybern:operator/http, by act: \
     leave wasi:http out (componentize-js: --disable http)";
const WASI_CURE: &str = "of WASI, version 0.2 of cli, clocks, filesystem, io, random and sockets is \
     linked: build for that (Rust: wasm32-wasip2 or wasm32-unknown-unknown)";
const NEWER_CURE: &str = "build it with an SDK for kybern:operator@0.1.0";
const OTHER_CURE: &str = "a plugin can import the interfaces rows, log, http, bundle, render and types of kybern:operator, and WASI 0.2";
const HTTP_CURE: &str = "ask for the capability http in the manifest";
const RENDER_CURE: &str = "ask for the capability render in the manifest";

/// A name like `kybern:operator/rows@0.1.0`, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Name<'a> {
    package: &'a str,
    interface: &'a str,
    version: Option<&'a str>,
}

impl<'a> Name<'a> {
    fn parse(name: &'a str) -> Self {
        let (path, version) = match name.split_once('@') {
            Some((path, version)) => (path, Some(version)),
            None => (name, None),
        };
        let (package, interface) = path.split_once('/').unwrap_or((path, ""));
        Self {
            package,
            interface,
            version,
        }
    }
}

/// What an import is to this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// The answers of the plugin's queries.
    Rows,
    /// Messages into the host's log.
    Log,
    /// Outgoing HTTP of the act hook.
    Http,
    /// The files of the component's bundle.
    Bundle,
    /// Templates that the host renders.
    Render,
    /// Types that hooks share; nothing to call.
    Types,
    /// WASI 0.2, which leads nowhere.
    Wasi {
        /// What a plugin gets from it.
        given: &'static str,
    },
    /// This host does not offer it.
    Nothing {
        /// What to do about it.
        cure: &'static str,
    },
}

/// What the host offers under this name.
pub(crate) fn offer(import: &str) -> Offer {
    let name = Name::parse(import);
    let cure = match (name.package, name.interface) {
        (PACKAGE_NAME, "rows") => return Offer::Rows,
        (PACKAGE_NAME, "log") => return Offer::Log,
        (PACKAGE_NAME, "http") => return Offer::Http,
        (PACKAGE_NAME, "bundle") => return Offer::Bundle,
        (PACKAGE_NAME, "render") => return Offer::Render,
        (PACKAGE_NAME, "types") => return Offer::Types,
        (PACKAGE_NAME, _) => NEWER_CURE,
        (package, interface) => match package.strip_prefix("wasi:") {
            Some(package) => return of_wasi(package, interface, name.version),
            None => OTHER_CURE,
        },
    };
    Offer::Nothing { cure }
}

fn of_wasi(package: &str, interface: &str, version: Option<&str>) -> Offer {
    let fits = version.and_then(numbers);
    let fits = fits.is_some_and(|found| compatible(found, wasi::VERSION));
    match wasi::given(package, interface) {
        Some(given) if fits => Offer::Wasi { given },
        _ if package == "http" => Offer::Nothing {
            cure: WASI_HTTP_CURE,
        },
        _ => Offer::Nothing { cure: WASI_CURE },
    }
}

/// Whether a component imports WASI.
pub(crate) fn has_wasi(shape: &Shape<'_>) -> bool {
    let is_wasi = |import: &&str| matches!(offer(import), Offer::Wasi { .. });
    shape.imports.iter().any(is_wasi)
}

/// Refuses a component whose names do not fit.
pub(crate) fn check(shape: &Shape<'_>) -> Result<(), LoadError> {
    for name in shape.imports.iter().chain(&shape.exports) {
        let name = Name::parse(name);
        if name.package == PACKAGE_NAME {
            check_version(name.package, name.version)?;
        }
    }
    let mut cure = None;
    let mut refused = Vec::new();
    for import in &shape.imports {
        if let Offer::Nothing { cure: why } = offer(import) {
            cure.get_or_insert(why);
            refused.push((*import).to_owned());
        }
    }
    match cure {
        Some(cure) => Err(LoadError::Imports {
            imports: refused,
            cure,
        }),
        None => Ok(()),
    }
}

/// Refuses a component that imports what its manifest does not ask for.
pub(crate) fn check_capabilities(shape: &Shape<'_>, manifest: &Manifest) -> Result<(), LoadError> {
    for (capability, wanted, cure) in [
        (Capability::Http, Offer::Http, HTTP_CURE),
        (Capability::Render, Offer::Render, RENDER_CURE),
    ] {
        let asked = |ask: &CapabilityAsk| ask.name == capability;
        if manifest.capabilities.iter().any(asked) {
            continue;
        }
        let mut imports = shape.imports.iter();
        if let Some(import) = imports.find(|import| offer(import) == wanted) {
            return Err(LoadError::Imports {
                imports: vec![(*import).to_owned()],
                cure,
            });
        }
    }
    Ok(())
}

/// Refuses a manifest that names another world or version.
pub(crate) fn check_world(world: &str) -> Result<(), LoadError> {
    let name = Name::parse(world);
    check_version(name.package, name.version)
}

fn check_version(package: &str, version: Option<&str>) -> Result<(), LoadError> {
    let fits = package == PACKAGE_NAME
        && match (version.and_then(numbers), Name::parse(PACKAGE).version) {
            (Some(found), Some(offered)) => {
                numbers(offered).is_some_and(|offered| compatible(found, offered))
            }
            _ => false,
        };
    if fits {
        return Ok(());
    }
    Err(LoadError::World {
        found: match version {
            Some(version) => format!("{package}@{version}"),
            None => format!("{package} without a version"),
        },
        offered: PACKAGE,
    })
}

/// Semantic versioning: what starts with the same first number that is not 0.
fn compatible(found: [u64; 3], offered: [u64; 3]) -> bool {
    match (found, offered) {
        ([0, 0, _], _) | (_, [0, 0, _]) => found == offered,
        ([0, found, _], [0, offered, _]) => found == offered,
        ([found, ..], [offered, ..]) => found == offered,
    }
}

fn numbers(version: &str) -> Option<[u64; 3]> {
    let mut parts = version.split('.');
    let mut next = || parts.next()?.parse().ok();
    let numbers = [next()?, next()?, next()?];
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(imports: &[&'static str], exports: &[&'static str]) -> String {
        let shape = Shape {
            imports: imports.to_vec(),
            exports: exports.to_vec(),
            ..Shape::default()
        };
        check(&shape).map_or_else(|error| error.to_string(), |()| "ok".to_owned())
    }

    #[test]
    fn takes_what_it_gives() {
        assert_eq!(
            verdict(
                &["kybern:operator/rows@0.1.0", "kybern:operator/log@0.1.3"],
                &["kybern:operator/decide@0.1.0", "init"]
            ),
            "ok"
        );
    }

    #[test]
    fn names_both_versions() {
        let text = "the plugin was built for kybern:operator@0.2.0; this host offers \
                    kybern:operator@0.1.0: build it with an SDK of that version";
        assert_eq!(verdict(&[], &["kybern:operator/decide@0.2.0"]), text);
        assert_eq!(verdict(&["kybern:operator/rows@0.2.0"], &[]), text);
        assert!(verdict(&["kybern:operator/rows"], &[]).contains("without a version"));
    }

    #[test]
    fn names_every_refused_import_and_the_cure() {
        let text = verdict(
            &[
                "kybern:operator/rows@0.1.0",
                "wasi:nn/graph@0.2.0-rc-2024-10-28",
                "wasi:io/streams@0.2.6",
                "wasi:io/streams@0.3.0",
            ],
            &[],
        );
        assert!(
            text.contains(": wasi:nn/graph@0.2.0-rc-2024-10-28, wasi:io/streams@0.3.0; of WASI"),
            "{text}"
        );
        assert!(verdict(&["wasi:http/types@0.2.6"], &[]).contains("kybern:operator/http"));
        assert!(verdict(&["kybern:operator/mail@0.1.9"], &[]).contains("SDK for"));
        assert!(verdict(&["env"], &[]).contains("rows, log, http, bundle, render and types"));
    }

    #[test]
    fn wasi_0_2_is_offered_and_nothing_else_of_it() {
        for (import, offered) in [
            ("wasi:cli/environment@0.2.0", true),
            ("wasi:random/insecure-seed@0.2.12", true),
            ("wasi:sockets/udp-create-socket@0.2.3", true),
            ("wasi:cli/run@0.2.0", false),
            ("wasi:clocks/timezone@0.2.0", false),
            ("wasi:cli/environment", false),
            ("wasi:cli/environment@0.3.0", false),
            ("wasi:cli/environment@0.2.0-rc-2023-11-10", false),
            ("wasi:keyvalue/store@0.2.0", false),
        ] {
            let is = matches!(offer(import), Offer::Wasi { .. });
            assert_eq!(is, offered, "{import}");
        }
    }

    #[test]
    fn versions_fit_as_semver_says() {
        for (found, offered, fits) in [
            ([0, 1, 0], [0, 1, 7], true),
            ([0, 1, 7], [0, 1, 0], true),
            ([0, 2, 0], [0, 1, 0], false),
            ([1, 2, 0], [1, 9, 0], true),
            ([2, 0, 0], [1, 0, 0], false),
            ([1, 1, 0], [0, 1, 0], false),
            ([0, 0, 1], [0, 0, 2], false),
        ] {
            assert_eq!(compatible(found, offered), fits, "{found:?} {offered:?}");
        }
        assert_eq!(numbers("0.1.0"), Some([0, 1, 0]));
        for bad in ["", "1", "1.2", "1.2.3.4", "1.2.x", "1.2.3-rc.1"] {
            assert_eq!(numbers(bad), None, "{bad}");
        }
    }
}
