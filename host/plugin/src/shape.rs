//! What a component's binary says before it is compiled: imports, exports and manifest sections.

use crate::load::LoadError;
use kybern_bundle::Bundle;
use kybern_interface::names::{BUNDLE_SECTION, MANIFEST_SECTION};
use wasmparser::{Encoding, Parser, Payload};

/// Custom sections that are looked at; more than one with different bytes is an error anyway.
const MAX_MANIFESTS: usize = 8;
/// Imports and exports of the outermost component.
const MAX_NAMES: usize = 1_000;

/// Bytes of the largest function of all modules in a component; 0 where it cannot be read.
pub(crate) fn largest_function(wasm: &[u8]) -> usize {
    let payloads = Parser::new(0).parse_all(wasm);
    let functions = payloads
        .map_while(Result::ok)
        .filter_map(|payload| match payload {
            Payload::CodeSectionEntry(body) => Some(body.range().len()),
            _ => None,
        });
    functions.max().unwrap_or_default()
}

/// What a component's binary says before it is compiled.
#[derive(Debug, Default)]
pub(crate) struct Shape<'a> {
    /// Names that the outermost component imports.
    pub(crate) imports: Vec<&'a str>,
    /// Names that the outermost component exports.
    pub(crate) exports: Vec<&'a str>,
    /// Manifest sections and how deep they were nested; 0 = in the component itself.
    pub(crate) manifests: Vec<(usize, &'a [u8])>,
    /// Sections of a bundle in the component itself.
    pub(crate) bundles: Vec<&'a [u8]>,
}

impl<'a> Shape<'a> {
    /// Reads the sections. Code is skipped over, not checked: the compiler does that.
    pub(crate) fn read(wasm: &'a [u8]) -> Result<Self, LoadError> {
        if !wasm.starts_with(b"\0asm") {
            return Err(not_a_component(
                "it does not start with `\\0asm`; give the binary format, not text, and not compiled code",
            ));
        }
        let mut shape = Self::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload.map_err(|error| not_a_component(error.to_string()))?;
            match payload {
                Payload::Version {
                    encoding: Encoding::Module,
                    ..
                } if depth == 0 => {
                    return Err(not_a_component(
                        "it is a core module: make it a component with `kybern plugin build` \
                         or `wasm-tools component new`",
                    ));
                }
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                    depth = depth.saturating_add(1);
                }
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        let import = import.map_err(|error| not_a_component(error.to_string()))?;
                        push(&mut shape.imports, import.name.name)?;
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        let export = export.map_err(|error| not_a_component(error.to_string()))?;
                        push(&mut shape.exports, export.name.name)?;
                    }
                }
                Payload::CustomSection(section) if section.name() == MANIFEST_SECTION => {
                    if shape.manifests.len() >= MAX_MANIFESTS {
                        return Err(LoadError::Manifest {
                            reason: format!("is there more than {MAX_MANIFESTS} times"),
                        });
                    }
                    shape.manifests.push((depth, section.data()));
                }
                Payload::CustomSection(section)
                    if depth == 0 && section.name() == BUNDLE_SECTION =>
                {
                    shape.bundles.push(section.data());
                }
                _ => {}
            }
        }
        Ok(shape)
    }

    /// The outermost manifest. SDKs may leave theirs in the core module that they are linked into.
    pub(crate) fn manifest(&self) -> Result<&'a [u8], LoadError> {
        let outermost = self.manifests.iter().map(|(depth, _)| *depth).min();
        let mut found = None;
        for (depth, bytes) in &self.manifests {
            if Some(*depth) != outermost {
                continue;
            }
            if found.is_some_and(|other| other != *bytes) {
                return Err(LoadError::Manifest {
                    reason: "is there twice, with different content".to_owned(),
                });
            }
            found = Some(*bytes);
        }
        found.ok_or_else(|| LoadError::Manifest {
            reason: "is missing: build the plugin with the SDK and `kybern plugin build`"
                .to_owned(),
        })
    }
}

impl Shape<'_> {
    /// The bundle; none = there is none.
    pub(crate) fn bundle(&self) -> Result<Option<Bundle>, LoadError> {
        let wrong = |reason: String| LoadError::Section { reason };
        match self.bundles.as_slice() {
            [] => Ok(None),
            [bytes] => match Bundle::parse(bytes) {
                Ok(bundle) => Ok(Some(bundle)),
                Err(error) => Err(wrong(error.to_string())),
            },
            _ => Err(wrong("it is there more than once".to_owned())),
        }
    }
}

fn push<'a>(names: &mut Vec<&'a str>, name: &'a str) -> Result<(), LoadError> {
    if names.len() >= MAX_NAMES {
        return Err(not_a_component(format!(
            "it has more than {MAX_NAMES} imports or exports"
        )));
    }
    names.push(name);
    Ok(())
}

fn not_a_component(reason: impl Into<String>) -> LoadError {
    LoadError::NotAComponent {
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(text: &str) -> Vec<u8> {
        wat::parse_str(text).unwrap()
    }

    fn manifest(text: &str) -> Result<String, String> {
        let wasm = component(text);
        let shape = Shape::read(&wasm).map_err(|error| error.to_string())?;
        shape
            .manifest()
            .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn finds_the_manifest_outside_and_inside() {
        let outside = r#"(component (@custom "kybern:manifest" "outer")
            (core module (@custom "kybern:manifest" "inner")))"#;
        assert_eq!(manifest(outside).unwrap(), "outer");
        let inside = r#"(component (component (core module (@custom "kybern:manifest" "inner"))))"#;
        assert_eq!(manifest(inside).unwrap(), "inner");
        let same = r#"(component (core module (@custom "kybern:manifest" "a"))
            (core module (@custom "kybern:manifest" "a")))"#;
        assert_eq!(manifest(same).unwrap(), "a");
    }

    #[test]
    fn two_manifests_or_none_are_refused() {
        let two = r#"(component (core module (@custom "kybern:manifest" "a"))
            (core module (@custom "kybern:manifest" "b")))"#;
        assert!(manifest(two).unwrap_err().contains("twice"));
        assert!(manifest("(component)").unwrap_err().contains("missing"));
        let many = format!(
            "(component {})",
            r#"(@custom "kybern:manifest" "a")"#.repeat(9)
        );
        assert!(manifest(&many).unwrap_err().contains("more than 8 times"));
    }

    #[test]
    fn a_core_module_is_told_the_cure() {
        let error = manifest("(module)").unwrap_err();
        assert!(error.contains("core module"), "{error}");
        assert!(error.contains("wasm-tools component new"), "{error}");
    }

    #[test]
    fn rubbish_is_refused() {
        for bytes in [&b""[..], b"\0asm", b"\x7fELF", b"\0asm\x0d\0\x01\0\x01\xff"] {
            let error = Shape::read(bytes).unwrap_err();
            assert!(
                matches!(error, LoadError::NotAComponent { .. }),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn reads_the_outer_names_only() {
        let wasm = component(
            r#"(component
                (import "a:b/c@0.1.0" (instance))
                (component (import "d:e/f@0.1.0" (instance)))
                (core module $m)
                (export "m" (core module $m)))"#,
        );
        let shape = Shape::read(&wasm).unwrap();
        assert_eq!(shape.imports, ["a:b/c@0.1.0"]);
        assert_eq!(shape.exports, ["m"]);
    }
}
