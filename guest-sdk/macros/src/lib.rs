//! The attribute `kybern_sdk::plugin`: from an `impl` block to a component with a manifest.

mod arguments;
mod expand;
mod manifest;

use proc_macro::TokenStream;

/// Makes a type with `impl Plugin` a plugin: exports its hooks and embeds its manifest.
///
/// Every argument is optional; mistakes are compile errors.
///
/// | argument | meaning |
/// |---|---|
/// | `crd = "crd.yaml"` | A CustomResourceDefinition, YAML or JSON, relative to the crate. Its kind becomes one that the plugin is in charge of; whether it has conditions and `observedGeneration` is read from its schema. |
/// | `resource = "group/version/Kind"` | A kind that the plugin is in charge of. Needed for a kind whose CRD is not embedded, or to choose a version other than the stored one. |
/// | `query(name = "pods", sql = "SELECT ... WHERE namespace = $1", params = ["metadata.namespace"])` | A query that is answered before every `decide`. Parameters are dotted paths into the CR. |
/// | `reads = ["apps/v1/Deployment", "v1/Pod"]` | Kinds whose rows it reads. |
/// | `read(kind = "example.com/v1/Kind", optional = true)` | The same; an empty table while the kind is not served. |
/// | `writes = ["apps/v1/Deployment"]` | Kinds that it has children of. |
/// | `write(kind = "v1/Pod", verbs = ["delete"], subresources = ["eviction"])` | Kinds that it writes in other ways: `apply`, `patch`, `delete`. |
/// | `effect(name = "backup", description = "...")` | An effect that its plans may name. |
/// | `capability(name = "http", reason = "...")` | What its act hook needs: `http` or `secrets`. |
/// | `delegate(api_groups = [""], resources = ["pods"], verbs = ["get"])` | A rule inside a Role that it creates. |
/// | `settings = "settings.yaml"` | JSON Schema of its settings, YAML or JSON, relative to the crate. |
/// | `name = "..."`, `version = "..."` | Otherwise those of the crate. |
///
/// Inside the `impl` block `type Spec` and `type Status` may be left out: they
/// are then `serde_json::Value`. `sense` and `act` are exported if they are there.
#[proc_macro_attribute]
pub fn plugin(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::plugin(arguments.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
