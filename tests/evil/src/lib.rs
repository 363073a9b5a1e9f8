//! A hostile plugin: `spec.mode` of its custom resource chooses how it misbehaves.
//!
//! | mode | what it does | what the host makes of it |
//! |---|---|---|
//! | `ok` | plans one ConfigMap, in `spec.namespace` if given | the plan |
//! | `two` | plans a ServiceAccount beside it | the plan |
//! | `read` | reads all rows in both forms, then past the end | the plan, with what it read in a status |
//! | `compare` | asks `spec.queries` and compares the answers | the plan, or the hook's error where they differ |
//! | `slow` | works for `spec.rounds`, then as `ok` | the plan |
//! | `loop` | never returns | out of time |
//! | `trap` | panics | trap, with the panic's message |
//! | `memory` | allocates for ever | out of memory |
//! | `deep-recursion` | calls itself for ever | trap |
//! | `big-output` | returns `spec.bytes` bytes, default 5 MiB | output too large |
//! | `not-json` | returns text | malformed output |
//! | `deep-json` | returns `spec.depth` nested arrays, default 10,000 | malformed output |
//! | `not-a-plan` | returns JSON that is no plan | refused by who reads the plan |
//! | `unknown-action` | one action of a type that nobody knows | refused whole by who reads the plan |
//! | `outside-grants` | deletes a Secret, applies a ClusterRole | refused by the check of grants |
//! | `log-flood` | logs `spec.messages` messages, default 10,000 | the plan; most messages dropped |
//! | `copies` | copies half of its memory over the other half for ever | out of time |
//! | `calls` | calls one host function (`spec.call`) for ever | out of time |
//! | `row-by-row` | reads an answer by `spec.form` again and again | out of time |
//! | `reopen` | opens and drops `spec.times` cursors, default 10,000 | the plan |
//! | `big-log` | logs one message of `spec.bytes`, default 8 MiB | the plan; the message cut |
//! | `huge-plan` | plans `spec.actions` ConfigMaps, default 10,000 | refused by the check of plans |
//! | `many-cursors` | opens cursors and keeps them | error at the limit |
//! | `impure` | puts everything that might differ between two calls into the plan | the same plan each time |
//! | `invalid`, `wait`, `retry`, `internal` | returns that hook error | that hook error |
//! | `sense-skip`, `sense-trap`, `sense-not-json` | the same in `sense`; `ok` in `decide` | skip, trap, malformed output |
#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "misbehaving is what this guest is for"
)]

mod compare;
mod floods;
mod impure;
mod modes;

mod bindings {
    //! Generated from the interface.
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package kybern:evil;
            world hostile {
                include kybern:operator/decider@0.1.0;
                export kybern:operator/sense@0.1.0;
            }
        ",
        world: "kybern:evil/hostile",
        generate_all,
    });
}

use bindings::exports::kybern::operator::{decide, sense};
use bindings::kybern::operator::log;
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

/// The hostile plugin.
pub struct Evil;

#[cfg(target_arch = "wasm32")]
mod exports {
    #![expect(unsafe_code, reason = "exported functions have unmangled names")]
    use super::{Evil, bindings};
    bindings::export!(Evil with_types_in bindings);
}

impl decide::Guest for Evil {
    fn decide(situation: String) -> Result<String, HookError> {
        report_panics();
        let situation = parse(&situation)?;
        modes::decide(&situation)
    }
}

impl sense::Guest for Evil {
    fn sense(trigger: String) -> Result<String, HookError> {
        report_panics();
        let trigger = parse(&trigger)?;
        modes::sense(&trigger)
    }
}

fn parse(document: &str) -> Result<serde_json::Value, HookError> {
    serde_json::from_str(document).map_err(|error| HookError::Internal(error.to_string()))
}

/// A panic says why before it traps, as the SDK makes it.
fn report_panics() {
    std::panic::set_hook(Box::new(|info| {
        log::write(log::Level::Error, &info.to_string());
    }));
}
