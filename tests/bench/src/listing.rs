//! One listing of all pods of a real API server, by the product or by who throws the bytes away.

use crate::args::Listing;
use crate::clock::{now, pass, processor_time};
use crate::subject::{WAITING_BATCHES, commit, pods};
use anyhow::{Context, Result, ensure};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kybern_kube::{Cluster, WatchConfig, WatchTarget};
use kybern_table::{StoreConfig, TableState, store};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The annotation of the bookmark that ends a streaming list.
const END: &[u8] = b"k8s.io/initial-events-end";
const PAGE: u32 = 500;
/// How long pods that were put a moment ago may be missing.
const LATE: Duration = Duration::from_secs(20);

/// Lists, and prints what it took of this process.
pub(crate) fn run(how: Listing, kubeconfig: &Path, objects: usize) -> Result<()> {
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let (began, from) = (now()?, processor_time()?);
    match how {
        Listing::Table => table(&runtime, kubeconfig, objects)?,
        Listing::Stream => runtime.block_on(stream(kubeconfig))?,
        Listing::Pages => runtime.block_on(pages(kubeconfig))?,
    }
    println!(
        r#"{{"processor":{},"wall":{}}}"#,
        (processor_time()? - from).as_secs_f64(),
        (now()? - began).as_secs_f64()
    );
    Ok(())
}

fn table(runtime: &Runtime, kubeconfig: &Path, objects: usize) -> Result<()> {
    let (writer, reader) = store(StoreConfig::default());
    let (batches, waiting) = mpsc::channel(WAITING_BATCHES);
    let ingest = std::thread::spawn(move || commit(writer, waiting));
    let cluster = runtime.block_on(Cluster::from_kubeconfig_path(kubeconfig, None))?;
    let cancel = CancellationToken::new();
    let watch = runtime.spawn(kybern_kube::watch(
        cluster,
        WatchTarget::all(pods()),
        WatchConfig::default(),
        batches,
        Arc::new(kybern_kube::watch::NoObserver),
        cancel.clone(),
    ));
    let (began, mut early) = (now()?, None);
    let rows = loop {
        let view = reader.snapshot().table(&pods().key);
        match view {
            Some(view) if matches!(view.state(), TableState::Ready { .. }) => {
                let rows = view.count();
                if rows == objects || now()? - began > LATE {
                    break rows;
                }
                early.get_or_insert(rows);
            }
            _ => {}
        }
        pass(Duration::from_millis(2));
    };
    if let Some(rows) = early {
        // The objects were put into etcd a moment ago; whether a list may lack them is not this
        // benchmark's question, but should be seen.
        eprintln!("the table was ready with {rows} of {objects} pods");
    }
    ensure!(rows == objects, "{rows} of {objects} pods in the table");
    cancel.cancel();
    runtime.block_on(watch)?;
    match ingest.join() {
        Ok(result) => result,
        Err(_) => anyhow::bail!("the ingest thread panicked"),
    }
}

pub(crate) async fn client(kubeconfig: &Path) -> Result<kube::Client> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

pub(crate) async fn get(client: &kube::Client, path: &str) -> Result<Body> {
    let request = http::Request::get(path)
        .header(http::header::ACCEPT, "application/json")
        .header(http::header::ACCEPT_ENCODING, "identity")
        .body(Body::empty())?;
    let answer = client.send(request).await?;
    ensure!(
        answer.status().is_success(),
        "GET {path}: {}",
        answer.status()
    );
    Ok(answer.into_body())
}

async fn stream(kubeconfig: &Path) -> Result<()> {
    let client = client(kubeconfig).await?;
    let query = "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let mut body = get(&client, &format!("/api/v1/pods?{query}")).await?;
    let mut tail = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        // The last bytes only: the bookmark is the last line.
        let new = data.len().saturating_sub(2 * 1024);
        tail.extend_from_slice(data.get(new..).unwrap_or_default());
        if tail.windows(END.len()).any(|window| window == END) {
            return Ok(());
        }
        let old = tail.len().saturating_sub(2 * 1024);
        tail.drain(..old);
    }
    anyhow::bail!("the streaming list ended without its bookmark")
}

async fn pages(kubeconfig: &Path) -> Result<()> {
    let client = client(kubeconfig).await?;
    let mut token = String::new();
    loop {
        let path = format!("/api/v1/pods?limit={PAGE}&continue={token}");
        let mut body = get(&client, &path).await?;
        // The token stands before the items.
        let mut head = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame?;
            if let Some(data) = frame.data_ref()
                && head.len() < 4 * 1024
            {
                head.extend_from_slice(data);
            }
        }
        let text = String::from_utf8_lossy(head.get(..4 * 1024).unwrap_or(&head)).into_owned();
        let (metadata, _) = text.split_once("\"items\"").context("a list")?;
        let next = metadata.split_once("\"continue\":\"").map(|(_, rest)| rest);
        match next.and_then(|rest| rest.split('"').next()) {
            Some(next) => token = next.to_owned(),
            None => return Ok(()),
        }
    }
}
