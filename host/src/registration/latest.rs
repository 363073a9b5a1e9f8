//! The newest value of a channel, and whether it is another one than before.

use std::sync::Arc;
use tokio::sync::watch;

/// The newest value, compared by identity: two changes in a row are one piece of news, also when
/// the second value looks like the one before the first.
pub(super) struct Latest<T> {
    now: Arc<T>,
}

impl<T> Latest<T> {
    /// What the channel holds.
    pub(super) fn of(channel: &mut watch::Receiver<Arc<T>>) -> Self {
        Self {
            now: Arc::clone(&channel.borrow_and_update()),
        }
    }

    /// Looks again; whether it is another value.
    pub(super) fn changed(&mut self, channel: &mut watch::Receiver<Arc<T>>) -> bool {
        let newest = Arc::clone(&channel.borrow_and_update());
        let other = !Arc::ptr_eq(&self.now, &newest);
        self.now = newest;
        other
    }

    /// The value of the last look.
    pub(super) fn get(&self) -> &T {
        &self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lead_lost_and_won_again_between_two_looks_is_a_change() {
        let (tell, mut channel) = watch::channel(Arc::new("leader"));
        let mut latest = Latest::of(&mut channel);
        assert!(!latest.changed(&mut channel));
        tell.send(Arc::new("standby")).unwrap();
        tell.send(Arc::new("leader")).unwrap();
        assert!(latest.changed(&mut channel), "another term, another engine");
        assert_eq!(*latest.get(), "leader");
        assert!(!latest.changed(&mut channel));
    }
}
