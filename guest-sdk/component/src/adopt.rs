//! Makes a plugin of what the tools of another language built: its manifest comes from a file.

use crate::ComponentError;
use crate::adapter::{self, GO_SECTION};
use crate::encode::{in_front, is_component, wrong};
use kybern_interface::WIT;
use kybern_interface::names::MANIFEST_SECTION;
use serde_json::Value;
use std::collections::BTreeSet;
use wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;
use wasm_encoder::Component;
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const OPERATOR: &str = "kybern:operator/";
/// Where a module that says itself which world it has says so.
const WORLD_SECTION: &str = "component-type";

/// A component with this manifest in front.
///
/// A component stays as it is, but for a manifest that was put in front of it. A core module that imports and exports `kybern:operator` by the
/// canonical ABI's names becomes one, with what it takes of WASI 0.1 turned into WASI 0.2.
///
/// # Errors
/// It is neither, or its functions have other types than the interface.
pub fn adopt(wasm: &[u8], manifest: &Value) -> Result<Vec<u8>, ComponentError> {
    let manifest = manifest.to_string();
    if is_component(wasm) {
        return in_front(&without_manifest(wasm)?, manifest.as_bytes());
    }
    let component = encode(wasm).map_err(|error| wrong(format!("{error:#}")))?;
    in_front(&component, manifest.as_bytes())
}

/// The component without the manifest that stands in front of everything else.
fn without_manifest(component: &[u8]) -> Result<Vec<u8>, ComponentError> {
    let mut payloads = Parser::new(0).parse_all(component).skip(1);
    let Some(Payload::CustomSection(first)) = payloads.next().transpose().map_err(wrong)? else {
        return Ok(component.to_vec());
    };
    if first.name() != MANIFEST_SECTION {
        return Ok(component.to_vec());
    }
    let header = component.get(..Component::HEADER.len());
    let rest = component.get(first.range().end..);
    match (header, rest) {
        (Some(header), Some(rest)) => Ok([header, rest].concat()),
        _ => Err(wrong("it is cut")),
    }
}

fn encode(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    let names = Names::of(module)?;
    let mut module = module.to_vec();
    if !names.has_world {
        let mut resolve = Resolve::default();
        let wit = format!("{WIT}\n{}", names.world());
        let package = resolve.push_source("operator.wit", &wit)?;
        let world = resolve.select_world(&[package], Some("adopted"))?;
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    }
    let mut encoder = ComponentEncoder::default().validate(true).module(&module)?;
    if names.has_preview1 {
        let adapter = adapter::preview1(names.is_go)?;
        encoder = encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, &adapter)?;
    }
    encoder.encode()
}

/// What a core module imports and exports of the interface.
#[derive(Debug, Default)]
struct Names {
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
    has_preview1: bool,
    has_world: bool,
    is_go: bool,
}

impl Names {
    fn of(module: &[u8]) -> anyhow::Result<Self> {
        let mut names = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let from = import?.module;
                        names.has_preview1 |= from == WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;
                        names.imports.extend(interface(from));
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let interface = export?
                            .name
                            .split_once('#')
                            .and_then(|(of, _)| interface(of));
                        names.exports.extend(interface);
                    }
                }
                Payload::CustomSection(custom) => {
                    names.is_go |= custom.name() == GO_SECTION;
                    names.has_world |= custom.name().starts_with(WORLD_SECTION);
                }
                _ => {}
            }
        }
        Ok(names)
    }

    /// The world of just these.
    fn world(&self) -> String {
        let imports = self.imports.iter().map(|name| format!("import {name};"));
        let exports = self.exports.iter().map(|name| format!("export {name};"));
        let items: String = imports.chain(exports).collect();
        format!("world adopted {{ {items} }}")
    }
}

/// `rows` of `kybern:operator/rows@0.1.0`.
fn interface(name: &str) -> Option<String> {
    let name = name.strip_prefix(OPERATOR)?;
    Some(name.split('@').next().unwrap_or(name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use wasmparser::Encoding;

    /// As Go compiles it: a start, WASI 0.1, and the functions of the interface by their names.
    const MODULE: &str = r#"(module
        (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))
        (import "kybern:operator/log@0.1.0" "write" (func (param i32 i32 i32)))
        (memory (export "memory") 1)
        (func (export "_initialize"))
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8192))
        (func (export "kybern:operator/decide@0.1.0#decide") (param i32 i32) (result i32)
            (i32.const 512)))"#;

    fn names(component: &[u8]) -> (Vec<String>, Vec<String>) {
        let (mut imports, mut exports) = (Vec::new(), Vec::new());
        let mut depth = 0;
        for payload in Parser::new(0).parse_all(component) {
            match payload.unwrap() {
                Payload::Version { encoding, .. } => {
                    assert!(depth > 0 || encoding == Encoding::Component);
                    depth += 1;
                }
                Payload::End(_) => depth -= 1,
                Payload::ComponentImportSection(section) if depth == 1 => {
                    let section = section.into_iter().map(Result::unwrap);
                    imports.extend(section.map(|import| import.name.name.to_owned()));
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    let section = section.into_iter().map(Result::unwrap);
                    exports.extend(section.map(|export| export.name.name.to_owned()));
                }
                _ => {}
            }
        }
        (imports, exports)
    }

    #[test]
    fn a_module_gets_the_world_that_it_uses_and_wasi_0_2() {
        let module = wat::parse_str(MODULE).unwrap();
        let component = adopt(&module, &json!({ "name": "small" })).unwrap();
        let (imports, exports) = names(&component);
        assert_eq!(exports, ["kybern:operator/decide@0.1.0"]);
        assert!(imports.contains(&"kybern:operator/log@0.1.0".to_owned()));
        assert!(!imports.contains(&"kybern:operator/http@0.1.0".to_owned()));
        assert!(
            imports
                .iter()
                .any(|name| name.starts_with("wasi:random/random@0.2."))
        );
        let text = String::from_utf8_lossy(&component);
        assert!(text.contains(r#"{"name":"small"}"#));
        // Go's modules bring the same, and another adapter.
        let go = MODULE.replacen("(module", "(module (@custom \"go:buildid\" \"\")", 1);
        let go = adopt(&wat::parse_str(go).unwrap(), &Value::Null).unwrap();
        assert!(
            names(&go)
                .0
                .contains(&"wasi:random/random@0.2.0".to_owned())
        );
        assert!(go.len() < component.len());
        // A component gets another manifest in front, and is the same again with the old one.
        let again = adopt(&component, &json!({ "name": "other" })).unwrap();
        assert_eq!(names(&again), names(&component));
        let text = String::from_utf8_lossy(&again);
        assert!(text.contains(r#"{"name":"other"}"#));
        assert!(!text.contains(r#"{"name":"small"}"#));
        let back = adopt(&again, &json!({ "name": "small" })).unwrap();
        assert!(back == component);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let told = |bytes: &[u8]| adopt(bytes, &Value::Null).unwrap_err().to_string();
        let other = MODULE.replace(
            "(param i32 i32) (result i32)\n            (i32",
            "(param i32) (result i32)\n            (i32",
        );
        assert!(told(&wat::parse_str(other).unwrap()).contains("decide"));
        assert!(told(b"text").contains("cannot be made a component"));
    }
}
