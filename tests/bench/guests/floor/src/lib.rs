//! The least that a plugin can be: it reads nothing and returns the same plan each time. What a
//! call of it costs, every call costs.

mod bindings {
    //! Generated from the interface.
    wit_bindgen::generate!({
        path: "../../../../wit",
        world: "kybern:operator/decider@0.1.0",
        generate_all,
    });
}

use bindings::exports::kybern::operator::decide;
use bindings::kybern::operator::types::HookError;

/// The manifest, where a reader of the core module finds it.
#[cfg(target_arch = "wasm32")]
mod manifest {
    #![expect(unsafe_code, reason = "naming a section is an unsafe attribute")]
    const TEXT: &[u8] = include_bytes!("../manifest.json");
    #[unsafe(link_section = "kybern:manifest")]
    #[used]
    static MANIFEST: [u8; TEXT.len()] = *include_bytes!("../manifest.json");
}

/// The plugin.
pub struct Floor;

#[cfg(target_arch = "wasm32")]
mod exports {
    #![expect(unsafe_code, reason = "exported functions have unmangled names")]
    use super::{Floor, bindings};
    bindings::export!(Floor with_types_in bindings);
}

impl decide::Guest for Floor {
    fn decide(_situation: String) -> Result<String, HookError> {
        Ok(r#"{"children":"unchanged","actions":[],"deletion":"notDeleting"}"#.to_owned())
    }
}
