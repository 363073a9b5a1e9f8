//! The attribute's arguments, as written.

use syn::meta::ParseNestedMeta;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, LitBool, LitStr, Token, bracketed};

/// What the author wrote.
#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) name: Option<LitStr>,
    pub(crate) version: Option<LitStr>,
    pub(crate) crds: Vec<LitStr>,
    pub(crate) definition: Option<CrdArgument>,
    pub(crate) mirrors: Vec<LitStr>,
    pub(crate) resources: Vec<LitStr>,
    pub(crate) queries: Vec<QueryArgument>,
    pub(crate) reads: Vec<ReadArgument>,
    pub(crate) writes: Vec<WriteArgument>,
    pub(crate) effects: Vec<EffectArgument>,
    pub(crate) capabilities: Vec<CapabilityArgument>,
    pub(crate) secrets: Vec<CapabilityArgument>,
    pub(crate) delegates: Vec<DelegateArgument>,
    pub(crate) settings: Option<LitStr>,
    /// Whether its plans keep state.
    pub(crate) state: bool,
}

/// A definition whose schema comes from the types.
pub(crate) struct CrdArgument {
    pub(crate) kind: LitStr,
    pub(crate) plural: Option<LitStr>,
    pub(crate) scope: Option<LitStr>,
    /// How the objects' names must look.
    pub(crate) names: Option<LitStr>,
    pub(crate) short_names: Vec<LitStr>,
    pub(crate) categories: Vec<LitStr>,
    /// Paths of the wanted and of the present number.
    pub(crate) scale: Vec<LitStr>,
}

pub(crate) struct QueryArgument {
    pub(crate) name: LitStr,
    pub(crate) sql: LitStr,
    pub(crate) params: Vec<LitStr>,
}

pub(crate) struct ReadArgument {
    pub(crate) kind: LitStr,
    pub(crate) optional: bool,
}

pub(crate) struct WriteArgument {
    pub(crate) kind: LitStr,
    /// Empty = only `apply`, or only the subresources.
    pub(crate) verbs: Vec<LitStr>,
    pub(crate) subresources: Vec<LitStr>,
}

pub(crate) struct EffectArgument {
    pub(crate) name: LitStr,
    pub(crate) description: Option<LitStr>,
}

pub(crate) struct CapabilityArgument {
    pub(crate) name: LitStr,
    pub(crate) reason: Option<LitStr>,
}

pub(crate) struct DelegateArgument {
    pub(crate) api_groups: Vec<LitStr>,
    pub(crate) resources: Vec<LitStr>,
    pub(crate) verbs: Vec<LitStr>,
}

impl Arguments {
    pub(crate) fn parse(tokens: proc_macro2::TokenStream) -> syn::Result<Self> {
        let mut arguments = Self::default();
        syn::meta::parser(|meta| arguments.argument(&meta)).parse2(tokens)?;
        Ok(arguments)
    }

    fn argument(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
        let name = meta
            .path
            .get_ident()
            .map(ToString::to_string)
            .unwrap_or_default();
        match name.as_str() {
            "name" => set(&mut self.name, meta.value()?.parse()?),
            "version" => set(&mut self.version, meta.value()?.parse()?),
            "settings" => set(&mut self.settings, meta.value()?.parse()?),
            "crd" if meta.input.peek(syn::token::Paren) => {
                let known = [
                    "kind",
                    "plural",
                    "scope",
                    "names",
                    "short_names",
                    "categories",
                    "scale",
                ];
                let mut fields = Fields::of(meta, &known)?;
                let definition = CrdArgument {
                    kind: fields.required("kind")?,
                    plural: fields.text("plural"),
                    scope: fields.text("scope"),
                    names: fields.text("names"),
                    short_names: fields.list("short_names"),
                    categories: fields.list("categories"),
                    scale: fields.list("scale"),
                };
                match self.definition.replace(definition) {
                    None => Ok(()),
                    Some(_) => Err(meta.error("given twice: the types describe one kind")),
                }
            }
            "mirror" => {
                self.mirrors.push(meta.value()?.parse()?);
                Ok(())
            }
            "crd" => {
                self.crds.push(meta.value()?.parse()?);
                Ok(())
            }
            "resource" => {
                self.resources.push(meta.value()?.parse()?);
                Ok(())
            }
            "reads" => {
                let kinds = list(meta.value()?)?;
                self.reads
                    .extend(kinds.into_iter().map(|kind| ReadArgument {
                        kind,
                        optional: false,
                    }));
                Ok(())
            }
            "writes" => {
                let kinds = list(meta.value()?)?;
                self.writes
                    .extend(kinds.into_iter().map(|kind| WriteArgument {
                        kind,
                        verbs: Vec::new(),
                        subresources: Vec::new(),
                    }));
                Ok(())
            }
            "query" => {
                let mut fields = Fields::of(meta, &["name", "sql", "params"])?;
                self.queries.push(QueryArgument {
                    name: fields.required("name")?,
                    sql: fields.required("sql")?,
                    params: fields.list("params"),
                });
                Ok(())
            }
            "read" => {
                let mut fields = Fields::of(meta, &["kind", "optional"])?;
                self.reads.push(ReadArgument {
                    kind: fields.required("kind")?,
                    optional: fields.flag,
                });
                Ok(())
            }
            "write" => {
                let mut fields = Fields::of(meta, &["kind", "verbs", "subresources"])?;
                self.writes.push(WriteArgument {
                    kind: fields.required("kind")?,
                    verbs: fields.list("verbs"),
                    subresources: fields.list("subresources"),
                });
                Ok(())
            }
            "effect" => {
                let mut fields = Fields::of(meta, &["name", "description"])?;
                self.effects.push(EffectArgument {
                    name: fields.required("name")?,
                    description: fields.text("description"),
                });
                Ok(())
            }
            "capability" => {
                let mut fields = Fields::of(meta, &["name", "reason"])?;
                self.capabilities.push(CapabilityArgument {
                    name: fields.required("name")?,
                    reason: fields.text("reason"),
                });
                Ok(())
            }
            "secret" => {
                let mut fields = Fields::of(meta, &["name", "reason"])?;
                self.secrets.push(CapabilityArgument {
                    name: fields.required("name")?,
                    reason: fields.text("reason"),
                });
                Ok(())
            }
            "delegate" => {
                let mut fields = Fields::of(meta, &["api_groups", "resources", "verbs"])?;
                self.delegates.push(DelegateArgument {
                    api_groups: fields.list("api_groups"),
                    resources: fields.list("resources"),
                    verbs: fields.list("verbs"),
                });
                Ok(())
            }
            "state" => {
                self.state = true;
                Ok(())
            }
            _ => Err(meta.error(
                "unknown argument; there are: name, version, crd, resource, query, mirror, reads, \
                 read, writes, write, effect, capability, secret, delegate, settings, state",
            )),
        }
    }
}

