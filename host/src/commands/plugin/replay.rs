//! `kybern plugin replay`: decides again on recorded cases, and compares.

use super::component::Component;
use super::subject::Subject;
use super::{cases, refused, test};
use crate::args::ReplayArgs;
use std::process::ExitCode;

/// Prints one line for each case, and what came out otherwise.
pub(super) async fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let component = Component::read(&args.wasm)?;
    let folders = args.cases.iter();
    let cases = folders.map(|folder| cases::case(folder.clone()));
    let cases: Vec<_> = cases.collect::<anyhow::Result<_>>()?;
    match Subject::load(&component).await? {
        Ok(subject) => test::replay(&subject, &cases),
        Err(why) => Ok(refused(&component, &why)),
    }
}
