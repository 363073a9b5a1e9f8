//! What the allocator holds, and how it is made to give back.
//!
//! # Contract
//! The program has jemalloc as its global allocator; elsewhere nothing is known and nothing done.
//! Somebody calls [`trim`] every [`TRIM`].

use std::time::Duration;

/// The allocator's figures, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// What the program asked for and has not freed.
    pub allocated: u64,
    /// What the allocator keeps in memory for it.
    pub resident: u64,
}

#[cfg(target_os = "linux")]
mod jemalloc {
    use super::Held;
    use tikv_jemalloc_ctl::{Access, AsName, arenas, epoch, stats};

    pub(super) fn held() -> Option<Held> {
        epoch::advance().ok()?;
        Some(Held {
            allocated: u64::try_from(stats::allocated::read().ok()?).ok()?,
            resident: u64::try_from(stats::resident::read().ok()?).ok()?,
        })
    }

    pub(super) fn give_back() {
        // Freed pages wait for a while to be used again. A waiting time of none drops them at once.
        for arena in 0..arenas::narenas::read().unwrap_or(0) {
            let key = format!("arena.{arena}.dirty_decay_ms\0");
            // An arena that no thread has used yet refuses.
            let Ok(before) = key.name().update(0_isize) else {
                continue;
            };
            if let Err(error) = key.name().write(before) {
                tracing::debug!(arena, %error, "an arena did not go back to its waiting time");
            }
        }
    }
}

/// The figures; `None` where the allocator does not tell.
pub fn held() -> Option<Held> {
    #[cfg(target_os = "linux")]
    return jemalloc::held();
    #[cfg(not(target_os = "linux"))]
    return None;
}

/// Between two looks at what the allocator keeps for nobody.
pub const TRIM: Duration = Duration::from_secs(5);

/// Free memory up to here is worth keeping, whatever is used.
const KEPT: u64 = 8 << 20;

/// Gives freed pages back if they are more than a sixteenth of what is used. Pages that nobody frees
/// or asks for any more stay with the allocator otherwise: it looks at them only in passing, and
/// has no thread of its own in a static program. Asked for again, a page costs a fault: some
/// milliseconds for all that is kept.
pub fn trim() {
    if let Some(Held {
        allocated,
        resident,
    }) = held()
        && resident.saturating_sub(allocated) > KEPT.max(allocated / 16)
    {
        give_back();
    }
}

/// Gives freed pages back to the system at once.
pub fn give_back() {
    #[cfg(target_os = "linux")]
    jemalloc::give_back();
}
