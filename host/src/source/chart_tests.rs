//! Bundles whose charts are on servers of these tests.

use super::super::fake::{Fake, answer, ok};
use super::super::{Fetch, Keep, SourceConfig, What};
use super::*;
use kybern_interface::Source;
use serde_json::{Value, json};

const CHART: &[u8] = b"a chart, as far as a server knows";

struct Here {
    sources: Sources,
    folder: tempfile::TempDir,
}

fn here() -> Here {
    let folder = tempfile::tempdir().unwrap();
    let keep = Keep::open(&folder.path().join("kept"), 1 << 20).unwrap();
    let sources = Sources::new(SourceConfig::default(), keep, Vec::new());
    Here { sources, folder }
}

fn yaml(url: &str, digest: &str) -> String {
    format!(
        "repositories: {{ours: '{url}'}}\ncharts: {{ours/web: {{version: 1.2.0+a, digest: '{digest}'}}}}\n"
    )
}

impl Here {
    /// A bundle in a folder of the host, with a chart of this repository.
    fn bundle(&self, url: &str, digest: &str, repositories: Value) -> Fetch {
        let at = self.folder.path().join("bundle");
        std::fs::create_dir_all(&at).unwrap();
        std::fs::write(at.join(pins::FILE), yaml(url, digest)).unwrap();
        Fetch {
            source: Source {
                file: Some(at.to_string_lossy().into_owned()),
                ..Source::default()
            },
            digest: None,
            resolved: None,
            what: What::Bundle(serde_json::from_value(repositories).unwrap()),
        }
    }

    async fn refused(&self, url: &str, digest: &str) -> (String, &'static str) {
        let fetch = self.bundle(url, digest, json!({}));
        let error = self.sources.fetch(&fetch, None).await.unwrap_err();
        (error.to_string(), error.problem(false).reason)
    }
}

fn index(url: &str, digest: &str) -> String {
    format!("entries: {{web: [{{version: 1.2.0+a, urls: ['{url}'], digest: '{digest}'}}]}}")
}

/// A server with an index that says this, and a chart.
fn server(index: String) -> Fake {
    Fake::new(move |path| match path {
        "/stable/index.yaml" => ok(index.as_bytes()),
        "/stable/charts/web.tgz" => ok(CHART),
        _ => answer("404 Not Found", "", b""),
    })
}

#[tokio::test]
async fn a_chart_of_a_server_is_part_of_the_bundle_and_is_fetched_once() {
    let here = here();
    let pinned = digest(CHART);
    let fake = server(index("charts/web.tgz", &pinned[7..]));
    let fetch = here.bundle(&fake.url("/stable"), &pinned, json!({}));
    let near = here.sources.near(&fetch, None).await;
    assert_eq!(near, Err(SourceError::NotKept));
    let fetched = here.sources.fetch(&fetch, None).await.unwrap();
    let bundle = Bundle::parse(&fetched.bytes).unwrap();
    assert_eq!(bundle.read("ours/web.tgz"), Some(CHART));
    assert_eq!(bundle.digest(), fetched.digest);
    assert_eq!(here.sources.near(&fetch, None).await, Ok(fetched.clone()));
    assert_eq!(fake.seen().len(), 2);

    // What lies in the bundle is not fetched at all, and is the same bundle.
    let own = self::here();
    let fetch = own.bundle("https://nowhere.invalid/", &pinned, json!({}));
    let folder = own.folder.path().join("bundle/ours");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("web.tgz"), CHART).unwrap();
    let vendored = own.sources.near(&fetch, None).await.unwrap();
    let vendored = Bundle::parse(&vendored.bytes).unwrap();
    assert_eq!(vendored.read("ours/web.tgz"), Some(CHART));
    std::fs::write(folder.join("web.tgz"), b"another").unwrap();
    let error = own.sources.near(&fetch, None).await.unwrap_err();
    assert!(
        error.to_string().contains("ours/web.tgz of the bundle"),
        "{error}"
    );
    assert_eq!(error.problem(false).reason, "DigestMismatch");
}

#[tokio::test]
async fn a_chart_of_a_registry_is_found_by_its_kind_of_layer() {
    let here = here();
    let pinned = digest(CHART);
    let layer = |kind: &str, of: &[u8]| {
        let kind = format!("application/vnd.cncf.helm.chart.{kind}");
        json!({ "mediaType": kind, "digest": digest(of), "size": of.len() })
    };
    let manifest = json!({
        "schemaVersion": 2,
        "config": { "mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": digest(b"{}"), "size": 2 },
        "layers": [layer("provenance.v1.prov", b"who"), layer("content.v1.tar+gzip", CHART)],
    })
    .to_string();
    let fake = Fake::new(move |path| match path {
        "/v2/charts/web/manifests/1.2.0_a" => ok(manifest.as_bytes()),
        path if path.ends_with(&digest(CHART)) => ok(CHART),
        _ => answer("404 Not Found", "", b""),
    });
    // The registration says where the repository is for this host.
    let mirror = json!({ "ours": { "url": format!("oci://{}/charts", fake.address) } });
    let fetch = here.bundle("oci://nowhere.invalid/charts", &pinned, mirror);
    let fetched = here.sources.fetch(&fetch, None).await.unwrap();
    let bundle = Bundle::parse(&fetched.bytes).unwrap();
    assert_eq!(bundle.read("ours/web.tgz"), Some(CHART));

    let at = format!("oci://{}/charts", fake.address);
    let (told, reason) = here.refused(&at, &digest(b"other")).await;
    assert_eq!(reason, "DigestMismatch");
    let start = format!("charts.yaml: ours/web 1.2.0+a of {at}: ");
    assert!(told.starts_with(&start) && told.contains(&pinned), "{told}");
    assert_eq!(
        fake.asked("/v2/charts/web/blobs/").len(),
        1,
        "what is not wanted is not fetched"
    );
    let gone = format!("oci://{}/none", fake.address);
    let (told, reason) = here.refused(&gone, &digest(b"other")).await;
    assert!(
        told.contains("helm push") && reason == "SourceUnavailable",
        "{told}"
    );
}

