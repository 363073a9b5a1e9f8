//! kube-rs, as a peer: reflectors for the benches `ingest` and `memory`, an operator for `converge`
//! ([`appservice`]), the same over stores for `pass` ([`pass`]), and one for each hop of `ring`
//! ([`relay`]).
//!
//! The words are those of tests/bench/src/child.rs, tests/bench/src/operator.rs and
//! tests/bench/src/pass/peer.rs. Everything is as
//! kube-rs' documentation has it: `reflector(writer, watcher(api, Config::default()))` with the
//! default backoff.

mod appservice;
mod pass;
mod relay;

use anyhow::{Context, Result, bail, ensure};
use bytes::BytesMut;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, Resource, WatchEvent};
use kube::runtime::reflector::{Lookup, ObjectRef, Store, store::Writer};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, Config};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio_util::codec::{Decoder, LinesCodec};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// As much as a connection hands over at once.
const CHUNK: usize = 64 << 10;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
    match words[..] {
        ["be-ingest", "kube-rs-typed", file, objects] => ingest::<Pod>((), file, objects.parse()?),
        ["be-ingest", "kube-rs-dynamic", file, objects] => {
            ingest::<DynamicObject>(kind, file, objects.parse()?)
        }
        ["be-cache", "kube-rs-typed", url] => cache::<Pod>((), url),
        ["be-cache", "kube-rs-dynamic", url] => cache::<DynamicObject>(kind, url),
        ["be-appservice", "kube-rs", kubeconfig] => operator(kubeconfig, appservice::run),
        ["be-relay", "kube-rs", kubeconfig, hop] => {
            operator(kubeconfig, async |client| relay::run(client, hop).await)
        }
        ["be-pass", "kube-rs", work, crs, url] => pass::run(work.parse()?, crs.parse()?, url),
        _ => bail!(
            "usage: be-ingest SYSTEM FILE OBJECTS | be-cache SYSTEM URL | be-appservice SYSTEM KUBECONFIG | be-relay SYSTEM KUBECONFIG HOP | be-pass SYSTEM WORK CRS URL"
        ),
    }
}

/// Runs an operator against the cluster of that file, on tokio's default runtime.
fn operator(kubeconfig: &str, run: impl AsyncFnOnce(Client) -> Result<()>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let file = Kubeconfig::read_from(kubeconfig)?;
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        run(Client::try_from(config)?).await
    })
}

/// The lines of a watch, decoded as `Client::request_events` does, into the store of a reflector.
fn ingest<K>(kind: <K as Lookup>::DynamicType, file: &str, objects: usize) -> Result<()>
where
    K: Resource<DynamicType = <K as Lookup>::DynamicType>
        + Lookup
        + Clone
        + DeserializeOwned
        + 'static,
    <K as Lookup>::DynamicType: Clone + Eq + Hash,
{
    pin()?;
    let raw = std::fs::read(file).with_context(|| format!("read {file}"))?;
    let mut writer = Writer::<K>::new(kind);
    let reader = writer.as_reader();
    let mut codec = LinesCodec::new();
    let mut buffer = BytesMut::new();
    writer.apply_watcher_event(&watcher::Event::Init);
    writer.apply_watcher_event(&watcher::Event::InitDone);
    let (began, from) = (read(ClockId::Monotonic)?, read(ClockId::ProcessCPUTime)?);
    for chunk in raw.chunks(CHUNK) {
        buffer.extend_from_slice(chunk);
        while let Some(line) = codec.decode(&mut buffer)? {
            let event = match serde_json::from_str::<WatchEvent<K>>(&line)? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    watcher::Event::Apply(object)
                }
                WatchEvent::Deleted(object) => watcher::Event::Delete(object),
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(status) => bail!("{status:?}"),
            };
            writer.apply_watcher_event(&event);
        }
    }
    ensure!(
        reader.len() == objects,
        "{} of {objects} pods",
        reader.len()
    );
    // Nothing goes on afterwards: what is visible is settled.
    let visible = (read(ClockId::ProcessCPUTime)? - from).as_secs_f64();
    let wall = (read(ClockId::Monotonic)? - began).as_secs_f64();
    println!(r#"{{"visible":{visible},"settled":{visible},"wall":{wall}}}"#);
    // As in a live process, what is held is not taken apart at the end.
    std::process::exit(0)
}

fn read(clock: ClockId) -> Result<Duration> {
    Duration::try_from(clock_gettime(clock)).context("the clock is before its start")
}

/// One processor for all threads, from now on.
fn pin() -> Result<()> {
    let allowed = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu));
    let mut one = CpuSet::new();
    one.set(last.context("there is a processor")?);
    Ok(sched_setaffinity(None, &one)?)
}

/// A reflector, and answers to the lines of standard input.
fn cache<K>(kind: <K as Lookup>::DynamicType, url: &str) -> Result<()>
where
    K: Resource<DynamicType = <K as Lookup>::DynamicType>
        + Lookup
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
    <K as Lookup>::DynamicType: Clone + Debug + Eq + Hash + Unpin + Send,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = Client::try_from(Config::new(url.parse()?))?;
        let writer = Writer::<K>::new(kind.clone());
        let reader = writer.as_reader();
        let api = Api::<K>::all_with(client, &kind);
        let events = reflector(writer, watcher(api, watcher::Config::default()))
            .default_backoff()
            .touched_objects()
            .for_each(|event| async move {
                if let Err(error) = event {
                    eprintln!("kube-rs: {error}");
                }
            });
        tokio::select! {
            () = events => bail!("the watch ended"),
            answered = answers(&reader, &kind) => answered,
        }
    })?;
    std::process::exit(0)
}

async fn answers<K>(reader: &Store<K>, kind: &<K as Lookup>::DynamicType) -> Result<()>
where
    K: Resource<DynamicType = <K as Lookup>::DynamicType> + Lookup + Clone + 'static,
    <K as Lookup>::DynamicType: Clone + Eq + Hash,
{
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["wait", key, version] => {
                let (namespace, name) = key.split_once('/').context("NAMESPACE/NAME")?;
                let version: u64 = version.parse()?;
                let key = ObjectRef::<K>::new_with(name, kind.clone()).within(namespace);
                while !shows(reader, &key, version) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                println!("ok");
            }
            ["settle"] => println!("ok"),
            ["budget"] => println!("{} objects", reader.len()),
            _ => println!("error: it does not know {line:?}"),
        }
    }
    Ok(())
}

fn shows<K>(reader: &Store<K>, key: &ObjectRef<K>, version: u64) -> bool
where
    K: Resource<DynamicType = <K as Lookup>::DynamicType> + Lookup + Clone + 'static,
    <K as Lookup>::DynamicType: Clone + Eq + Hash,
{
    reader.get(key).is_some_and(|object| {
        let has = object.resource_version().and_then(|text| text.parse().ok());
        has.is_some_and(|has: u64| has >= version)
    })
}
