//! A bundle whose files are the keys of a ConfigMap.

use crate::{Bundle, BundleError};

impl Bundle {
    /// The files under these keys. Keys cannot have slashes: `__` stands for one.
    ///
    /// # Errors
    /// A key gives no path, or they are more than a bundle may have.
    pub fn of_keys(keys: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<Self, BundleError> {
        let mut bundle = Self::default();
        for (key, content) in keys {
            bundle.insert(&key.replace("__", "/"), content)?;
        }
        bundle.filled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_paths() {
        let keys = |keys: &[&str]| {
            let keys = keys.iter().map(|key| ((*key).to_owned(), Vec::new()));
            Bundle::of_keys(keys).map(|bundle| bundle.paths().collect::<Vec<_>>().join(" "))
        };
        let found = keys(&["operator.yaml", "vvp__vvp__Chart.yaml", "a_b"]).unwrap();
        assert_eq!(found, "a_b operator.yaml vvp/vvp/Chart.yaml");
        assert!(keys(&["..__..__etc"]).is_err() && keys(&["__a"]).is_err() && keys(&[]).is_err());
    }
}
