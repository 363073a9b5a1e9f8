//! Reads JSON into types and names the field that does not fit.

use crate::{HookError, Value};
use serde::de::{DeserializeOwned, Deserializer};
use serde_path_to_error::Path;

/// Reads `value` as `T`; what does not fit is [`HookError::Invalid`] with the
/// path of the field, which starts with `field`.
pub fn decode<T: DeserializeOwned>(field: &str, value: &Value) -> Result<T, HookError> {
    read(field, value.clone()).map_err(|misfit| HookError::invalid(&misfit.field, misfit.message))
}

/// A value that does not fit its type.
pub(crate) struct Misfit {
    pub(crate) field: String,
    pub(crate) message: String,
}

/// Reads any JSON-like input as `T`.
pub(crate) fn read<'de, T, D>(field: &str, input: D) -> Result<T, Misfit>
where
    T: serde::Deserialize<'de>,
    D: Deserializer<'de>,
{
    serde_path_to_error::deserialize(input).map_err(|error| Misfit {
        field: join(field, error.path()),
        message: error.into_inner().to_string(),
    })
}

/// `spec` and `ports[0].port` give `spec.ports[0].port`.
fn join(field: &str, path: &Path) -> String {
    if path.iter().next().is_none() {
        return field.to_owned();
    }
    let path = path.to_string();
    if path.starts_with('[') {
        format!("{field}{path}")
    } else {
        format!("{field}.{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(serde::Deserialize, Debug)]
    struct Spec {
        #[expect(dead_code, reason = "only decoded")]
        ports: Vec<Port>,
    }
    #[derive(serde::Deserialize, Debug)]
    struct Port {
        #[expect(dead_code, reason = "only decoded")]
        port: u16,
    }

    fn message(value: Value) -> String {
        decode::<Spec>("spec", &value).unwrap_err().to_string()
    }

    #[test]
    fn the_error_names_the_field() {
        assert_eq!(
            message(json!({"ports": [{"port": 80}, {"port": "http"}]})),
            "invalid: spec.ports[1].port: invalid type: string \"http\", expected u16"
        );
        assert_eq!(
            message(json!({"ports": [{"port": 70000}]})),
            "invalid: spec.ports[0].port: invalid value: integer `70000`, expected u16"
        );
    }

    #[test]
    fn a_missing_field_is_reported_at_its_parent() {
        assert_eq!(message(json!({})), "invalid: spec: missing field `ports`");
        assert_eq!(
            message(json!({"ports": [{}]})),
            "invalid: spec.ports[0]: missing field `port`"
        );
    }
}
