//! Reading a plan as it comes from a guest.

use crate::error::{Crash, DecideError};
use kybern_interface::Plan;

/// Reads a plan. An action that this host does not know refuses the plan whole.
pub fn parse_plan(text: &str) -> Result<Plan, DecideError> {
    serde_json::from_str(text).map_err(|error| DecideError::Crashed {
        kind: Crash::Output,
        message: format!("the plan cannot be read: {error}"),
    })
}
