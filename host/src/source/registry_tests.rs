//! A registry that lies, against what is taken from it.

use super::super::artifact::{CONFIG, LAYER};
use super::super::fake::{Fake, Reply, answer, ok, redirect};
use super::super::limits::SourceConfig;
use super::super::oci::{Pulled, pull};
use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::sync::Arc;

const MOST: usize = 1_000_000;
const COMPONENT: &[u8] = b"a component, as far as a registry knows";

/// A manifest of a component with this digest and size.
fn manifest(layer: &str, size: u64) -> Vec<u8> {
    let config = digest(b"{}");
    json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": { "mediaType": CONFIG, "digest": config, "size": 2 },
        "layers": [{ "mediaType": LAYER, "digest": layer, "size": size }],
    })
    .to_string()
    .into_bytes()
}

fn good() -> Vec<u8> {
    manifest(&digest(COMPONENT), COMPONENT.len().try_into().unwrap())
}

/// A registry with one manifest and one layer.
fn registry(manifest: Vec<u8>, layer: impl Fn() -> Reply + Send + Sync + 'static) -> Fake {
    Fake::new(move |path| match path {
        path if path.starts_with("/v2/team/app/manifests/") => ok(&manifest),
        path if path.starts_with("/v2/team/app/blobs/") => layer(),
        _ => answer("404 Not Found", "", b""),
    })
}

async fn get(
    fake: &Fake,
    which: &str,
    credentials: Option<Credentials>,
) -> Result<Pulled, SourceError> {
    let reference = Reference::parse(&format!("{}/team/app{which}", fake.address))?;
    let web = Web::new(SourceConfig::default(), Vec::new());
    let mut registry = Registry::new(&web, &reference, "here", credentials, Access::Pull)?;
    pull(&mut registry, &reference, MOST).await
}

#[tokio::test]
async fn a_tag_and_a_digest_lead_to_the_same_component() {
    let fake = registry(good(), || ok(COMPONENT));
    let by_tag = get(&fake, ":v1", None).await.unwrap();
    assert_eq!(by_tag.bytes, COMPONENT);
    assert_eq!(by_tag.manifest, digest(&good()));
    let which = format!("@{}", by_tag.manifest);
    assert_eq!(get(&fake, &which, None).await.unwrap().bytes, COMPONENT);
    let head = &fake.asked("/v2/team/app/manifests/v1")[0];
    assert!(head.contains(&format!("accept: {MANIFEST}")), "{head}");
}

#[tokio::test]
async fn a_manifest_of_another_digest_is_not_taken() {
    let fake = registry(good(), || ok(COMPONENT));
    let which = format!("@{}", digest(b"another"));
    let error = get(&fake, &which, None).await.err().unwrap();
    assert!(
        matches!(&error, SourceError::Digest(why) if why.contains("manifest")),
        "{error}"
    );
    assert!(fake.asked("/v2/team/app/blobs/").is_empty());
}

#[tokio::test]
async fn a_layer_of_another_digest_length_or_size_is_not_taken() {
    let told = |layer: &'static [u8]| async move {
        let fake = registry(good(), move || ok(layer));
        let error = get(&fake, ":v1", None).await.err().unwrap();
        assert!(error.to_string().starts_with("here"), "{error}");
        error
    };
    let forged = b"b component, as far as a registry knows";
    assert!(matches!(told(forged).await, SourceError::Digest(_)));
    let short = told(&COMPONENT[..10]).await;
    assert!(
        short.to_string().contains("ends after 10 of 39 bytes"),
        "{short}"
    );
    let long = told(b"a component, as far as a registry knows, and more").await;
    assert!(matches!(long, SourceError::TooLarge(_)), "{long}");
}

#[tokio::test]
async fn a_layer_that_breaks_off_is_not_taken() {
    let fake = registry(good(), || {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\na comp",
            COMPONENT.len()
        );
        Reply::Whole(head.into_bytes())
    });
    let error = get(&fake, ":v1", None).await.err().unwrap();
    assert!(error.to_string().contains("broke off"), "{error}");
}

