//! `derive(Schema)`: what a struct or an enum without data may hold, as a constant.

use crate::naming::{Case, serde_names};
use proc_macro2::TokenStream;
use quote::quote;
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DataEnum, DataStruct, DeriveInput, Error, Expr, ExprLit, Fields, Lit, LitInt,
    LitStr, Meta, Result, Token, bracketed, punctuated::Punctuated,
};

pub(crate) fn derive(item: TokenStream) -> Result<TokenStream> {
    let item: DeriveInput = syn::parse2(item)?;
    let name = &item.ident;
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &item.generics,
            "expected a type without parameters",
        ));
    }
    let container = serde_names(&item.attrs)?;
    let case = container.rename_all.unwrap_or(Case::AsIs);
    let limits = limits(&Limits::of(&item.attrs)?);
    let description = description(&item.attrs);
    let kind = match &item.data {
        Data::Struct(data) => of_struct(data, case, container.default)?,
        Data::Enum(data) => of_enum(data, case)?,
        Data::Union(data) => {
            return Err(Error::new_spanned(
                data.union_token,
                "expected a struct or an enum",
            ));
        }
    };
    let Of { constants, node } = kind;
    Ok(quote! {
        const _: () = {
            use ::kybern_sdk::schema;
            #constants
            impl ::kybern_sdk::Schema for #name {
                const SCHEMA: schema::Node = schema::Node {
                    description: #description,
                    #limits
                    #node
                };
            }
        };
    })
}

/// The fields of the node that depend on the kind of the type, and what they refer to.
struct Of {
    constants: TokenStream,
    node: TokenStream,
}

