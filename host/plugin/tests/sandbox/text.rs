//! Small components from text: a core module and the interface that it claims to have.

use kybern_interface::WIT;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, UnresolvedPackageGroup};

/// A manifest that fits.
pub(crate) const MANIFEST: &str =
    r#"{"name":"small","version":"1.0.0","world":"kybern:operator@0.1.0"}"#;

/// A world with `decide` only.
pub(crate) const DECIDES: &str = "world tested { export decide; }";

/// The component of a core module with a world in the interface's package.
pub(crate) fn component(world: &str, core: &str) -> Vec<u8> {
    component_in(&format!("{WIT}\n{world}"), core)
}

/// The component of a core module with the world `tested` of these WIT packages.
pub(crate) fn component_in(wit: &str, core: &str) -> Vec<u8> {
    let mut module = wat::parse_str(core).unwrap();
    let mut resolve = Resolve::default();
    let group = UnresolvedPackageGroup::parse("tested.wit", wit).unwrap();
    let package = resolve.push_group(group).unwrap();
    let world = resolve.select_world(&[package], Some("tested")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .unwrap()
        .encode()
        .unwrap()
}

/// The component with a manifest as its last section.
pub(crate) fn with_manifest(mut component: Vec<u8>, manifest: &str) -> Vec<u8> {
    let mut body = leb128("kybern:manifest".len());
    body.extend_from_slice(b"kybern:manifest");
    body.extend_from_slice(manifest.as_bytes());
    component.push(0);
    component.extend(leb128(body.len()));
    component.extend(body);
    component
}

fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A core module whose `decide` returns `result<string, ..>` with this discriminant
/// and text position; `data` lies at 1024, `more` is added to the module.
pub(crate) fn decider(discriminant: u8, at: u32, length: u32, data: &str, more: &str) -> String {
    format!(
        r#"(module
            (memory (export "memory") 2)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8192))
            (data (i32.const 1024) "{data}")
            (func (export "kybern:operator/decide@0.1.0#decide") (param i32 i32) (result i32)
                (i32.store8 (i32.const 512) (i32.const {discriminant}))
                (i32.store (i32.const 520) (i32.const {at}))
                (i32.store (i32.const 524) (i32.const {length}))
                (i32.const 512))
            {more})"#
    )
}

/// A whole plugin that returns `{{}}`.
pub(crate) fn small() -> Vec<u8> {
    with_manifest(component(DECIDES, &decider(0, 1024, 2, "{}", "")), MANIFEST)
}
