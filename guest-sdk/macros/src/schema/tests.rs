//! What an author can get wrong, and what the compiler then says.

use super::*;
use crate::naming::Case;
use quote::quote;

fn mistake(item: TokenStream) -> String {
    match derive(item.clone()) {
        Ok(_) => panic!("accepted: {item}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn mistakes_are_explained() {
    for (item, expected) in [
        (
            quote!(
                struct A(u8);
            ),
            "expected named fields",
        ),
        (
            quote!(
                struct A<T> {
                    a: T,
                }
            ),
            "without parameters",
        ),
        (quote!(union A { a: u8 }), "expected a struct or an enum"),
        (
            quote!(
                enum A {
                    B(u8),
                }
            ),
            "variants without data",
        ),
        (
            quote!(
                struct A {
                    #[schema(minimum = 1)]
                    a: u8,
                }
            ),
            "unknown; there are: min, max",
        ),
        (
            quote!(
                struct A {
                    #[schema(min = "1")]
                    a: u8,
                }
            ),
            "expected integer literal",
        ),
        (
            quote!(
                struct A {
                    #[schema(unique = ["a-b"])]
                    a: Vec<B>,
                }
            ),
            "no rule of the API server can name",
        ),
        (
            quote!(
                struct A {
                    #[schema(immutable)]
                    namespace: u8,
                }
            ),
            "no rule of the API server can name",
        ),
        (
            quote!(
                struct A {
                    #[schema(rule(cel = "x"))]
                    a: u8,
                }
            ),
            "expected rule(cel",
        ),
        (
            quote!(
                struct A {
                    #[serde(flatten)]
                    a: B,
                }
            ),
            "write the fields out",
        ),
        (
            quote!(
                #[serde(rename_all = "loud")]
                struct A {
                    a: u8,
                }
            ),
            "not known to derive(Schema)",
        ),
        (
            quote!(
                #[serde(rename_all(serialize = "camelCase"))]
                struct A {
                    a: u8,
                }
            ),
            "one name for reading and writing",
        ),
    ] {
        let message = mistake(item.clone());
        assert!(message.contains(expected), "{item}: {message}");
    }
}

#[test]
fn what_else_serde_has_is_passed_over() {
    let item = quote! {
        #[serde(deny_unknown_fields, bound(deserialize = "T: X"), default = "make")]
        struct A { #[serde(default, deserialize_with = "f", alias = "b")] a: u8 }
    };
    derive(item).unwrap();
}

#[test]
fn names_are_those_that_serde_reads() {
    for (case, field, variant) in [
        (Case::AsIs, "node_port", "NodePort"),
        (Case::Camel, "nodePort", "nodePort"),
        (Case::Pascal, "NodePort", "NodePort"),
        (Case::Lower, "node_port", "nodeport"),
        (Case::Upper, "NODE_PORT", "NODEPORT"),
        (Case::Kebab, "node-port", "node-port"),
        (Case::Snake, "node_port", "node_port"),
        (Case::ScreamingSnake, "NODE_PORT", "NODE_PORT"),
    ] {
        assert_eq!(case.of_field("node_port"), field, "{case:?}");
        assert_eq!(case.of_variant("NodePort"), variant, "{case:?}");
    }
}
