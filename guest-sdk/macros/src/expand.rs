//! The code that the attribute adds to an `impl` block.

use crate::arguments::Arguments;
use crate::definition::{self, Code};
use crate::manifest::{self, Crate};
use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Error, Ident, ImplItem, ItemImpl, Result, Type};

pub(crate) fn plugin(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let arguments = Arguments::parse(arguments)?;
    let mut block: ItemImpl = syn::parse2(item)?;
    let plugin = plugin_type(&block)?;
    let built = manifest::build(&arguments, &this_crate()?)?;
    let json = serde_json::to_string(&built.manifest)
        .map_err(|error| Error::new(Span::call_site(), error))?;

    let has_function = |name: &str| {
        block
            .items
            .iter()
            .any(|item| matches!(item, ImplItem::Fn(function) if function.sig.ident == name))
    };
    let mut exports = vec![quote!(decide)];
    exports.extend(has_function("sense").then(|| quote!(sense)));
    exports.extend(has_function("act").then(|| quote!(act)));

    for name in ["Spec", "Status"] {
        let given = block
            .items
            .iter()
            .any(|item| matches!(item, ImplItem::Type(alias) if alias.ident == name));
        if !given {
            let name = Ident::new(name, Span::call_site());
            block
                .items
                .push(syn::parse_quote!(type #name = ::kybern_sdk::Value;));
        }
    }

    let section = kybern_interface::names::MANIFEST_SECTION;
    let Code { parts, check } = definition::code(&json, arguments.definition.as_ref(), &plugin)?;
    // Cargo builds again when one of these changes.
    let files = built.files.iter().map(|file| file.display().to_string());
    Ok(quote! {
        #block

        const _: () = {
            use ::kybern_sdk::schema;
            const PARTS: &[schema::Part] = &[#parts];
            const LENGTH: usize = schema::length(PARTS);
            const BYTES: [u8; LENGTH] = schema::bytes(PARTS);

            impl ::kybern_sdk::Embedded for #plugin {
                const MANIFEST: &'static str = schema::text(&BYTES);
                #check
            }

            #( const _: &[u8] = ::core::include_bytes!(#files); )*

            #[cfg(target_arch = "wasm32")]
            #[unsafe(link_section = #section)]
            #[used]
            static MANIFEST: [u8; LENGTH] = BYTES;
        };

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #( ::kybern_sdk::guest::#exports::export!(#plugin with_types_in ::kybern_sdk::guest::#exports); )*
        };
    })
}

/// The name of the type: the exports need one without parameters.
fn plugin_type(block: &ItemImpl) -> Result<Ident> {
    let misplaced = || {
        Error::new_spanned(
            &block.self_ty,
            "expected `impl Plugin for Name` for a type without parameters",
        )
    };
    if block.trait_.is_none() || !block.generics.params.is_empty() {
        return Err(misplaced());
    }
    match &*block.self_ty {
        Type::Path(path) => path.path.get_ident().cloned().ok_or_else(misplaced),
        _ => Err(misplaced()),
    }
}

fn this_crate() -> Result<Crate> {
    Ok(Crate {
        name: cargo("CARGO_PKG_NAME")?,
        version: cargo("CARGO_PKG_VERSION")?,
        folder: cargo("CARGO_MANIFEST_DIR")?.into(),
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells a macro which crate it expands in through the environment only"
)]
fn cargo(variable: &str) -> Result<String> {
    std::env::var(variable).map_err(|_| {
        Error::new(
            Span::call_site(),
            format!("{variable} is not set: build with cargo"),
        )
    })
}
