//! The service account in whose name a plugin's children are written: `spec.serviceAccountName`.

use super::problem::Problem;
use kybern_interface::PluginSpec;

/// Longest name of an object and of a namespace.
const LONGEST: [usize; 2] = [253, 63];

/// Namespace, if it is said, and name.
pub(crate) fn parts(text: &str) -> (Option<&str>, &str) {
    match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, text),
    }
}

/// Whether it is `NAME` or `NAMESPACE/NAME`.
pub(crate) fn check(spec: &PluginSpec) -> Result<(), Problem> {
    let Some(text) = &spec.service_account_name else {
        return Ok(());
    };
    let (namespace, name) = parts(text);
    let [longest, of_namespace] = LONGEST;
    let good = is_name(name, longest, true)
        && namespace.is_none_or(|namespace| is_name(namespace, of_namespace, false));
    if good {
        return Ok(());
    }
    let shown: String = text.chars().take(longest).collect();
    Err(Problem::new(
        "InvalidServiceAccount",
        format!(
            "spec.serviceAccountName {shown:?} is no service account: write NAME (in the host's namespace) or NAMESPACE/NAME"
        ),
    ))
}

/// Lower-case letters, digits and `-`, between dots where they are allowed.
fn is_name(text: &str, longest: usize, dots: bool) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let part = |part: &str| {
        part.bytes().all(|b| plain(b) || b == b'-')
            && part.bytes().next().is_some_and(plain)
            && part.bytes().last().is_some_and(plain)
    };
    text.len() <= longest && (dots || !text.contains('.')) && text.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_name_or_a_namespace_and_a_name() {
        let check = |text: &str| {
            let spec = json!({ "source": { "file": "x" }, "serviceAccountName": text });
            check(&serde_json::from_value(spec).unwrap()).map_err(|problem| problem.reason)
        };
        for good in ["deployer", "team-a/deployer", "a.b"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let refused = Err("InvalidServiceAccount");
        for bad in [
            "", "/", "a/", "/a", "a/b/c", "A", "a b", "a.b/c", "-a", "a\n", "system:a",
        ] {
            assert_eq!(check(bad), refused, "{bad:?}");
        }
        assert_eq!(check(&"a".repeat(254)), refused);
    }
}
