//! Makes an object what assignments say, and the JSON patch (RFC 6902) that does the same.

use kybern_statement::{Path, Segment};
use serde_json::{Map, Value, json};

use super::Assignment;

/// What an object would become.
#[derive(Clone, Debug, PartialEq)]
pub struct Edited {
    /// The object with the assignments.
    pub object: Value,
    /// The operations that make it so; empty if it is so already.
    pub operations: Vec<Value>,
}

/// An assignment that has no place in an object. Trying again helps only once the object is another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The list does not reach so far.
    #[error("{path}: the list has {length} elements")]
    Beyond {
        /// The element.
        path: String,
        /// How many there are.
        length: usize,
    },
    /// A value on the way is neither an object nor an array as the path says.
    #[error("{path}: {found} is in the way")]
    InTheWay {
        /// Up to there.
        path: String,
        /// What is there.
        found: &'static str,
    },
}

/// Does the assignments, one after the other. Objects on the way are made where they are missing;
/// of a list, the element behind the last is a new one.
pub fn edit(object: &Value, assignments: &[Assignment]) -> Result<Edited, EditError> {
    let mut edited = Edited {
        object: object.clone(),
        operations: Vec::new(),
    };
    // Elements are taken out last, and from the end on: numbers mean the list as it was read.
    let (mut removed, others): (Vec<_>, Vec<_>) = assignments.iter().partition(|assignment| {
        let last = assignment.path.segments().last();
        assignment.value.is_none() && matches!(last, Some(Segment::Index(_)))
    });
    removed.sort_by(|a, b| b.path.cmp(&a.path));
    for assignment in others.into_iter().chain(removed) {
        let operation = assign(&mut edited.object, assignment)?;
        edited.operations.extend(operation);
    }
    Ok(edited)
}

/// One assignment; the operation that it is, if it changes anything.
fn assign(object: &mut Value, assignment: &Assignment) -> Result<Option<Value>, EditError> {
    let path = assignment.path.segments();
    let so_far = |length: usize| Path(path.iter().take(length).cloned().collect()).to_string();
    let mut pointer = String::new();
    let mut here = object;
    for (depth, segment) in path.iter().enumerate() {
        let rest = path.get(depth + 1..).unwrap_or_default();
        let Some(length) = fits(here, segment) else {
            // What cannot be there cannot be taken away.
            if assignment.value.is_none() {
                return Ok(None);
            }
            return Err(EditError::InTheWay {
                path: so_far(depth),
                found: called(here),
            });
        };
        push(&mut pointer, segment);
        // A null is as good as nothing, but of a list it is an element with a place.
        let element = matches!(segment, Segment::Index(index) if *index < length);
        let old = step(here, segment).filter(|old| !old.is_null());
        match (old, &assignment.value) {
            (None, None) if element && rest.is_empty() => {
                remove(here, segment);
                return Ok(Some(operation("remove", &pointer, None)));
            }
            (None, None) => return Ok(None),
            (None, Some(value)) => {
                if matches!(segment, Segment::Index(index) if *index > length) {
                    let path = so_far(depth + 1);
                    return Err(EditError::Beyond { path, length });
                }
                let made = made(rest, value, &so_far(depth + 1))?;
                let op = if element { "replace" } else { "add" };
                let operation = operation(op, &pointer, Some(&made));
                put(here, segment, made);
                return Ok(Some(operation));
            }
            (Some(_), None) if rest.is_empty() => {
                remove(here, segment);
                return Ok(Some(operation("remove", &pointer, None)));
            }
            (Some(old), Some(value)) if rest.is_empty() => {
                if old == value {
                    return Ok(None);
                }
                put(here, segment, value.clone());
                return Ok(Some(operation("replace", &pointer, Some(value))));
            }
            (Some(_), _) => {}
        }
        here = match step_mut(here, segment) {
            Some(next) => next,
            None => return Ok(None),
        };
    }
    Ok(None)
}

/// How long a value is in which a step can be taken.
fn fits(value: &Value, segment: &Segment) -> Option<usize> {
    match (segment, value) {
        (Segment::Key(_), Value::Object(members)) => Some(members.len()),
        (Segment::Index(_), Value::Array(items)) => Some(items.len()),
        _ => None,
    }
}