fn of_struct(data: &DataStruct, case: Case, all_default: bool) -> Result<Of> {
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new(data.fields.span(), "expected named fields"));
    };
    let mut described = Vec::new();
    for field in &fields.named {
        let serde = serde_names(&field.attrs)?;
        if serde.skip {
            continue;
        }
        let ident = field
            .ident
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let name = serde
            .rename
            .unwrap_or_else(|| case.of_field(ident.trim_start_matches("r#")));
        let limits = Limits::of(&field.attrs)?;
        if limits.skip {
            continue;
        }
        if limits.immutable {
            in_cel(&name, field.ident.span())?;
        }
        let (limits, description) = (self::limits(&limits), description(&field.attrs));
        let (kind, given) = (&field.ty, all_default || serde.default);
        described.push(quote! {
            schema::Field {
                name: #name,
                required: !#given && <#kind as ::kybern_sdk::Schema>::REQUIRED,
                node: schema::Node {
                    description: #description,
                    #limits
                    ..<#kind as ::kybern_sdk::Schema>::SCHEMA
                },
            }
        });
    }
    Ok(Of {
        constants: quote! { const FIELDS: &[schema::Field] = &[#(#described),*]; },
        node: quote! { ..schema::Node::of(schema::Kind::Object(FIELDS)) },
    })
}

fn of_enum(data: &DataEnum, case: Case) -> Result<Of> {
    let mut values = Vec::new();
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(Error::new_spanned(
                variant,
                "expected variants without data: alternatives of different shape have no schema",
            ));
        }
        let serde = serde_names(&variant.attrs)?;
        if !serde.skip {
            let name = variant.ident.to_string();
            values.push(serde.rename.unwrap_or_else(|| case.of_variant(&name)));
        }
    }
    Ok(Of {
        constants: quote! { const VALUES: &[&str] = &[#(#values),*]; },
        node: quote! { values: VALUES, ..schema::Node::of(schema::Kind::Text) },
    })
}

/// The first paragraph of the doc comment, its lines joined.
fn description(attributes: &[Attribute]) -> String {
    let lines = attributes
        .iter()
        .filter_map(|attribute| match &attribute.meta {
            Meta::NameValue(doc) if doc.path.is_ident("doc") => match &doc.value {
                Expr::Lit(ExprLit {
                    lit: Lit::Str(line),
                    ..
                }) => Some(line.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        });
    let paragraph: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    paragraph.join(" ")
}

/// `#[schema(...)]`, as written.
#[derive(Default)]
struct Limits {
    least: Option<i64>,
    most: Option<i64>,
    shape: Option<&'static str>,
    unique: Vec<LitStr>,
    immutable: bool,
    rules: Vec<(LitStr, LitStr)>,
    column: Option<LitStr>,
    skip: bool,
}

const KNOWN: &str = "unknown; there are: min, max, min_length, max_length, min_items, max_items, \
                     trimmed, dns_1035_label, dns_1123_label, unique, immutable, rule, column, skip";

impl Limits {
    fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut limits = Self::default();
        for attribute in attributes.iter().filter(|a| a.path().is_ident("schema")) {
            attribute.parse_nested_meta(|meta| {
                let name = meta
                    .path
                    .get_ident()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                match name.as_str() {
                    "min" | "min_length" | "min_items" => {
                        limits.least = Some(integer(meta.value()?)?);
                    }
                    "max" | "max_length" | "max_items" => {
                        limits.most = Some(integer(meta.value()?)?);
                    }
                    "trimmed" => limits.shape = Some("Trimmed"),
                    "dns_1035_label" => limits.shape = Some("Dns1035Label"),
                    "dns_1123_label" => limits.shape = Some("Dns1123Label"),
                    "skip" => limits.skip = true,
                    "immutable" => limits.immutable = true,
                    "column" => limits.column = Some(meta.value()?.parse()?),
                    "unique" => {
                        let value = meta.value()?;
                        let names;
                        bracketed!(names in value);
                        let names = Punctuated::<LitStr, Token![,]>::parse_terminated(&names)?;
                        for name in names {
                            in_cel(&name.value(), name.span())?;
                            limits.unique.push(name);
                        }
                    }
                    "rule" => {
                        let (mut rule, mut message) = (None, None);
                        meta.parse_nested_meta(|inner| {
                            let text: LitStr = inner.value()?.parse()?;
                            if inner.path.is_ident("cel") {
                                rule = Some(text);
                            } else if inner.path.is_ident("message") {
                                message = Some(text);
                            } else {
                                return Err(inner.error("unknown; there are: cel, message"));
                            }
                            Ok(())
                        })?;
                        match (rule, message) {
                            (Some(rule), Some(message)) => limits.rules.push((rule, message)),
                            _ => {
                                return Err(
                                    meta.error("expected rule(cel = \"..\", message = \"..\")")
                                );
                            }
                        }
                    }
                    _ => return Err(meta.error(KNOWN)),
                }
                Ok(())
            })?;
        }
        Ok(limits)
    }
}

fn integer(value: syn::parse::ParseStream<'_>) -> Result<i64> {
    let negative = value.parse::<Option<Token![-]>>()?.is_some();
    let number: i64 = value.parse::<LitInt>()?.base10_parse()?;
    Ok(if negative { -number } else { number })
}

/// The node's fields that were written; others are the type's own.
fn limits(limits: &Limits) -> TokenStream {
    let mut fields = Vec::new();
    if let Some(least) = limits.least {
        fields.push(quote!(min: ::core::option::Option::Some(#least)));
    }
    if let Some(most) = limits.most {
        fields.push(quote!(max: ::core::option::Option::Some(#most)));
    }
    if let Some(shape) = limits.shape {
        let shape = syn::Ident::new(shape, proc_macro2::Span::call_site());
        fields.push(quote!(shape: schema::Shape::#shape));
    }
    if !limits.unique.is_empty() {
        let unique = &limits.unique;
        fields.push(quote!(unique: &[#(#unique),*]));
    }
    if limits.immutable {
        fields.push(quote!(immutable: true));
    }
    if !limits.rules.is_empty() {
        let rules = limits
            .rules
            .iter()
            .map(|(rule, message)| quote!(schema::Rule { rule: #rule, message: #message }));
        fields.push(quote!(rules: &[#(#rules),*]));
    }
    if let Some(column) = &limits.column {
        fields.push(quote!(column: #column));
    }
    quote!(#(#fields,)*)
}

/// Words that CEL keeps for itself.
const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Whether a rule can name the field.
fn in_cel(name: &str, span: proc_macro2::Span) -> Result<()> {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric());
    if plain && !RESERVED.contains(&name) {
        return Ok(());
    }
    Err(Error::new(
        span,
        format!(
            "no rule of the API server can name `{name}`: letters and digits only, no word of CEL"
        ),
    ))
}

#[cfg(test)]
mod tests;
