//! A peer as the one that is measured: a process with caches that [`Server`] fills.
//!
//! # Contract
//! `PROGRAM be-pass SYSTEM WORK CRS URL` answers each line on its standard input with one line:
//! `rest` once its caches are filled and no reconcile is due, `passes COUNT` with [`Figures`] of so
//! many reconciles of as many CRs once their Deployments' next note is in its caches. It ends when
//! its input does.

use super::engine::Figures;
use super::served::World;
use super::server::Server;
use crate::child::Child;
use crate::systems::{Runnable, System};
use anyhow::{Context, Result};

/// Notes that count where garbage is collected after thousands of passes: its share is in them.
const WITH_GARBAGE: u32 = 5;
/// CRs that are due where a pass looks at all pods: it takes milliseconds, whatever CR it is for.
const SLOW: u64 = 1_000;

/// One run.
pub(super) fn measure(runnable: &Runnable, work: &str, crs: u64) -> Result<Figures> {
    let (notes, noted) = match (runnable.system, work) {
        (System::ControllerRuntime, _) => (WITH_GARBAGE, crs),
        (_, "lookup") => (1, crs),
        _ => (1, crs.min(SLOW)),
    };
    let server = Server::start(World { crs, noted })?;
    let words = ["be-pass", work, &crs.to_string(), &server.url()];
    let mut child = Child::start(runnable, &words)?;
    child.ask("rest")?;
    // Once before it counts.
    passes(&mut child, &server, noted)?;
    let mut all = Figures::default();
    for _ in 0..notes {
        let figures = passes(&mut child, &server, noted)?;
        all.busy += figures.busy;
        all.wall += figures.wall;
        all.count += figures.count;
    }
    child.end()?;
    server.untouched()?;
    Ok(all)
}

fn passes(child: &mut Child, server: &Server, count: u64) -> Result<Figures> {
    server.note();
    let answer = child.ask(&format!("passes {count}"))?;
    serde_json::from_str(&answer).with_context(|| format!("no figures: {answer}"))
}
