//! Makes a module a component and moves its manifest to the front.

use crate::ComponentError;
use kybern_interface::names::MANIFEST_SECTION;
use std::fmt::Display;
use wasm_encoder::{Component, CustomSection, Module, RawSection};
use wasmparser::{Encoding, Parser, Payload};
use wit_component::ComponentEncoder;

/// Makes a core module a component and moves its manifest to the component's first section.
///
/// There a reader finds it without looking into the nested module.
///
/// For targets whose linker makes components, the manifest lies in the nested module and stays there.
///
/// # Errors
/// It is no module, carries two manifests, or lacks the types of its imports and exports.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>, ComponentError> {
    if is_component(module) {
        return Ok(module.to_vec());
    }
    let (module, manifest) = take_manifest(module)?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| wrong(format!("{error:#}")))?;
    match manifest {
        Some(manifest) => in_front(&component, &manifest),
        None => Ok(component),
    }
}

pub(crate) fn is_component(wasm: &[u8]) -> bool {
    wasm.starts_with(&Component::HEADER)
}

/// The component with a manifest as its first section.
pub(crate) fn in_front(component: &[u8], manifest: &[u8]) -> Result<Vec<u8>, ComponentError> {
    let mut front = Component::new();
    front.section(&CustomSection {
        name: MANIFEST_SECTION.into(),
        data: manifest.into(),
    });
    let mut whole = front.finish();
    let body = component.get(Component::HEADER.len()..);
    whole.extend_from_slice(body.ok_or_else(|| wrong("it has no header"))?);
    Ok(whole)
}

/// The module without its manifest section, and the manifest.
fn take_manifest(module: &[u8]) -> Result<(Vec<u8>, Option<Vec<u8>>), ComponentError> {
    let mut rest = Module::new();
    let mut manifest = None;
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(wrong)?;
        if let Payload::Version { encoding, .. } = &payload
            && *encoding != Encoding::Module
        {
            return Err(wrong("it is not a core module"));
        }
        if let Payload::CustomSection(custom) = &payload
            && custom.name() == MANIFEST_SECTION
        {
            if manifest.replace(custom.data().to_vec()).is_some() {
                return Err(wrong(
                    "it has two manifests: only one type of a crate can be the plugin",
                ));
            }
            continue;
        }
        if let Some((id, range)) = payload.as_section() {
            let data = module.get(range);
            let data = data.ok_or_else(|| wrong("a section ends past the file"))?;
            rest.section(&RawSection { id, data });
        }
    }
    Ok((rest.finish(), manifest))
}

pub(crate) fn wrong(reason: impl Display) -> ComponentError {
    ComponentError::Encode {
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(manifests: &[&str]) -> Vec<u8> {
        let mut module = Module::new();
        for manifest in manifests {
            module.section(&CustomSection {
                name: MANIFEST_SECTION.into(),
                data: manifest.as_bytes().into(),
            });
        }
        module.finish()
    }

    #[test]
    fn the_manifest_goes_to_the_front() {
        let component = componentize(&module(&["{}"])).unwrap();
        let mut sections = Parser::new(0).parse_all(&component).map(Result::unwrap);
        let first = sections.nth(1);
        let Some(Payload::CustomSection(first)) = first else {
            panic!("{first:?}");
        };
        assert_eq!(
            (first.name(), first.data()),
            (MANIFEST_SECTION, b"{}".as_slice())
        );
        let text = String::from_utf8_lossy(&component);
        assert_eq!(text.matches(MANIFEST_SECTION).count(), 1);
    }

    #[test]
    fn two_manifests_are_refused_and_a_component_is_one_already() {
        let told = |bytes: &[u8]| componentize(bytes).unwrap_err().to_string();
        assert!(told(&module(&["{}", "{}"])).contains("two manifests"));
        let component = componentize(&module(&[])).unwrap();
        assert_eq!(componentize(&component).unwrap(), component);
        assert!(told(b"text").contains("cannot be made a component"));
    }
}
