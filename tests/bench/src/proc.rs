//! What the kernel counts for a process that runs.

use anyhow::{Context, Result};

/// USER_HZ, which Linux promises to programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// Resident bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resident {
    /// Now.
    pub(crate) now: f64,
    /// The most since the start or the last reset.
    pub(crate) peak: f64,
    /// Of what is held now, what is no file's: pages of the program can be read again.
    pub(crate) anonymous: f64,
}

/// User and system time of all threads of the process so far, in seconds.
pub(crate) fn processor(id: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The name may hold blanks; what follows its bracket does not. utime and stime are the 14th and
    // 15th of all.
    let (_, rest) = stat.rsplit_once(')').context("a name in brackets")?;
    let ticks: Vec<f64> = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
}

/// The same of all children that this process has waited for.
pub(crate) fn waited() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, rest) = stat.rsplit_once(')').context("a name in brackets")?;
    let ticks: Vec<f64> = rest
        .split_whitespace()
        .skip(13)
        .take(2)
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
}

/// What the process holds.
pub(crate) fn resident(id: u32) -> Result<Resident> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    Ok(Resident {
        now: kibibytes(&status, "VmRSS:")?,
        peak: kibibytes(&status, "VmHWM:")?,
        anonymous: kibibytes(&status, "RssAnon:")?,
    })
}

/// Resident bytes, with its part of those that it shares with others.
pub(crate) fn proportional(id: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
    kibibytes(&status, "Pss:")
}

fn kibibytes(text: &str, key: &str) -> Result<f64> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.split_whitespace().next())
        .with_context(|| format!("the kernel says no {key}"))?;
    Ok(value.parse::<f64>()? * 1024.0)
}
