//! What a component imports and exports, without compiling it.

use crate::load::LoadError;
use crate::shape::Shape;

/// What a component imports and exports, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interfaces {
    /// What it needs.
    pub imports: Vec<String>,
    /// What it offers.
    pub exports: Vec<String>,
}

/// Reads what a component imports and exports. It is neither compiled nor validated.
///
/// # Errors
/// It is no component.
pub fn read_interfaces(wasm: &[u8]) -> Result<Interfaces, LoadError> {
    let shape = Shape::read(wasm)?;
    let names = |all: Vec<&str>| all.into_iter().map(str::to_owned).collect();
    Ok(Interfaces {
        imports: names(shape.imports),
        exports: names(shape.exports),
    })
}
