//! Level-triggered: however events are dropped, repeated, delayed or reordered,
//! a complete list brings the table to the API server's state, and from then on
//! a faithful watch keeps it there.

use std::collections::BTreeMap;

use kybern_table::{Change, Origin, TableState, store};
use proptest::prelude::*;

use crate::object::{Object, apply, def, key, list_begin, list_end, scan, small};

/// An API server's memory: what is there, and every event there ever was.
#[derive(Default)]
struct Server {
    version: u64,
    uids: u64,
    objects: BTreeMap<String, Object>,
    events: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Act {
    Write(u8),
    Delete(u8),
    Recreate(u8),
}

impl Server {
    fn act(&mut self, act: &Act) {
        self.version += 1;
        match act {
            Act::Write(name) => {
                let name = format!("o{name}");
                if let Some(object) = self.objects.get_mut(&name) {
                    object.resource_version = self.version;
                } else {
                    self.create(&name);
                }
                self.event(&name);
            }
            Act::Delete(name) => self.delete(&format!("o{name}")),
            Act::Recreate(name) => {
                let name = format!("o{name}");
                self.delete(&name);
                self.version += 1;
                self.create(&name);
                self.event(&name);
            }
        }
    }

    fn create(&mut self, name: &str) {
        self.uids += 1;
        let object = Object::new(name, &format!("uid-{}", self.uids), self.version);
        self.objects.insert(name.to_owned(), object);
    }

    fn event(&mut self, name: &str) {
        let event = self.objects[name].upsert(Origin::Watch);
        self.events.push(event);
    }

    fn delete(&mut self, name: &str) {
        if let Some(mut object) = self.objects.remove(name) {
            object.resource_version = self.version;
            self.events.push(object.gone());
        }
    }

    fn list(&self) -> Vec<Change> {
        let items = self.objects.values();
        let mut changes = vec![list_begin()];
        changes.extend(items.map(|object| object.upsert(Origin::List)));
        changes.push(list_end(self.version));
        changes
    }

    fn state(&self) -> Vec<Object> {
        let mut objects: Vec<Object> = self.objects.values().cloned().collect();
        objects.sort();
        objects
    }
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        5 => (0u8..8).prop_map(Act::Write),
        2 => (0u8..8).prop_map(Act::Delete),
        1 => (0u8..8).prop_map(Act::Recreate),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_mess_is_cleared_by_a_list(
        early in prop::collection::vec(act(), 0..40),
        mess in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
        own_deletes in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        stale_list_at in prop::option::of(0usize..40),
        late in prop::collection::vec(act(), 0..40),
        echoes in prop::collection::vec((0usize..40, any::<prop::sample::Index>()), 0..20),
    ) {
        let (mut writer, reader) = store(small());
        apply(&mut writer, vec![Change::Define(def())]);
        let mut server = Server::default();
        let mut stale = Vec::new();
        for (at, act) in early.iter().enumerate() {
            server.act(act);
            if Some(at) == stale_list_at {
                stale = server.list();
            }
        }
        // Events in any order, some never, some often; deletes of ours whose
        // confirmation is lost; a list that is stale, and half of one.
        if !server.events.is_empty() {
            for index in &mess {
                apply(&mut writer, vec![index.get(&server.events).clone()]);
            }
        }
        let names: Vec<String> = server.objects.keys().cloned().collect();
        if !names.is_empty() {
            for index in &own_deletes {
                let name = index.get(&names);
                if let Some(object) = server.objects.get(name).cloned() {
                    server.act(&Act::Delete(name[1..].parse().unwrap()));
                    apply(&mut writer, vec![object.deleted()]);
                }
            }
        }
        apply(&mut writer, stale.clone());
        let half = stale.len() / 2;
        apply(&mut writer, stale.into_iter().take(half).collect());
        let list = server.list();
        let version = server.version;
        for change in list {
            apply(&mut writer, vec![change]);
        }
        let view = reader.snapshot().table(&key()).unwrap();
        prop_assert_eq!(scan(&view), server.state());
        prop_assert_eq!(view.state(), TableState::Ready { resource_version: version });
        // From here on the watch is faithful; only echoes of the past come between.
        let mut sent = server.events.len();
        for (at, act) in late.iter().enumerate() {
            server.act(act);
            let fresh: Vec<Change> = server.events[sent..].to_vec();
            sent = server.events.len();
            apply(&mut writer, fresh);
            let due = echoes.iter().filter(|(when, _)| *when == at);
            for (_, index) in due.filter(|_| !server.events.is_empty()) {
                let echo = index.get(&server.events).clone();
                apply(&mut writer, vec![as_own_write(echo)]);
            }
            let view = reader.snapshot().table(&key()).unwrap();
            prop_assert_eq!(scan(&view), server.state());
        }
    }
}

/// The API server's answer to a write, arriving long after the watch's event.
fn as_own_write(change: Change) -> Change {
    match change {
        Change::Upsert { table, raw, .. } => Change::Upsert {
            table,
            raw,
            origin: Origin::OwnWrite,
        },
        other => other,
    }
}
