//! `kybern plugin render`: one `decide` on a situation, and the plan that comes of it.

use super::bundle;
use super::situation::Situation;
use super::subject::Subject;
use super::{document, plan, refused};
use crate::args::RenderArgs;
use std::process::ExitCode;

/// Prints the plan.
pub(super) async fn run(args: &RenderArgs) -> anyhow::Result<ExitCode> {
    let component = match bundle::read(&args.wasm, &args.interpreter).await? {
        Ok(component) => component,
        Err(why) => return Ok(bundle::refused(&args.wasm, &why)),
    };
    let situation = Situation::read(&args.situation)?;
    let subject = match Subject::load(&component).await? {
        Ok(subject) => subject,
        Err(why) => return Ok(refused(&component, &why)),
    };
    let decided = match subject.decide(&situation, false)? {
        Ok(decided) => decided,
        Err(ended) => {
            eprintln!("no plan: {ended}");
            return Ok(ExitCode::FAILURE);
        }
    };
    document::print(&plan::form(&decided.plan)?, args.output)?;
    let outside = plan::outside(&decided.plan, subject.plugin.manifest());
    for what in &outside {
        eprintln!("the host refuses this plan: it {what}");
    }
    Ok(ExitCode::from(u8::from(!outside.is_empty())))
}
