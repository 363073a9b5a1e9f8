//! What turns WASI 0.1, which core modules import, into WASI 0.2.
//!
//! # Why two
//! The usual adapter asks the module for memory, or grows the module's. Go answers neither: its
//! allocator does not run before its runtime does, which needs WASI to begin; and it takes every page
//! that the memory grows by for its own, so that both would write there.

use wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A section of every module that Go's linker writes.
pub(crate) const GO_SECTION: &str = "go:buildid";

const GO: &str = include_str!("adapter/go.wat");
const GO_WIT: &str = include_str!("adapter/go.wit");

/// No such descriptor.
const BADF: u8 = 8;

/// Functions of WASI 0.1 for which there is nothing, with parameters: `l` is 64 bits, `i` 32.
const NOTHING: [(&str, &str); 33] = [
    ("fd_advise", "illi"),
    ("fd_allocate", "ill"),
    ("fd_close", "i"),
    ("fd_datasync", "i"),
    ("fd_fdstat_set_rights", "ill"),
    ("fd_filestat_get", "ii"),
    ("fd_filestat_set_size", "il"),
    ("fd_filestat_set_times", "illi"),
    ("fd_pread", "iiili"),
    ("fd_prestat_dir_name", "iii"),
    ("fd_prestat_get", "ii"),
    ("fd_pwrite", "iiili"),
    ("fd_read", "iiii"),
    ("fd_readdir", "iiili"),
    ("fd_renumber", "ii"),
    ("fd_seek", "ilii"),
    ("fd_sync", "i"),
    ("fd_tell", "ii"),
    ("path_create_directory", "iii"),
    ("path_filestat_get", "iiiii"),
    ("path_filestat_set_times", "iiiilli"),
    ("path_link", "iiiiiii"),
    ("path_open", "iiiiillii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("path_unlink_file", "iii"),
    ("proc_raise", "i"),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("sock_shutdown", "ii"),
];

/// The adapter for a module, by who made that.
pub(crate) fn preview1(is_go: bool) -> anyhow::Result<Vec<u8>> {
    if is_go {
        for_go()
    } else {
        Ok(WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER.to_vec())
    }
}

fn for_go() -> anyhow::Result<Vec<u8>> {
    let functions: String = NOTHING.into_iter().map(nothing).collect();
    let mut adapter = wat::parse_str(format!("{GO}{functions})"))?;
    let mut resolve = Resolve::default();
    let package = resolve.push_source("go.wit", GO_WIT)?;
    let world = resolve.select_world(&[package], Some("adapter"))?;
    embed_component_metadata(&mut adapter, &resolve, world, StringEncoding::UTF8)?;
    Ok(adapter)
}

fn nothing((name, parameters): (&str, &str)) -> String {
    let parameters = parameters.chars().map(|of| match of {
        'l' => "i64 ",
        _ => "i32 ",
    });
    let parameters: String = parameters.collect();
    format!("(func (export \"{name}\") (param {parameters}) (result i32) (i32.const {BADF}))\n")
}
