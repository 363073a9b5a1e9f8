//! What a component says about itself before anything of it is compiled, also where it would be refused.

use crate::load::LoadError;
use crate::manifest;
use crate::shape::Shape;
use crate::world::{self, Offer};
use kybern_interface::Manifest;
use serde_json::Value;

/// What a component says about itself.
#[derive(Debug)]
pub struct Outline {
    /// What it imports, in the binary's order.
    pub imports: Vec<Import>,
    /// Names that it exports.
    pub exports: Vec<String>,
    /// The manifest as it is written; none = there is none that is JSON.
    pub document: Option<Value>,
    /// The manifest, or why it is refused.
    pub manifest: Result<Manifest, LoadError>,
    /// Why the component is refused whatever its manifest says; none = its names fit.
    pub refused: Option<LoadError>,
}

/// One import of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Its name, like `kybern:operator/rows@0.1.0`.
    pub name: String,
    /// What it is to this host.
    pub offer: Offer,
}

impl Outline {
    /// Reads it from a component's bytes. The component is neither compiled nor validated.
    ///
    /// # Errors
    /// The bytes are no component.
    pub fn read(wasm: &[u8]) -> Result<Self, LoadError> {
        let shape = Shape::read(wasm)?;
        let manifest = shape.manifest().and_then(manifest::parse);
        let asked = |manifest: &Manifest| world::check_capabilities(&shape, manifest).err();
        let refused = world::check(&shape)
            .err()
            .or_else(|| manifest.as_ref().ok().and_then(asked));
        let import = |name: &&str| Import {
            name: (*name).to_owned(),
            offer: world::offer(name),
        };
        Ok(Self {
            imports: shape.imports.iter().map(import).collect(),
            exports: shape
                .exports
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
            document: shape.manifest().ok().and_then(manifest::document),
            manifest,
            refused,
        })
    }

    /// Whether it exports this hook: `decide`, `sense` or `act`.
    pub fn has_hook(&self, hook: &str) -> bool {
        let interface = format!("kybern:operator/{hook}@");
        self.exports.iter().any(|name| name.starts_with(&interface))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(text: &str) -> Outline {
        Outline::read(&wat::parse_str(text).unwrap()).unwrap()
    }

    #[test]
    fn what_would_be_refused_is_told_and_the_rest_too() {
        let found = outline(
            r#"(component
                (@custom "kybern:manifest" "{\"name\":\"web\",\"version\":\"1.0.0\",\"world\":\"kybern:operator@0.1.0\"}")
                (import "kybern:operator/log@0.1.0" (instance))
                (import "wasi:cli/environment@0.2.6" (instance))
                (import "wasi:http/types@0.2.6" (instance)))"#,
        );
        assert_eq!(found.manifest.unwrap().name, "web");
        assert_eq!(found.document.unwrap()["name"], "web");
        assert_eq!(found.imports[0].offer, Offer::Log);
        assert!(matches!(found.imports[1].offer, Offer::Wasi { .. }));
        assert!(matches!(found.imports[2].offer, Offer::Nothing { .. }));
        let refused = found.refused.unwrap().to_string();
        assert!(refused.contains(": wasi:http/types@0.2.6; "), "{refused}");
    }

    #[test]
    fn a_manifest_that_is_refused_is_still_shown() {
        let found = outline(r#"(component (@custom "kybern:manifest" "{\"name\":\"Web\"}"))"#);
        assert!(found.manifest.is_err());
        assert_eq!(found.document.unwrap()["name"], "Web");
        let found = outline("(component)");
        assert!(
            found
                .manifest
                .unwrap_err()
                .to_string()
                .contains("is missing")
        );
        assert_eq!(found.document, None);
        assert!(found.refused.is_none());
    }

    #[test]
    fn an_import_that_no_capability_asks_for_is_refused() {
        let found = outline(
            r#"(component
                (@custom "kybern:manifest" "{\"name\":\"web\",\"version\":\"1.0.0\",\"world\":\"kybern:operator@0.1.0\"}")
                (import "kybern:operator/http@0.1.0" (instance)))"#,
        );
        assert_eq!(found.imports[0].offer, Offer::Http);
        let refused = found.refused.unwrap().to_string();
        assert!(refused.contains("ask for the capability http"), "{refused}");
    }
}