fn step<'a>(value: &'a Value, segment: &Segment) -> Option<&'a Value> {
    match segment {
        Segment::Key(key) => value.get(key),
        Segment::Index(index) => value.get(index),
    }
}

fn step_mut<'a>(value: &'a mut Value, segment: &Segment) -> Option<&'a mut Value> {
    match segment {
        Segment::Key(key) => value.get_mut(key),
        Segment::Index(index) => value.get_mut(index),
    }
}

/// In a list, the place behind the last is a new one.
fn put(value: &mut Value, segment: &Segment, new: Value) {
    match (segment, value) {
        (Segment::Key(key), Value::Object(members)) => drop(members.insert(key.clone(), new)),
        (Segment::Index(index), Value::Array(items)) => match items.get_mut(*index) {
            Some(old) => *old = new,
            None => items.push(new),
        },
        _ => {}
    }
}

fn remove(value: &mut Value, segment: &Segment) {
    match (segment, value) {
        (Segment::Key(key), Value::Object(members)) => drop(members.remove(key)),
        (Segment::Index(index), Value::Array(items)) if *index < items.len() => {
            items.remove(*index);
        }
        _ => {}
    }
}

/// The value with the objects around it that the rest of the path names.
fn made(rest: &[Segment], value: &Value, at: &str) -> Result<Value, EditError> {
    rest.iter()
        .rev()
        .try_fold(value.clone(), |value, segment| match segment {
            Segment::Key(key) => Ok(Value::Object(Map::from_iter([(key.clone(), value)]))),
            Segment::Index(0) => Ok(Value::Array(vec![value])),
            Segment::Index(_) => Err(EditError::Beyond {
                path: at.to_owned(),
                length: 0,
            }),
        })
}

fn operation(op: &str, pointer: &str, value: Option<&Value>) -> Value {
    match value {
        Some(value) => json!({"op": op, "path": pointer, "value": value}),
        None => json!({"op": op, "path": pointer}),
    }
}

/// One step of a JSON pointer (RFC 6901).
fn push(pointer: &mut String, segment: &Segment) {
    pointer.push('/');
    match segment {
        Segment::Key(key) => pointer.push_str(&key.replace('~', "~0").replace('/', "~1")),
        Segment::Index(index) => pointer.push_str(&index.to_string()),
    }
}