#[tokio::test]
async fn ten_gigabytes_are_refused_before_they_are_asked_for() {
    let fake = registry(manifest(&digest(COMPONENT), 10 << 30), || ok(COMPONENT));
    let error = get(&fake, ":v1", None).await.err().unwrap();
    assert!(
        matches!(&error, SourceError::TooLarge(why) if why.contains("10737418240")),
        "{error}"
    );
    assert!(fake.asked("/v2/team/app/blobs/").is_empty());
}

#[tokio::test]
async fn ten_gigabytes_that_only_the_answer_claims_are_refused_before_they_are_read() {
    let fake = registry(good(), || {
        Reply::Hangs(b"HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n".to_vec())
    });
    let error = get(&fake, ":v1", None).await.err().unwrap();
    assert!(
        matches!(&error, SourceError::TooLarge(why) if why.contains("10737418240")),
        "{error}"
    );
}

#[tokio::test]
async fn a_manifest_without_end_is_not_read() {
    let huge = vec![b' '; SourceConfig::default().manifest_bytes + 1];
    let fake = registry(huge, || ok(COMPONENT));
    let error = get(&fake, ":v1", None).await.err().unwrap();
    assert!(matches!(error, SourceError::TooLarge(_)), "{error}");
}

#[tokio::test]
async fn a_token_is_got_with_the_password_and_goes_to_the_registry_alone() {
    let store = Fake::new(|_| ok(COMPONENT));
    let away = store.url("/bytes");
    let own: Arc<std::sync::OnceLock<String>> = Arc::default();
    let me = Arc::clone(&own);
    let fake = Fake::with_head(move |path, head| {
        let realm = format!("http://{}/token", me.get().unwrap());
        let wants = format!("www-authenticate: Bearer realm=\"{realm}\",service=\"it\"\r\n");
        let basic = format!("basic {}", STANDARD.encode("u:p")).to_lowercase();
        match path {
            path if path.starts_with("/token") => match head.contains(&basic) {
                true => ok(br#"{"token":"t0ken"}"#),
                false => answer("401 Unauthorized", "", b""),
            },
            _ if !head.contains("bearer t0ken") => answer("401 Unauthorized", &wants, b""),
            path if path.contains("/blobs/") => redirect(&away),
            _ => ok(&good()),
        }
    });
    own.set(fake.address.clone()).unwrap();
    let user = Some(Credentials::new("u", "p"));
    let got = get(&fake, ":v1", user).await.unwrap();
    assert_eq!(got.bytes, COMPONENT);
    let token = &fake.asked("/token")[0];
    assert!(
        token.contains("scope=repository%3ateam%2fapp%3apull"),
        "{token}"
    );
    assert!(token.contains("service=it"), "{token}");
    assert_eq!(fake.asked("/token").len(), 1, "one token is enough");
    assert!(!store.seen()[0].contains("authorization"));

    let nobody = get(&fake, ":v1", None).await.err().unwrap().to_string();
    assert!(nobody.contains("pullSecret"), "{nobody}");
    let wrong = Some(Credentials::new("u", "q"));
    let refused = get(&fake, ":v1", wrong).await.err().unwrap().to_string();
    assert!(refused.contains("user or password"), "{refused}");
}

#[tokio::test]
async fn what_is_not_there_is_told_with_the_place() {
    let fake = Fake::new(|_| answer("404 Not Found", "", b""));
    let error = get(&fake, ":v1", None).await.err().unwrap().to_string();
    assert!(
        error.starts_with("here") && error.contains("team/app:v1"),
        "{error}"
    );
    let fake = Fake::new(|_| {
        let body = br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"go away"}]}"#;
        answer("429 Too Many Requests", "", body)
    });
    let error = get(&fake, ":v1", None).await.err().unwrap().to_string();
    assert!(
        error.contains("429") && error.contains("(TOOMANYREQUESTS)"),
        "{error}"
    );
    assert!(!error.contains("go away"), "{error}");
}
