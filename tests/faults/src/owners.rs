//! Whose objects are, as those who created them said.

use crate::ask::{Ask, Verb};
use crate::rules::lock;
use std::collections::BTreeMap;
use std::sync::Mutex;

const CAPACITY: usize = 65_536;

/// Group, plural, namespace, name.
type Key = (String, String, Option<String>, String);

/// The first owners of objects that were created on this way.
#[derive(Debug, Default)]
pub(crate) struct Owners(Mutex<BTreeMap<Key, String>>);

impl Owners {
    /// Learns of a create whose the object is, and completes what other requests ask for.
    pub(crate) fn know(&self, ask: &mut Ask) {
        let Some(name) = ask.name.clone() else {
            return;
        };
        let (group, plural) = (ask.group.clone(), ask.resource.clone());
        let key = (group, plural, ask.namespace.clone(), name);
        let mut known = lock(&self.0);
        match &ask.owner {
            Some(owner) if known.len() < CAPACITY => {
                known.insert(key, owner.clone());
            }
            None if ask.verb != Verb::Create => ask.owner = known.get(&key).cloned(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, uri: &str, body: &str) -> Ask {
        let request = http::Request::builder().method(method).uri(uri).body(());
        Ask::of(&request.unwrap().into_parts().0, body.as_bytes())
    }

    #[test]
    fn what_was_created_with_an_owner_is_about_the_owner_from_then_on() {
        const SECRETS: &str = "/api/v1/namespaces/a/secrets";
        let owners = Owners::default();
        let seen = |method: &str, name: &str| {
            let mut ask = ask(method, &format!("{SECRETS}/{name}"), "");
            owners.know(&mut ask);
            ask.is_about("web")
        };
        assert!(!seen("PATCH", "x-7"));
        let body = r#"{"metadata":{"name":"x-7","ownerReferences":[{"name":"web","uid":"u"}]}}"#;
        let mut create = ask("POST", SECRETS, body);
        owners.know(&mut create);
        assert!(create.is_about("web") && create.is_about("x-7"));
        assert!(seen("PATCH", "x-7") && seen("DELETE", "x-7"));
        assert!(!seen("PATCH", "x-8"));
    }
}
