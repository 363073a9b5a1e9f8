//! What serde's attributes say about names: a schema has the fields that serde reads.

use syn::{Attribute, Expr, Ident, LitStr, Result, Token, parenthesized};

/// What matters of `#[serde(...)]`.
#[derive(Default)]
pub(crate) struct Serde {
    pub(crate) rename_all: Option<Case>,
    pub(crate) rename: Option<String>,
    pub(crate) default: bool,
    pub(crate) skip: bool,
}

pub(crate) fn serde_names(attributes: &[Attribute]) -> Result<Serde> {
    let mut serde = Serde::default();
    for attribute in attributes.iter().filter(|a| a.path().is_ident("serde")) {
        attribute.parse_nested_meta(|meta| {
            let word = meta
                .path
                .get_ident()
                .map(Ident::to_string)
                .unwrap_or_default();
            match word.as_str() {
                "rename_all" if meta.input.peek(Token![=]) => {
                    let case: LitStr = meta.value()?.parse()?;
                    serde.rename_all = Some(Case::parse(&case)?);
                }
                "rename" if meta.input.peek(Token![=]) => {
                    serde.rename = Some(meta.value()?.parse::<LitStr>()?.value());
                }
                "rename_all" | "rename" => {
                    return Err(meta.error("a schema has one name for reading and writing"));
                }
                "flatten" | "untagged" | "tag" | "transparent" => {
                    return Err(meta.error("has no schema: write the fields out"));
                }
                "skip" | "skip_deserializing" => serde.skip = true,
                word => {
                    serde.default |= word == "default";
                    // Whatever else there is.
                    if meta.input.peek(Token![=]) {
                        meta.value()?.parse::<Expr>()?;
                    } else if meta.input.peek(syn::token::Paren) {
                        let ignored;
                        parenthesized!(ignored in meta.input);
                        ignored.parse::<proc_macro2::TokenStream>()?;
                    }
                }
            }
            Ok(())
        })?;
    }
    Ok(serde)
}

/// How `rename_all` writes names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Case {
    AsIs,
    Camel,
    Pascal,
    Lower,
    Upper,
    Kebab,
    Snake,
    ScreamingSnake,
}

impl Case {
    fn parse(text: &LitStr) -> Result<Self> {
        Ok(match text.value().as_str() {
            "camelCase" => Self::Camel,
            "PascalCase" => Self::Pascal,
            "lowercase" => Self::Lower,
            "UPPERCASE" => Self::Upper,
            "kebab-case" => Self::Kebab,
            "snake_case" => Self::Snake,
            "SCREAMING_SNAKE_CASE" => Self::ScreamingSnake,
            _ => return Err(syn::Error::new(text.span(), "not known to derive(Schema)")),
        })
    }

    /// The name of a field, which Rust writes in snake case.
    pub(crate) fn of_field(self, name: &str) -> String {
        let words: Vec<&str> = name.split('_').filter(|word| !word.is_empty()).collect();
        match self {
            Self::AsIs | Self::Lower | Self::Snake => name.to_owned(),
            Self::Upper | Self::ScreamingSnake => name.to_ascii_uppercase(),
            Self::Kebab => name.replace('_', "-"),
            Self::Pascal => words.iter().map(|word| capital(word)).collect(),
            Self::Camel => {
                let rest = words.iter().skip(1).map(|word| capital(word));
                let first = words.first().copied().unwrap_or_default().to_owned();
                std::iter::once(first).chain(rest).collect()
            }
        }
    }

    /// The name of a variant, which Rust writes in Pascal case.
    pub(crate) fn of_variant(self, name: &str) -> String {
        match self {
            Self::AsIs | Self::Pascal => name.to_owned(),
            Self::Lower => name.to_ascii_lowercase(),
            Self::Upper => name.to_ascii_uppercase(),
            Self::Snake => snake(name),
            Self::ScreamingSnake => snake(name).to_ascii_uppercase(),
            Self::Kebab => snake(name).replace('_', "-"),
            Self::Camel => {
                let mut letters = name.chars();
                let first = letters.next().map(|c| c.to_ascii_lowercase());
                first.into_iter().chain(letters).collect()
            }
        }
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for (at, letter) in name.char_indices() {
        if at > 0 && letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
