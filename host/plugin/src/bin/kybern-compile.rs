//! The process that compiles, as a program of its own: what tests of this crate start. The host starts itself.

use std::process::ExitCode;

fn main() -> ExitCode {
    kybern_plugin::serve()
}
