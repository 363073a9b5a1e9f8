//! The pods that the bench's API server has, and what happened to them.

use crate::recording::SEED;
use kybern_seed::Pods;

/// Pods, each after its count of updates.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pods: Pods,
    updates: Vec<u64>,
    /// The highest of them.
    newest: u64,
    /// What watches are told, in order.
    happenings: Vec<Happening>,
}

/// Something that watches see if what they know is older than this count of updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// Every pod was updated, to this count.
    Updated(u64),
    /// What was before this count is forgotten: they have to list.
    Expired(u64),
}

/// Which pods a list finds changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// One of a hundred, the last one among them.
    OnePercent,
    /// All.
    All,
}

impl World {
    pub(crate) fn new(objects: u64) -> World {
        World {
            pods: Pods::new(SEED),
            updates: (0..objects).map(|_| 0).collect(),
            newest: 0,
            happenings: Vec::new(),
        }
    }

    /// A pod as it is now.
    pub(crate) fn pod(&self, number: usize) -> Option<String> {
        self.updates
            .get(number)
            .map(|updates| self.pods.pod(u64::try_from(number).unwrap_or(0), *updates))
    }

    /// A pod as it was after so many updates.
    pub(crate) fn pod_after(&self, number: usize, updates: u64) -> Option<String> {
        self.updates.get(number)?;
        Some(self.pods.pod(u64::try_from(number).unwrap_or(0), updates))
    }

    /// How many pods there are.
    pub(crate) fn objects(&self) -> usize {
        self.updates.len()
    }

    /// Newer than every pod.
    pub(crate) fn resource_version(&self) -> u64 {
        (self.newest << 32) + u64::try_from(self.updates.len()).unwrap_or(0) + 1
    }

    /// `NAMESPACE/NAME RESOURCE_VERSION` of the pod that every list and every round of updates
    /// ends with, and that every change changes.
    pub(crate) fn last(&self) -> String {
        let number = u64::try_from(self.updates.len().saturating_sub(1)).unwrap_or(0);
        format!(
            "{}/{} {}",
            self.pods.namespace(number),
            self.pods.name(number),
            (self.newest << 32) + number + 1
        )
    }

    /// Updates every pod, as watches will see.
    pub(crate) fn update(&mut self) {
        self.newest += 1;
        self.updates.fill(self.newest);
        self.happenings.push(Happening::Updated(self.newest));
    }

    /// Updates a share of the pods while nobody watches: watches have to list.
    pub(crate) fn update_unseen(&mut self, share: Share) {
        self.newest += 1;
        match share {
            Share::OnePercent => {
                for updates in self.updates.iter_mut().rev().step_by(100) {
                    *updates = self.newest;
                }
            }
            Share::All => self.updates.fill(self.newest),
        }
        self.happenings.push(Happening::Expired(self.newest));
    }

    /// How much has happened.
    pub(crate) fn happened(&self) -> usize {
        self.happenings.len()
    }

    /// What happened as number `at`.
    pub(crate) fn happening(&self, at: usize) -> Option<Happening> {
        self.happenings.get(at).copied()
    }

    /// The number of what happens next to somebody who knows this resourceVersion.
    pub(crate) fn after(&self, resource_version: u64) -> usize {
        let known = resource_version >> 32;
        self.happenings
            .iter()
            .position(|happening| match happening {
                Happening::Updated(count) | Happening::Expired(count) => *count > known,
            })
            .unwrap_or(self.happenings.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Step = fn(&mut World);

    fn versions(world: &World) -> Vec<u64> {
        (0..world.objects())
            .map(|number| {
                let pod = world.pod(number).unwrap();
                let pod: serde_json::Value = serde_json::from_str(&pod).unwrap();
                let version = pod["metadata"]["resourceVersion"].as_str().unwrap();
                version.parse().unwrap()
            })
            .collect()
    }

    #[test]
    fn changes_change_as_many_as_they_say_and_the_last_one() {
        let mut world = World::new(300);
        let mut before = versions(&world);
        let steps: [(Step, usize); 5] = [
            (World::update, 300),
            (|world| world.update_unseen(Share::OnePercent), 3),
            (|world| world.update_unseen(Share::OnePercent), 3),
            (|world| world.update_unseen(Share::All), 300),
            (World::update, 300),
        ];
        for (step, expected) in steps {
            step(&mut world);
            let after = versions(&world);
            let newer = before.iter().zip(&after).filter(|(b, a)| a > b).count();
            let same = before.iter().zip(&after).filter(|(b, a)| a == b).count();
            assert_eq!((newer, same), (expected, 300 - expected));
            assert!(before[299] < after[299]);
            assert!(world.last().ends_with(&format!(" {}", after[299])));
            let newest = world.resource_version();
            assert!(after.iter().all(|version| *version < newest));
            before = after;
        }
    }

    #[test]
    fn a_watch_sees_what_is_newer_than_what_it_knows() {
        let mut world = World::new(10);
        let listed = world.resource_version();
        world.update();
        assert_eq!(world.after(listed), 0);
        assert_eq!(world.after(world.resource_version()), 1);
        let updated = world.resource_version();
        world.update_unseen(Share::OnePercent);
        assert_eq!(
            world.happening(world.after(updated)),
            Some(Happening::Expired(2))
        );
        assert_eq!(world.happening(world.after(world.resource_version())), None);
    }
}
