//! The attribute `kybern_sdk::plugin`: from an `impl` block to a component with a manifest.

mod arguments;
mod definition;
mod expand;
mod manifest;
mod mirror;
mod naming;
mod schema;

use proc_macro::TokenStream;

/// Makes a type with `impl Plugin` a plugin: exports its hooks and embeds its manifest.
///
/// Every argument is optional; mistakes are compile errors.
///
/// | argument | meaning |
/// |---|---|
/// | `crd(kind = "group/version/Kind", names = "dns-1035-label", short_names = ["..."], categories = ["all"], scale = ["spec.size", "status.replicas"])` | A CustomResourceDefinition whose schema and columns come from `Spec` and `Status`, which derive [`Schema`]; everything but `kind` may be left out, as may `plural` and `scope` (`Namespaced`, `Cluster`). The kind becomes the one that the plugin is in charge of. `names` says how the objects' names must look. |
/// | `crd = "crd.yaml"` | A CustomResourceDefinition, YAML or JSON, relative to the crate. Its kind becomes one that the plugin is in charge of; whether it has conditions and `observedGeneration` is read from its schema. |
/// | `resource = "group/version/Kind"` | A kind that the plugin is in charge of. Needed for a kind whose CRD is not embedded, or to choose a version other than the stored one. |
/// | `query(name = "pods", sql = "SELECT ... WHERE namespace = $1", params = ["metadata.namespace"])` | A query that is answered before every `decide`. Parameters are dotted paths into the CR. |
/// | `mirror = "apps/v1/Deployment"` | Reads the status of the child of that kind that has the CR's own name: `Situation::deployment`. |
/// | `reads = ["apps/v1/Deployment", "v1/Pod"]` | Kinds whose rows it reads. |
/// | `read(kind = "example.com/v1/Kind", optional = true)` | The same; an empty table while the kind is not served. |
/// | `writes = ["apps/v1/Deployment"]` | Kinds that it has children of. |
/// | `write(kind = "v1/Pod", verbs = ["delete"], subresources = ["eviction"])` | Kinds that it writes in other ways: `apply`, `patch`, `delete`, and on subresources: `eviction`, `scale`. |
/// | `effect(name = "backup", description = "...")` | An effect that its plans may name. |
/// | `capability(name = "http", reason = "...")` | What its act hook needs. |
/// | `secret(name = "api-token", reason = "...")` | A secret that its requests refer to by this name. |
/// | `delegate(api_groups = [""], resources = ["pods"], verbs = ["get"])` | A rule inside a Role that it creates. |
/// | `state` | Its plans keep state: `Plan::set_state`, `Situation::state`. |
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

/// Describes what a struct, or an enum without data, may hold: for `Spec` and
/// `Status` of a plugin with `crd(...)`, and for the types of their fields.
///
/// Names are those that serde reads (`rename`, `rename_all`). The first paragraph of a
/// doc comment becomes the description. A field is required unless it is an `Option` or has
/// `#[serde(default)]`. What is more is said with `#[schema(...)]`, on a field or
/// on the type; the API server checks all of it, the SDK all but the last two.
///
/// | argument | meaning |
/// |---|---|
/// | `min = 1`, `max = 65535` | The range of a number. |
/// | `min_length = 1`, `max_length = 253` | How many characters a text has. |
/// | `min_items = 1`, `max_items = 32` | How many items a list has. |
/// | `trimmed` | A text that is not empty and has no spaces around it. |
/// | `dns_1035_label`, `dns_1123_label` | A text that can name a Service, or a Pod's part of a host name. |
/// | `unique = ["port", "nodePort"]` | Fields, by their names in JSON, that no two items of a list have in common. A first one that is required is also how server-side apply tells the items apart. Needs `max_items`. |
/// | `column = "Size"` | A column in `kubectl get`, for a field of the spec or the status itself. |
/// | `skip` | A field that the schema leaves out. |
/// | `immutable` | The value cannot change, nor be added or removed later. |
/// | `rule(cel = "...", message = "...")` | A rule in the API server's expression language. |
#[proc_macro_derive(Schema, attributes(schema))]
pub fn schema(item: TokenStream) -> TokenStream {
    schema::derive(item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