fn called(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(steps: &[&str]) -> Path {
        let steps = steps.iter().map(|step| match step.parse() {
            Ok(index) => Segment::Index(index),
            Err(_) => Segment::Key((*step).to_owned()),
        });
        Path(steps.collect())
    }

    fn set(steps: &[&str], value: Value) -> Assignment {
        Assignment {
            path: path(steps),
            value: Some(value),
        }
    }

    fn unset(steps: &[&str]) -> Assignment {
        Assignment {
            path: path(steps),
            value: None,
        }
    }

    #[test]
    fn operations_are_the_least_that_do_it() {
        let object = json!({"metadata": {"labels": {"a/b~c": "x"}}, "spec": {"list": [{"a": 1}], "n": 2, "gone": null}});
        let cases = [
            (
                set(&["spec", "n"], json!(3)),
                json!([{"op": "replace", "path": "/spec/n", "value": 3}]),
            ),
            (set(&["spec", "n"], json!(2)), json!([])),
            (
                set(&["metadata", "labels", "a/b~c"], json!("y")),
                json!([{"op": "replace", "path": "/metadata/labels/a~1b~0c", "value": "y"}]),
            ),
            (
                unset(&["metadata", "labels", "a/b~c"]),
                json!([{"op": "remove", "path": "/metadata/labels/a~1b~0c"}]),
            ),
            (unset(&["metadata", "labels", "z"]), json!([])),
            (unset(&["status", "deep", "er"]), json!([])),
            (
                set(&["status", "deep", "er"], json!(1)),
                json!([{"op": "add", "path": "/status", "value": {"deep": {"er": 1}}}]),
            ),
            (
                set(&["spec", "list", "0", "a"], json!(5)),
                json!([{"op": "replace", "path": "/spec/list/0/a", "value": 5}]),
            ),
            (
                set(&["spec", "list", "1", "a"], json!(5)),
                json!([{"op": "add", "path": "/spec/list/1", "value": {"a": 5}}]),
            ),
            (
                unset(&["spec", "list", "0"]),
                json!([{"op": "remove", "path": "/spec/list/0"}]),
            ),
            (unset(&["spec", "list", "7"]), json!([])),
            (
                set(&["spec", "gone", "x"], json!(1)),
                json!([{"op": "add", "path": "/spec/gone", "value": {"x": 1}}]),
            ),
        ];
        for (assignment, wanted) in cases {
            let edited = edit(&object, std::slice::from_ref(&assignment)).unwrap();
            assert_eq!(Value::Array(edited.operations), wanted, "{assignment:?}");
        }
        let nulls = json!([1, null, 2]);
        let one = edit(&nulls, &[set(&["1"], json!([]))]).unwrap();
        assert_eq!(patched(nulls.clone(), &one.operations), json!([1, [], 2]));
        let one = edit(&nulls, &[unset(&["1"])]).unwrap();
        assert_eq!(patched(nulls, &one.operations), json!([1, 2]));
        let list = json!(["a", "b", "c"]);
        let two = edit(&list, &[unset(&["0"]), unset(&["1"])]).unwrap();
        assert_eq!(two.object, json!(["c"]));
        let beyond = edit(&object, &[set(&["spec", "list", "2"], json!(1))]).unwrap_err();
        assert_eq!(beyond.to_string(), "spec.list[2]: the list has 1 elements");
        let in_the_way = edit(&object, &[set(&["spec", "n", "x"], json!(1))]).unwrap_err();
        assert_eq!(in_the_way.to_string(), "spec.n: a number is in the way");
        let in_the_way = edit(&object, &[set(&["spec", "list", "x"], json!(1))]).unwrap_err();
        assert_eq!(in_the_way.to_string(), "spec.list: a list is in the way");
    }

    /// RFC 6902, as far as operations here go.
    fn patched(mut object: Value, operations: &[Value]) -> Value {
        for operation in operations {
            let pointer = operation["path"].as_str().unwrap();
            let (parent, last) = pointer.rsplit_once('/').unwrap();
            let last = last.replace("~1", "/").replace("~0", "~");
            let value = operation.get("value").cloned();
            match (
                object.pointer_mut(parent).unwrap(),
                operation["op"].as_str().unwrap(),
            ) {
                (Value::Object(members), "remove") => drop(members.remove(&last).unwrap()),
                (Value::Object(members), op) => {
                    let old = members.insert(last, value.unwrap());
                    assert!(op == "add" || old.is_some());
                }
                (Value::Array(items), "remove") => drop(items.remove(last.parse().unwrap())),
                (Value::Array(items), "add") => items.insert(last.parse().unwrap(), value.unwrap()),
                (Value::Array(items), _) => items[last.parse::<usize>().unwrap()] = value.unwrap(),
                other => panic!("{other:?}"),
            }
        }
        object
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(1)),
            Just(json!("x")),
            Just(Value::Null),
            Just(json!(true))
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                proptest::collection::btree_map("[ab~/]{1,2}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn assignment() -> impl Strategy<Value = Assignment> {
        let step = prop_oneof![
            3 => "[ab~/]{1,2}".prop_map(Segment::Key),
            1 => (0usize..3).prop_map(Segment::Index),
        ];
        let path = proptest::collection::vec(step, 1..4).prop_map(Path);
        let value =
            proptest::option::of(json()).prop_map(|value| value.filter(|value| !value.is_null()));
        (path, value).prop_map(|(path, value)| Assignment { path, value })
    }

    proptest! {
        /// The operations make of the object what the assignments say, and nothing is left to do.
        #[test]
        fn operations_and_assignments_agree(
            object in json(),
            assignments in proptest::collection::vec(assignment(), 0..4),
        ) {
            if let Ok(edited) = edit(&object, &assignments) {
                prop_assert_eq!(&patched(object.clone(), &edited.operations), &edited.object);
                if let [one] = assignments.as_slice() {
                    let at = one.path.segments().iter().try_fold(&edited.object, step);
                    if one.value.is_some() || matches!(one.path.segments().last(), Some(Segment::Key(_))) {
                        prop_assert_eq!(at.filter(|at| !at.is_null()), one.value.as_ref(), "{:?}", edited.object);
                    }
                    prop_assert!(edit(&edited.object, &assignments).unwrap().operations.is_empty() || matches!(one.path.segments().last(), Some(Segment::Index(_))));
                }
            }
        }
    }
}
