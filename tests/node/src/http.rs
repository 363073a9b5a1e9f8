//! HTTP from the machine to the addresses of Pods and Services: both are routed.

use anyhow::{Context, Result};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);

/// An answer of any status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub code: u16,
    /// Body.
    pub body: String,
}

/// `GET url` on a connection of its own: a kept one would stay with one Pod.
///
/// # Errors
/// No answer within 5 s.
pub fn get(url: &str) -> Result<Answer> {
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        // Never through a proxy: the node is on this machine.
        .proxy(None)
        .build()
        .new_agent();
    let mut answer = agent
        .get(url)
        .call()
        .with_context(|| format!("GET {url}"))?;
    Ok(Answer {
        code: answer.status().as_u16(),
        body: answer
            .body_mut()
            .read_to_string()
            .with_context(|| format!("GET {url}"))?,
    })
}
