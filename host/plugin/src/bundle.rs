//! The host interface `bundle`: the files in the component's section `kybern:bundle`.

use crate::state::CallState;
use kybern_bundle::Bundle;
use wasmtime::component::{Linker, WasmStr};
use wasmtime::{Result, StoreContextMut};

/// Gives guests `kybern:operator/bundle`.
pub(crate) fn add_to_linker(linker: &mut Linker<CallState>) -> Result<()> {
    let mut bundle = linker.instance("kybern:operator/bundle@0.1.0")?;
    bundle.func_wrap("paths", paths)?;
    bundle.func_wrap("read", read)
}

fn paths(mut store: StoreContextMut<'_, CallState>, (): ()) -> Result<(Vec<String>,)> {
    let state = store.data_mut();
    state.check()?;
    let bundle = state.inside.bundle.clone();
    let paths = bundle.iter().flat_map(|bundle| bundle.paths());
    let paths: Vec<String> = paths.map(str::to_owned).collect();
    state.hand_over(paths.iter().map(String::len).sum());
    Ok((paths,))
}

fn read(
    mut store: StoreContextMut<'_, CallState>,
    (path,): (WasmStr,),
) -> Result<(Option<Vec<u8>>,)> {
    store.data().check()?;
    let path = path.to_str(&store)?.into_owned();
    let state = store.data_mut();
    let content = state
        .inside
        .bundle
        .as_deref()
        .and_then(|b: &Bundle| b.read(&path));
    let content = content.map(<[u8]>::to_vec);
    state.hand_over(content.as_ref().map_or(0, Vec::len));
    Ok((content,))
}
