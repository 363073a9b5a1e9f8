//! A response follows from the request, the time and the secret, and from nothing else.

use crate::engine::{NOW, chart, engine, prepared, request, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::time::Duration;

/// All that is random in charts, and the time.
const RANDOM: &str = r#"a: {{ randAlphaNum 16 }}
b: {{ randInt 0 1000000000 }}
c: {{ shuffle "abcdefghijklmnopqrstuvwxyz" }}
d: {{ uuidv4 }}
e: {{ randBytes 16 }}
f: {{ htpasswd "user" "word" }}
g: {{ genPrivateKey "ecdsa" | sha256sum }}
h: {{ now | unixEpoch }}
i: {{ dict "a" 1 "b" 2 "c" 3 "d" 4 | keys | join "" }}
"#;

fn lines(engine: &kybern_helm::Engine, template: &str, now: Duration) -> Vec<String> {
    lines_of(engine, template, now, |_| {})
}

fn lines_of(
    engine: &kybern_helm::Engine,
    template: &str,
    now: Duration,
    but: impl FnOnce(&mut serde_json::Value),
) -> Vec<String> {
    let mut request = request(chart(template), json!({}));
    but(&mut request);
    let request = request.to_string();
    let response = engine.render(request.as_bytes(), now).unwrap();
    let response: serde_json::Value = serde_json::from_slice(&response).unwrap();
    let content = response["manifests"][0]["content"].as_str().unwrap();
    content.lines().map(str::to_owned).collect()
}

#[test]
fn the_same_request_gives_the_same_response_from_each_engine() {
    let another = prepared(|_| {});
    let first = lines(engine(), RANDOM, NOW);
    assert_eq!(first, lines(&another, RANDOM, NOW));
    assert_eq!(first.len(), 9);
}

#[test]
fn another_secret_another_time_and_another_release_give_other_random_numbers() {
    let first = lines(engine(), RANDOM, NOW);
    let other_secret = lines(&prepared(|config| config.secret = [2; 32]), RANDOM, NOW);
    let other_time = lines(engine(), RANDOM, NOW + Duration::from_secs(1));
    let other_release = lines_of(engine(), RANDOM, NOW, |request| {
        request["release"]["name"] = json!("another");
    });
    let other_namespace = lines_of(engine(), RANDOM, NOW, |request| {
        request["release"]["namespace"] = json!("another");
    });
    for other in [&other_secret, &other_time, &other_release, &other_namespace] {
        for (one, two) in first.iter().zip(other).take(7) {
            assert_ne!(one, two);
        }
    }
    assert_eq!(first[7], "h: 1767323045");
    assert_eq!(other_secret[7], first[7]);
    assert_eq!(other_time[7], "h: 1767323046");
}

#[test]
fn passwords_stay_when_the_values_the_revision_or_the_cluster_change() {
    let first = lines(engine(), RANDOM, NOW);
    let other = lines_of(
        engine(),
        &format!("{RANDOM}\nz: {{{{ .Values.z }}}}"),
        NOW,
        |request| {
            request["values"] = json!(["z: 1"]);
            request["release"]["revision"] = json!(7);
            request["release"]["isUpgrade"] = json!(true);
            request["capabilities"] = json!({ "kubeVersion": "v1.30.0", "apiVersions": ["x/v1"] });
        },
    );
    assert_eq!(first[..7], other[..7]);
}

#[test]
fn a_packed_chart_has_the_passwords_of_its_folder_and_another_has_others() {
    let packed = |name: &str| {
        let folder = tempfile::tempdir().unwrap();
        let chart = folder.path().join(name);
        std::fs::create_dir_all(chart.join("templates")).unwrap();
        let metadata = format!("apiVersion: v2\nname: {name}\nversion: 0.1.0\n");
        std::fs::write(chart.join("Chart.yaml"), metadata).unwrap();
        std::fs::write(chart.join("templates/t.yaml"), RANDOM).unwrap();
        let mut tar = std::process::Command::new("tar");
        let tar = tar.args(["-cz", name]).current_dir(folder.path());
        json!({ "archive": STANDARD.encode(tar.output().unwrap().stdout) })
    };
    let folder = lines(engine(), RANDOM, NOW);
    let lines = |chart| lines_of(engine(), "", NOW, |request| request["chart"] = chart);
    assert_eq!(lines(packed("c")), folder);
    for (one, two) in lines(packed("d")).iter().zip(&folder).take(7) {
        assert_ne!(one, two);
    }
}

#[test]
fn certificates_begin_at_the_time_that_is_given() {
    let template = r#"{{ $ca := genCA "ca" 10 }}{{ $made := genSignedCert "name" nil (list "a.example") 10 $ca }}
cert: {{ $made.Cert | quote }}
key: {{ $made.Key | quote }}"#;
    let made = text(template, json!({}));
    assert!(
        made.contains("BEGIN CERTIFICATE") && made.contains("BEGIN RSA PRIVATE KEY"),
        "{made}"
    );
}

#[test]
fn nothing_of_this_machine_is_seen() {
    let host = r#"env: {{ getHostByName "localhost" | quote }}
zone: {{ now | date "MST" }}
file: {{ .Files.Get "/etc/hostname" | quote }}"#;
    assert_eq!(text(host, json!({})), "env: \"\"\nzone: UTC\nfile: \"\"");
    let schema = json!({"files": [
        {"path": "Chart.yaml", "text": "apiVersion: v2\nname: c\nversion: 0.1.0\n"},
        {"path": "values.schema.json", "text": "{\"$ref\": \"file:///etc/hostname\"}"},
    ]});
    let response = crate::engine::render(engine(), &request(schema, json!({})));
    assert_eq!(response["error"]["stage"], "values", "{response}");
}
