//! Rights in the cluster: which ones registrations need, and whether the API server gives them.
//!
//! *Why.* A right that is missing shows when a pass needs it, perhaps days after the registration was
//! made. Asked for beforehand, it is a condition that names the rule.
//!
//! # Contract
//! `kybern rbac` prints and the condition `Authorized` checks the same list: [`Needs`]. Asking
//! changes nothing, and holds up nobody: what is not known is said to be not known.
//!
//! # Limits
//! One request lists the rules of an account that hold everywhere, and one those of each namespace
//! that rights name, for all registrations together. Only what they do not give is asked for one by
//! one, up to a bound for each look; the next look goes on.
//!
//! | room | what is in it |
//! |---|---|
//! | needs | what a registration needs |
//! | review | what is asked of the API server |
//! | given | what its lists of rules give |
//! | answers | what it answered to single rights |
//! | lacks | what is missing, in words |
//! | refusals | writes that were refused: a reason to look again |

mod answers;
mod given;
mod lacks;
mod metrics;
mod needs;
mod refusals;
mod review;

pub(crate) use answers::Answered;
pub(crate) use lacks::Found;
#[cfg(test)]
pub(crate) use lacks::Lacks;
pub(crate) use metrics::register;
pub(crate) use needs::{IMPERSONATE, Needs, Place, sources};
pub(crate) use refusals::{Refusals, Refused};
pub(crate) use review::{Account, Asked, Depth, Reviewer, RightsConfig};