fn set(slot: &mut Option<LitStr>, value: LitStr) -> syn::Result<()> {
    if slot.is_some() {
        return Err(Error::new(value.span(), "given twice"));
    }
    *slot = Some(value);
    Ok(())
}

fn list(input: ParseStream<'_>) -> syn::Result<Vec<LitStr>> {
    let content;
    bracketed!(content in input);
    let list = Punctuated::<LitStr, Token![,]>::parse_terminated(&content)?;
    Ok(list.into_iter().collect())
}

/// The arguments inside the parentheses of one argument.
struct Fields {
    span: proc_macro2::Span,
    texts: Vec<(String, LitStr)>,
    lists: Vec<(String, Vec<LitStr>)>,
    flag: bool,
}

/// One value: `"text"`, `["text", "text"]` or `true`.
enum FieldValue {
    Text(LitStr),
    List(Vec<LitStr>),
    Flag(bool),
}

impl Parse for FieldValue {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if input.peek(syn::token::Bracket) {
            list(input).map(Self::List)
        } else if input.peek(LitBool) {
            input.parse::<LitBool>().map(|flag| Self::Flag(flag.value))
        } else {
            input.parse().map(Self::Text)
        }
    }
}

impl Fields {
    fn of(meta: &ParseNestedMeta<'_>, known: &[&str]) -> syn::Result<Self> {
        let mut fields = Self {
            span: syn::spanned::Spanned::span(&meta.path),
            texts: Vec::new(),
            lists: Vec::new(),
            flag: false,
        };
        meta.parse_nested_meta(|inner| {
            let name = inner
                .path
                .get_ident()
                .map(ToString::to_string)
                .unwrap_or_default();
            if !known.contains(&name.as_str()) {
                return Err(inner.error(format!("unknown; there are: {}", known.join(", "))));
            }
            let is_list = LISTS.contains(&name.as_str());
            match inner.value()?.parse()? {
                FieldValue::List(list) if is_list => fields.lists.push((name, list)),
                FieldValue::Flag(flag) if name == "optional" => fields.flag = flag,
                FieldValue::Text(text) if !is_list && name != "optional" => {
                    fields.texts.push((name, text));
                }
                _ if is_list => return Err(inner.error("expected a list: [\"...\"]")),
                _ if name == "optional" => return Err(inner.error("expected true or false")),
                _ => return Err(inner.error("expected one text: \"...\"")),
            }
            Ok(())
        })?;
        Ok(fields)
    }

    fn text(&mut self, name: &str) -> Option<LitStr> {
        let at = self.texts.iter().position(|(field, _)| field == name)?;
        Some(self.texts.swap_remove(at).1)
    }

    fn required(&mut self, name: &str) -> syn::Result<LitStr> {
        self.text(name)
            .ok_or_else(|| Error::new(self.span, format!("`{name}` is missing")))
    }

    fn list(&mut self, name: &str) -> Vec<LitStr> {
        self.lists
            .iter()
            .position(|(field, _)| field == name)
            .map(|at| self.lists.swap_remove(at).1)
            .unwrap_or_default()
    }
}

/// Fields that hold a list.
const LISTS: [&str; 8] = [
    "params",
    "verbs",
    "subresources",
    "api_groups",
    "resources",
    "short_names",
    "categories",
    "scale",
];