#[tokio::test]
async fn a_server_that_lies_is_told_with_chart_place_and_cure() {
    let pinned = digest(CHART);
    let other = digest(b"other");
    let large = "#".repeat(MOST_OF_INDEX + 1);
    for (index, says, is) in [
        (
            index("charts/web.tgz", &other),
            "pin the digest that you reviewed",
            "DigestMismatch",
        ),
        (
            index("charts/none.tgz", &pinned),
            "none.tgz answers 404",
            "SourceUnavailable",
        ),
        (
            index("oci://r.example/web:1", ""),
            "name that registry as the repository",
            "SourceUnavailable",
        ),
        (index("", ""), "does not say where", "SourceUnavailable"),
        (
            "entries: {web: []}".to_owned(),
            "there are: ",
            "SourceUnavailable",
        ),
        (
            "<html>".to_owned(),
            "is no index of charts",
            "SourceUnavailable",
        ),
        (large, "at most 33554432 are read", "SourceTooLarge"),
    ] {
        let fake = server(index);
        let url = fake.url("/stable/");
        let (told, reason) = here().refused(&url, &pinned).await;
        let start = format!("charts.yaml: ours/web 1.2.0+a of {url}: ");
        assert!(told.starts_with(&start) && told.contains(says), "{told}");
        assert_eq!(reason, is, "{told}");
    }
    // An archive that is not what the index says of it.
    let fake = server(index("charts/web.tgz", ""));
    let (told, reason) = here().refused(&fake.url("/stable/"), &other).await;
    assert!(told.contains(&format!("web.tgz is {pinned}")), "{told}");
    assert_eq!(reason, "DigestMismatch");
}

#[tokio::test]
async fn an_index_leads_to_no_place_that_a_redirect_may_not_lead_to() {
    let web = Web::new(SourceConfig::default(), Vec::new());
    let index: Url = "https://charts.example/index.yaml".parse().unwrap();
    for (archive, says) in [
        ("http://127.0.0.1:1/web.tgz", "from https only to https"),
        ("https://127.0.0.1:1/web.tgz", "is a loopback address"),
        ("https://169.254.169.254/web.tgz", "is a link-local address"),
    ] {
        let ask = named(index.clone(), archive.parse().unwrap());
        let told = web.send(ask).await.unwrap_err().to_string();
        assert!(told.contains(says), "{told}");
    }
}

#[tokio::test]
async fn what_a_chart_is_called_is_no_second_name_of_a_folder() {
    let here = here();
    let fetch = here.bundle("https://nowhere.invalid/", &digest(CHART), json!({}));
    let folder = here.folder.path().join("bundle/ours/web");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("Chart.yaml"), "name: web").unwrap();
    let error = here.sources.near(&fetch, None).await.unwrap_err();
    assert!(
        error.to_string().contains("a folder ours/web/ too"),
        "{error}"
    );
    assert_eq!(error.problem(false).reason, "InvalidBundle");
}

#[tokio::test]
async fn a_command_asks_with_the_users_docker_config() {
    let fake = Fake::new(|_| {
        answer(
            "401 Unauthorized",
            "www-authenticate: Basic realm=\"x\"\r\n",
            b"",
        )
    });
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    let auths = json!({ "auths": { &fake.address: { "auth": "dTpw" } } });
    std::fs::write(&config, auths.to_string()).unwrap();
    let limits = SourceConfig::default;
    let mut bundle = Bundle::default();
    let url = format!("oci://{}/charts", fake.address);
    bundle
        .insert(pins::FILE, yaml(&url, &digest(CHART)).into())
        .unwrap();
    let nobody = Sources::new(limits(), Keep::default(), Vec::new());
    let told = nobody
        .complete(bundle.clone())
        .await
        .unwrap_err()
        .to_string();
    assert!(told.contains("give user and password"), "{told}");
    let somebody = Sources::of_user(limits(), Keep::default(), Vec::new(), Some(config));
    let told = somebody.complete(bundle).await.unwrap_err().to_string();
    assert!(told.contains("is wrong, or may not do it"), "{told}");
    let last = fake.seen().pop().unwrap();
    assert!(last.contains("authorization: basic dtpw"), "{last}");
}
