//! A component with its bundle, and a component without what is never run.

use crate::{Bundle, BundleError};
use kybern_interface::names::{BUNDLE_SECTION, SECTION_PREFIX};
use std::borrow::Cow;
use std::ops::Range;
use wasm_encoder::{CustomSection, Encode, Section};
use wasmparser::{Encoding, Parser, Payload};

/// The component with this bundle in place of the one that it has.
///
/// # Errors
/// It is no component.
pub fn compose(component: &[u8], bundle: &Bundle) -> Result<Vec<u8>, BundleError> {
    let mut composed = without(component, |name| name == BUNDLE_SECTION)?.into_owned();
    let bytes = bundle.to_bytes();
    let section = CustomSection {
        name: BUNDLE_SECTION.into(),
        data: bytes.as_slice().into(),
    };
    composed.push(section.id());
    section.encode(&mut composed);
    Ok(composed)
}

/// The component without its own sections `kybern:*`: what is compiled of it.
///
/// # Errors
/// It is no component.
pub fn without_sections(component: &[u8]) -> Result<Cow<'_, [u8]>, BundleError> {
    without(component, |name| name.starts_with(SECTION_PREFIX))
}

/// What is in the component's section of a bundle, if it has one; the last if it has several.
///
/// # Errors
/// It is no component.
pub fn section(component: &[u8]) -> Result<Option<&[u8]>, BundleError> {
    let mut found = None;
    sections(component, |name, _, data| {
        if name == BUNDLE_SECTION {
            found = Some(data);
        }
    })?;
    Ok(found)
}

fn without(component: &[u8], goes: impl Fn(&str) -> bool) -> Result<Cow<'_, [u8]>, BundleError> {
    let mut cut = Vec::new();
    sections(component, |name, range, _| {
        if goes(name) {
            cut.push(range);
        }
    })?;
    if cut.is_empty() {
        return Ok(Cow::Borrowed(component));
    }
    let mut rest = Vec::with_capacity(component.len());
    let mut from = 0;
    for range in cut {
        rest.extend(component.get(from..range.start).unwrap_or_default());
        from = range.end;
    }
    rest.extend(component.get(from..).unwrap_or_default());
    Ok(Cow::Owned(rest))
}

/// Tells name, place (its header included) and content of each custom section of the component
/// itself, in order.
fn sections<'a>(
    component: &'a [u8],
    mut tell: impl FnMut(&str, Range<usize>, &'a [u8]),
) -> Result<(), BundleError> {
    let wrong = |reason: String| BundleError::Component(reason);
    let mut depth = 0_usize;
    // Where the section that is read begins: where the one before ends.
    let mut begin = 0;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.map_err(|error| wrong(error.to_string()))?;
        match &payload {
            Payload::Version {
                encoding, range, ..
            } if depth == 0 => {
                if *encoding != Encoding::Component {
                    let what = "it is a core module: make it one with `kybern plugin build`";
                    return Err(wrong(what.to_owned()));
                }
                begin = range.end;
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                depth = depth.saturating_add(1);
            }
            Payload::End(end) => {
                depth = depth.saturating_sub(1);
                begin = *end;
            }
            Payload::CustomSection(custom) if depth == 0 => {
                let end = custom.range().end;
                tell(custom.name(), begin..end, custom.data());
                begin = end;
            }
            other => {
                if let Some((_, range)) = other.as_section() {
                    begin = range.end;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_encoder::{Component, Module, ModuleSection};

    fn custom(name: &str, data: &[u8]) -> CustomSection<'static> {
        CustomSection {
            name: name.to_owned().into(),
            data: data.to_vec().into(),
        }
    }

    /// A component with a module, which has a section of its own.
    fn component() -> Vec<u8> {
        let mut module = Module::new();
        module.section(&custom("kybern:inner", b"stays"));
        let mut component = Component::new();
        component.section(&custom("kybern:manifest", b"{}"));
        component.section(&ModuleSection(&module));
        component.section(&custom("name", b"stays"));
        component.finish()
    }

    fn bundle(text: &str) -> Bundle {
        let mut bundle = Bundle::default();
        bundle.insert("operator.yaml", text.into()).unwrap();
        bundle
    }

    #[test]
    fn a_component_has_one_bundle_and_the_same_code_with_each() {
        let plain = component();
        let one = compose(&plain, &bundle("one")).unwrap();
        let other = compose(&one, &bundle("other")).unwrap();
        assert_eq!(other, compose(&plain, &bundle("other")).unwrap());
        assert_ne!(one, other);
        let found = section(&other).unwrap().unwrap();
        assert_eq!(Bundle::parse(found).unwrap(), bundle("other"));
        assert_eq!(section(&plain).unwrap(), None);
        let code = without_sections(&plain).unwrap();
        for composed in [&one, &other] {
            assert_eq!(without_sections(composed).unwrap(), code);
        }
        let mut told = Vec::new();
        sections(&code, |name, _, _| told.push(name.to_owned())).unwrap();
        assert_eq!(told, ["name"]);
        assert!(code.windows(12).any(|bytes| bytes == b"kybern:inner"));
        assert!(code.len() + 20 == plain.len());
    }

    #[test]
    fn what_is_no_component_is_refused() {
        for bytes in [&b""[..], b"\0asm", &Module::new().finish()] {
            assert!(compose(bytes, &bundle("")).is_err());
        }
    }
}
