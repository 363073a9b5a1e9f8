//! Reads one row as the type that the plugin asks for.
//!
//! # Why
//! In JSON rows the host writes 64-bit integers and timestamps as strings, and
//! nested JSON (`spec`, an array below it) as JSON text. The plugin's type says
//! what a column is, so the text is read as that: no wrapper types, no parsing
//! in plugins. Types that ask for "anything" (`serde_json::Value`, untagged
//! enums, flattened structs) get the text itself.

use serde::Deserializer;
use serde::de::value::MapDeserializer;
use serde::de::{Error as _, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value};

/// A row, or one of its values.
pub(crate) struct Row(pub(crate) Value);

impl<'de> IntoDeserializer<'de, Error> for Row {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Methods for types that a string is parsed into.
macro_rules! from_text {
    ($($method:ident $visit:ident $type:ty, $what:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.0 {
                Value::String(text) => match text.parse::<$type>() {
                    Ok(value) => visitor.$visit(value),
                    Err(_) => Err(Error::invalid_value(Unexpected::Str(&text), &$what)),
                },
                other => other.$method(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Row {
    type Error = Error;

    from_text! {
        deserialize_bool visit_bool bool, "true or false";
        deserialize_i8 visit_i8 i8, "an 8-bit integer";
        deserialize_i16 visit_i16 i16, "a 16-bit integer";
        deserialize_i32 visit_i32 i32, "a 32-bit integer";
        deserialize_i64 visit_i64 i64, "a 64-bit integer";
        deserialize_u8 visit_u8 u8, "an 8-bit integer without sign";
        deserialize_u16 visit_u16 u16, "a 16-bit integer without sign";
        deserialize_u32 visit_u32 u32, "a 32-bit integer without sign";
        deserialize_u64 visit_u64 u64, "a 64-bit integer without sign";
        deserialize_f32 visit_f32 f32, "a number";
        deserialize_f64 visit_f64 f64, "a number";
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(map) => visitor.visit_map(MapDeserializer::new(
                map.into_iter().map(|(column, value)| (column, Row(value))),
            )),
            Value::String(text) => nested(&text)?.deserialize_map(visitor),
            other => other.deserialize_map(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::String(text) => nested(&text)?.deserialize_seq(visitor),
            other => other.deserialize_seq(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct identifier ignored_any
    }
}

/// The JSON in a text column.
fn nested(text: &str) -> Result<Value, Error> {
    serde_json::from_str(text)
        .map_err(|_| Error::invalid_type(Unexpected::Str(text), &"text that holds JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn read<'de, T: Deserialize<'de>>(value: Value) -> Result<T, Error> {
        T::deserialize(Row(value))
    }

    #[derive(Deserialize, Debug, PartialEq)]
    struct Pod {
        name: String,
        generation: i64,
        restarts: Option<u32>,
        cpu: f64,
        ready: bool,
        labels: BTreeMap<String, String>,
        containers: Vec<Container>,
        phase: Phase,
        raw: Value,
    }
    #[derive(Deserialize, Debug, PartialEq)]
    struct Container {
        image: String,
    }
    #[derive(Deserialize, Debug, PartialEq)]
    enum Phase {
        Running,
    }

    fn pod() -> Value {
        json!({
            "name": "17", "generation": "9007199254740993", "restarts": "2", "cpu": 0.5, "ready": true,
            "labels": "{\"a\":\"1\"}", "containers": "[{\"image\":\"nginx\"}]", "phase": "Running",
            "raw": "{}", "a column nobody asked for": 1,
        })
    }

    #[test]
    fn text_becomes_what_the_type_asks_for() {
        let pod: Pod = read(pod()).unwrap();
        assert_eq!(
            pod,
            Pod {
                name: "17".into(),
                generation: 9_007_199_254_740_993,
                restarts: Some(2),
                cpu: 0.5,
                ready: true,
                labels: BTreeMap::from([("a".into(), "1".into())]),
                containers: vec![Container {
                    image: "nginx".into()
                }],
                phase: Phase::Running,
                raw: json!("{}"),
            }
        );
    }

    #[test]
    fn null_is_none_and_only_none() {
        #[derive(Deserialize, Debug)]
        struct Maybe {
            count: Option<u32>,
        }
        assert_eq!(read::<Maybe>(json!({"count": null})).unwrap().count, None);
        assert_eq!(read::<Maybe>(json!({})).unwrap().count, None);
        let mut pod = pod();
        pod["generation"] = Value::Null;
        assert!(read::<Pod>(pod).is_err());
    }

    #[test]
    fn what_does_not_fit_says_so() {
        for (column, value, message) in [
            ("generation", json!("many"), "a 64-bit integer"),
            ("restarts", json!("-1"), "without sign"),
            ("labels", json!("{oops"), "text that holds JSON"),
            ("containers", json!("{}"), "expected a sequence"),
            ("phase", json!("Walking"), "unknown variant"),
        ] {
            let mut pod = pod();
            pod[column] = value;
            let error = read::<Pod>(pod).unwrap_err().to_string();
            assert!(error.contains(message), "{column}: {error}");
        }
    }
}
