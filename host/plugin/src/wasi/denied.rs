//! `wasi:filesystem` and `wasi:sockets`: no folder to begin with, no socket to be had.
//!
//! What a guest can call without a descriptor or a socket answers that there is none. The methods of
//! those cannot be called, since nobody has one: they are linked by name, whatever their types.

use crate::state::CallState;
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType, Val};
use wasmtime::{Error, Result, StoreContextMut};

/// What a plugin gets of files.
pub(super) const NO_FILES: &str = "nothing: there are no files";
/// What a plugin gets of sockets.
pub(super) const NO_SOCKETS: &str = "nothing: sockets and names of hosts are denied";

/// Nobody ever has one of those.
struct Descriptor;
struct DirectoryEntries;
struct TcpSocket;
struct UdpSocket;
struct Incoming;
struct Outgoing;
struct Addresses;
/// A network, in which nothing is allowed.
struct Network;

const DESCRIPTOR: [&str; 27] = [
    "read-via-stream",
    "write-via-stream",
    "append-via-stream",
    "advise",
    "sync-data",
    "get-flags",
    "get-type",
    "set-size",
    "set-times",
    "read",
    "write",
    "read-directory",
    "sync",
    "create-directory-at",
    "stat",
    "stat-at",
    "set-times-at",
    "link-at",
    "open-at",
    "readlink-at",
    "remove-directory-at",
    "rename-at",
    "symlink-at",
    "unlink-file-at",
    "is-same-object",
    "metadata-hash",
    "metadata-hash-at",
];
const TCP_SOCKET: [&str; 28] = [
    "start-bind",
    "finish-bind",
    "start-connect",
    "finish-connect",
    "start-listen",
    "finish-listen",
    "accept",
    "local-address",
    "remote-address",
    "is-listening",
    "address-family",
    "set-listen-backlog-size",
    "keep-alive-enabled",
    "set-keep-alive-enabled",
    "keep-alive-idle-time",
    "set-keep-alive-idle-time",
    "keep-alive-interval",
    "set-keep-alive-interval",
    "keep-alive-count",
    "set-keep-alive-count",
    "hop-limit",
    "set-hop-limit",
    "receive-buffer-size",
    "set-receive-buffer-size",
    "send-buffer-size",
    "set-send-buffer-size",
    "subscribe",
    "shutdown",
];
const UDP_SOCKET: [&str; 13] = [
    "start-bind",
    "finish-bind",
    "stream",
    "local-address",
    "remote-address",
    "address-family",
    "unicast-hop-limit",
    "set-unicast-hop-limit",
    "receive-buffer-size",
    "set-receive-buffer-size",
    "send-buffer-size",
    "set-send-buffer-size",
    "subscribe",
];

pub(super) fn add_to_linker(linker: &mut Linker<CallState>) -> Result<()> {
    files(linker)?;
    sockets(linker)
}

fn files(linker: &mut Linker<CallState>) -> Result<()> {
    let mut types = linker.instance("wasi:filesystem/types@0.2.0")?;
    unreachable::<Descriptor>(&mut types, "descriptor", &DESCRIPTOR)?;
    let entries = ["read-directory-entry"];
    unreachable::<DirectoryEntries>(&mut types, "directory-entry-stream", &entries)?;
    answers(&mut types, "filesystem-error-code", || Val::Option(None))?;
    let mut preopens = linker.instance("wasi:filesystem/preopens@0.2.0")?;
    preopens.func_wrap(
        "get-directories",
        |_: StoreContextMut<'_, CallState>, (): ()| {
            Ok((Vec::<(Resource<Descriptor>, String)>::new(),))
        },
    )
}

fn sockets(linker: &mut Linker<CallState>) -> Result<()> {
    let mut network = linker.instance("wasi:sockets/network@0.2.0")?;
    unreachable::<Network>(&mut network, "network", &[])?;
    answers(&mut network, "network-error-code", || Val::Option(None))?;
    let mut instance = linker.instance("wasi:sockets/instance-network@0.2.0")?;
    instance.func_wrap(
        "instance-network",
        |_: StoreContextMut<'_, CallState>, (): ()| Ok((Resource::<Network>::new_own(0),)),
    )?;
    let mut tcp = linker.instance("wasi:sockets/tcp@0.2.0")?;
    unreachable::<TcpSocket>(&mut tcp, "tcp-socket", &TCP_SOCKET)?;
    let mut create = linker.instance("wasi:sockets/tcp-create-socket@0.2.0")?;
    answers(&mut create, "create-tcp-socket", access_denied)?;
    let mut udp = linker.instance("wasi:sockets/udp@0.2.0")?;
    unreachable::<UdpSocket>(&mut udp, "udp-socket", &UDP_SOCKET)?;
    let incoming = ["receive", "subscribe"];
    unreachable::<Incoming>(&mut udp, "incoming-datagram-stream", &incoming)?;
    let outgoing = ["check-send", "send", "subscribe"];
    unreachable::<Outgoing>(&mut udp, "outgoing-datagram-stream", &outgoing)?;
    let mut create = linker.instance("wasi:sockets/udp-create-socket@0.2.0")?;
    answers(&mut create, "create-udp-socket", access_denied)?;
    let mut lookup = linker.instance("wasi:sockets/ip-name-lookup@0.2.0")?;
    let addresses = ["resolve-next-address", "subscribe"];
    unreachable::<Addresses>(&mut lookup, "resolve-address-stream", &addresses)?;
    answers(&mut lookup, "resolve-addresses", access_denied)
}

fn access_denied() -> Val {
    Val::Result(Err(Some(Box::new(Val::Enum("access-denied".to_owned())))))
}

/// A resource that nobody has, with its methods.
fn unreachable<T: 'static>(
    instance: &mut LinkerInstance<'_, CallState>,
    resource: &str,
    methods: &[&str],
) -> Result<()> {
    instance.resource(resource, ResourceType::host::<T>(), |_, _| Ok(()))?;
    for method in methods {
        instance.func_new(&format!("[method]{resource}.{method}"), |_, _, _, _| {
            // Nobody comes here twice: it ends the call.
            Err(Error::msg("it uses a file or a socket, and there is none"))
        })?;
    }
    Ok(())
}

/// A function that always gives the same.
fn answers(
    instance: &mut LinkerInstance<'_, CallState>,
    function: &str,
    answer: fn() -> Val,
) -> Result<()> {
    instance.func_new(function, move |mut store, _, arguments, results| {
        store.data().check()?;
        for argument in arguments {
            // What was lent is given back.
            if let Val::Resource(lent) = argument {
                lent.resource_drop(&mut store)?;
            }
        }
        for result in results {
            *result = answer();
        }
        Ok(())
    })
}
