//! One byte budget, four accounts, and what is to be done when it is exceeded.
//!
//! ```text
//! bytes of each account --Reading--> measures() --> refuse tables, evict, stop a back-fill, cancel a query
//! ```
//!
//! # Contract
//!
//! * Pure: no clock, no thread, no allocator. Whoever keeps the budget takes readings and
//!   carries the measures out.
//! * The order is fixed: new tables are refused, caches evicted, then the back-fill that holds
//!   most is stopped, then the query that holds most is cancelled. No measure is asked for while
//!   what was asked for before it is enough.
//! * Ingest of kinds that are watched never stops: there is no measure for it.
//!
//! # Limits
//!
//! The accounts hold what the host can count. The allocator's own share and the program itself
//! are beside them: a budget is to be well below what the process may use.

mod account;
mod budget;
mod ledger;
mod measures;
mod message;
mod reading;
mod size;

pub use account::Account;
pub use budget::{UNLIMITED, budget};
pub use ledger::{Ledger, Taken};
pub use measures::{BackFill, Measures, NewTables, Queries, measures};
pub use message::{Cause, Holder, Reached, cancelled, over, refused};
pub use reading::Reading;
pub use size::mebibytes;
