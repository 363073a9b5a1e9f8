//! Components from servers of these tests, kept on disk.

use super::fake::{Fake, answer, ok};
use super::*;
use kybern_interface::HttpSource;
use std::time::Duration;

struct Here {
    sources: Sources,
    _folder: tempfile::TempDir,
}

fn here(config: SourceConfig) -> Here {
    let folder = tempfile::tempdir().unwrap();
    let keep = Keep::open(&folder.path().join("kept"), config.kept_bytes).unwrap();
    Here {
        sources: Sources::new(config, keep, Vec::new()),
        _folder: folder,
    }
}

fn at(url: String, of: &[u8]) -> Fetch {
    Fetch {
        source: Source {
            http: Some(HttpSource { url }),
            ..Source::default()
        },
        digest: Some(digest(of)),
        resolved: None,
        what: What::Component,
    }
}

#[tokio::test]
async fn what_was_fetched_once_needs_no_server_any_more() {
    let Here { sources, .. } = &here(SourceConfig::default());
    let fake = Fake::new(|_| ok(b"component"));
    let fetch = at(fake.url("/x.wasm"), b"component");
    let unknown = sources.near(&fetch, None).await;
    assert_eq!(unknown, Err(SourceError::NotKept));
    let fetched = sources.fetch(&fetch, None).await.unwrap();
    assert_eq!(&fetched.bytes[..], b"component");
    assert_eq!(sources.near(&fetch, None).await, Ok(fetched));
    assert_eq!(fake.seen().len(), 1);
    let counts = sources.counts();
    assert_eq!((counts.succeeded, counts.failed, counts.running), (1, 0, 0));
    assert_eq!(counts.kept_bytes, 9);
}

#[tokio::test]
async fn what_has_another_digest_is_neither_taken_nor_kept() {
    let Here { sources, .. } = &here(SourceConfig::default());
    let fake = Fake::new(|_| ok(b"forged"));
    let fetch = at(fake.url("/x.wasm"), b"component");
    let error = sources.fetch(&fetch, None).await.unwrap_err();
    assert!(matches!(error, SourceError::Digest(_)), "{error}");
    assert_eq!(error.problem(true).reason, "DigestMismatch");
    let counts = sources.counts();
    assert_eq!((counts.failed, counts.kept_bytes), (1, 0));
}

#[tokio::test]
async fn an_answer_that_is_no_success_is_told() {
    let Here { sources, .. } = &here(SourceConfig::default());
    let fake = Fake::new(|_| answer("403 Forbidden", "", b"component"));
    let fetch = at(fake.url("/x.wasm"), b"component");
    let error = sources.fetch(&fetch, None).await.unwrap_err().to_string();
    assert!(
        error.contains("spec.source.http.url") && error.contains("403"),
        "{error}"
    );
}

#[tokio::test]
async fn a_fetch_ends_in_time_however_the_server_drags_it_out() {
    let config = SourceConfig {
        time: Duration::from_millis(200),
        ..SourceConfig::default()
    };
    let Here { sources, .. } = &here(config);
    let fake = Fake::new(|_| super::fake::Reply::Hangs(Vec::new()));
    let fetch = at(fake.url("/x.wasm"), b"component");
    let error = sources.fetch(&fetch, None).await.unwrap_err().to_string();
    assert!(error.contains("did not come within"), "{error}");
    assert_eq!(sources.counts().running, 0);
}

#[tokio::test]
async fn an_artifact_that_is_to_be_verified_is_not_taken_from_disk_unverified() {
    let Here { sources, .. } = &here(SourceConfig::default());
    let component = b"component";
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "config": { "mediaType": artifact::CONFIG, "digest": digest(b"{}"), "size": 2 },
        "layers": [{ "mediaType": artifact::LAYER, "digest": digest(component), "size": 9 }],
    })
    .to_string();
    let tagged = manifest.clone();
    let fake = Fake::new(move |path| match path {
        "/v2/app/manifests/v1" => ok(tagged.as_bytes()),
        path if path.starts_with("/v2/app/blobs/") => ok(component),
        _ => answer("404 Not Found", "", b""),
    });
    let image = format!("{}/app:v1", fake.address);
    let mut fetch = Fetch {
        source: serde_json::from_value(serde_json::json!({ "oci": { "image": image } })).unwrap(),
        digest: None,
        resolved: None,
        what: What::Component,
    };
    let fetched = sources.fetch(&fetch, None).await.unwrap();
    let resolved = fetched.image.unwrap();
    assert_eq!(resolved.digest, digest(manifest.as_bytes()));
    fetch.resolved = Some(resolved.digest);
    assert!(
        sources.near(&fetch, None).await.is_ok(),
        "all of it is kept"
    );
    let pem = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE0CkjQoIdpCK1nKyxozdOzmAnt/6MAwIU0NOOoT5SSmu2g6si0oFYOjAhA1n4wT0m/vwbNdyAuxLhxKdTEy84xw==\n-----END PUBLIC KEY-----";
    let verify = serde_json::json!({ "publicKeys": [{ "pem": pem }] });
    fetch.source.oci.as_mut().unwrap().verify = serde_json::from_value(verify).unwrap();
    let unverified = sources.near(&fetch, None).await;
    assert_eq!(unverified, Err(SourceError::NotKept));
    let unsigned = sources.fetch(&fetch, None).await.unwrap_err();
    assert!(matches!(unsigned, SourceError::Unsigned(_)), "{unsigned}");
}

#[tokio::test]
async fn a_slow_server_leaves_turns_to_the_others() {
    let forever = Duration::from_secs(3600);
    let config = SourceConfig {
        time: forever,
        idle: forever,
        ..SourceConfig::default()
    };
    let Here { sources, .. } = &here(config);
    let slow = Fake::new(|_| super::fake::Reply::Hangs(Vec::new()));
    let good = Fake::new(|_| ok(b"component"));
    let hanging = (0..6).map(|number: u8| {
        let fetch = at(slow.url(&format!("/{number}")), &[number]);
        async move { sources.fetch(&fetch, None).await }
    });
    let fetching = async {
        // As many as may be under way there are.
        while slow.seen().len() < 2 {
            tokio::task::yield_now().await;
        }
        sources.fetch(&at(good.url("/x"), b"component"), None).await
    };
    let soon = Duration::from_secs(30);
    let fetched = tokio::select! {
        biased;
        _ = futures::future::join_all(hanging) => panic!("nobody answered"),
        fetched = tokio::time::timeout(soon, fetching) => fetched.expect("it has a turn"),
    };
    assert!(fetched.is_ok(), "{fetched:?}");
    assert_eq!(slow.seen().len(), 2);
}
