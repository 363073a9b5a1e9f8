//! Thousands of custom resources, two replicas, and what may befall them.
//!
//! How many: `KYBERN_SCALE`, 200 unless told. Each replica has a user of its own, so that the
//! audit log tells who wrote what. Each phase says on standard output how long it took until the
//! last write, and what was written; docs/benchmarks.md has the figures of 10,000.

mod churn;
pub(crate) mod crowd;
mod judge;

use anyhow::{Context, Result};
use crowd::Crowd;

/// Enough for CI.
const FEW: usize = 200;

fn count() -> Result<usize> {
    let Some(told) = std::env::var_os("KYBERN_SCALE") else {
        return Ok(FEW);
    };
    let told = told.to_str().context("KYBERN_SCALE is a number")?;
    told.parse().context("KYBERN_SCALE is a number")
}

#[test]
fn thousands_of_custom_resources_survive_restarts_churn_kills_and_standstills() -> Result<()> {
    let mut crowd = Crowd::new(count()?)?;
    crowd.create()?;
    crowd.cold()?;
    crowd.restart()?;
    crowd.churn()?;
    crowd.kill()?;
    crowd.stand_still()?;
    crowd.judge()
}
