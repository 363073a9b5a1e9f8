//! `crd(...)`: a CustomResourceDefinition whose schema comes from `Spec` and `Status`.

use crate::arguments::CrdArgument;
use kybern_interface::{ConditionsShape, Gvk, StatusShape};
use proc_macro2::TokenStream;
use quote::quote;
use serde_json::{Value, json};
use syn::{Error, Ident, LitStr, Result};

/// What stands in the definition where the compiler writes a part that only the types know.
const PLACES: [&str; 5] = [
    "@kybern:columns",
    "@kybern:description",
    "@kybern:metadata",
    "@kybern:spec",
    "@kybern:status",
];

/// What the host writes into each status of such a definition.
pub(crate) const STATUS: StatusShape = StatusShape {
    conditions: ConditionsShape::Standard,
    observed_generation: true,
};

/// The definition, with places.
pub(crate) fn definition(argument: &CrdArgument, kind: &Gvk) -> Result<Value> {
    let [columns, description, metadata, spec, status] = PLACES;
    names(argument)?;
    let singular = kind.kind.to_lowercase();
    let plural = argument
        .plural
        .as_ref()
        .map_or_else(|| plural(&singular), LitStr::value);
    let texts = |list: &[LitStr]| list.iter().map(LitStr::value).collect::<Vec<_>>();
    let scope = match argument.scope.as_ref().map(LitStr::value).as_deref() {
        None | Some("Namespaced") => "Namespaced",
        Some("Cluster") => "Cluster",
        Some(_) => return Err(misnamed(argument.scope.as_ref(), "Namespaced, Cluster")),
    };
    let mut subresources = json!({ "status": {} });
    let mut named = json!({
        "kind": kind.kind,
        "listKind": format!("{}List", kind.kind),
        "plural": plural,
        "singular": singular,
    });
    let put = |object: &mut Value, key: &str, value: Value| {
        if let Value::Object(object) = object {
            object.insert(key.to_owned(), value);
        }
    };
    for (key, list) in [
        ("shortNames", &argument.short_names),
        ("categories", &argument.categories),
    ] {
        if !list.is_empty() {
            put(&mut named, key, json!(texts(list)));
        }
    }
    match argument.scale.as_slice() {
        [] => {}
        [wanted, there] => {
            let path = |path: &LitStr| format!(".{}", path.value());
            let scale =
                json!({ "specReplicasPath": path(wanted), "statusReplicasPath": path(there) });
            put(&mut subresources, "scale", scale);
        }
        [first, ..] => {
            return Err(Error::new(
                first.span(),
                "expected two paths: how many are wanted, how many there are",
            ));
        }
    }
    Ok(json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{}", kind.group) },
        "spec": {
            "group": kind.group,
            "scope": scope,
            "names": named,
            "versions": [{
                "name": kind.version,
                "served": true,
                "storage": true,
                "subresources": subresources,
                "additionalPrinterColumns": columns,
                "schema": { "openAPIV3Schema": {
                    "type": "object",
                    "description": description,
                    "required": ["spec"],
                    "properties": {
                        "apiVersion": { "type": "string" },
                        "kind": { "type": "string" },
                        "metadata": metadata,
                        "spec": spec,
                        "status": status,
                    },
                } },
            }],
        },
    }))
}

fn misnamed(text: Option<&LitStr>, there_are: &str) -> Error {
    let span = text.map_or_else(proc_macro2::Span::call_site, LitStr::span);
    Error::new(span, format!("there are: {there_are}"))
}

/// As Kubernetes' own tools guess it.
fn plural(singular: &str) -> String {
    let ends = |endings: &[&str]| endings.iter().any(|end| singular.ends_with(end));
    match singular.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
        _ if ends(&["s", "x", "z", "ch", "sh"]) => format!("{singular}es"),
        _ => format!("{singular}s"),
    }
}

/// The variant of `Shape` for the objects' names.
fn names(argument: &CrdArgument) -> Result<Ident> {
    let shape = match argument.names.as_ref().map(LitStr::value).as_deref() {
        None => "Free",
        Some("dns-1035-label") => "Dns1035Label",
        Some("dns-1123-label") => "Dns1123Label",
        Some(_) => {
            let labels = "dns-1035-label (as a Service's name), dns-1123-label";
            return Err(misnamed(argument.names.as_ref(), labels));
        }
    };
    Ok(Ident::new(shape, proc_macro2::Span::call_site()))
}

/// The manifest's text as parts, and the check of each CR.
pub(crate) struct Code {
    pub(crate) parts: TokenStream,
    pub(crate) check: TokenStream,
}

/// Puts what the types know into the places of the manifest.
pub(crate) fn code(manifest: &str, argument: Option<&CrdArgument>, plugin: &Ident) -> Result<Code> {
    let Some(argument) = argument else {
        return Ok(Code {
            parts: quote!(schema::Part::Text(#manifest)),
            check: TokenStream::new(),
        });
    };
    let names = names(argument)?;
    let spec = quote!(<<#plugin as ::kybern_sdk::Plugin>::Spec as ::kybern_sdk::Schema>::NODE);
    let status = quote!(<<#plugin as ::kybern_sdk::Plugin>::Status as ::kybern_sdk::Schema>::NODE);
    let mut parts = Vec::new();
    let mut rest = manifest;
    while let Some((before, place, after)) = next(rest) {
        let filled = match place {
            "@kybern:columns" => quote!(schema::Part::Columns(#spec, #status)),
            "@kybern:description" => quote!(schema::Part::Description(#spec)),
            "@kybern:metadata" => quote!(schema::Part::Metadata(schema::Shape::#names)),
            "@kybern:spec" => quote!(schema::Part::Spec(#spec)),
            _ => quote!(schema::Part::Status(#status)),
        };
        parts.push(quote!(schema::Part::Text(#before), #filled));
        rest = after;
    }
    Ok(Code {
        parts: quote!(#(#parts,)* schema::Part::Text(#rest)),
        check: quote! {
            fn check(object: &::kybern_sdk::Value) -> ::core::result::Result<(), ::kybern_sdk::HookError> {
                ::kybern_sdk::schema::check(#spec, ::kybern_sdk::schema::Shape::#names, object)
            }
        },
    })
}

/// What is before the next place, the place, and what is after it.
fn next(text: &str) -> Option<(&str, &'static str, &str)> {
    let found = PLACES.into_iter().filter_map(|place| {
        let (before, after) = text.split_once(&format!("\"{place}\""))?;
        Some((before, place, after))
    });
    found.min_by_key(|(before, _, _)| before.len())
}
