//! What the engine makes of requests that Helm's own program cannot be asked: lookups, files, errors.

use crate::engine::{chart, engine, render, request, text};
use serde_json::{Value, json};

#[test]
fn a_chart_becomes_manifests_hooks_crds_and_notes() {
    let chart = json!({"files": [
        {"path": "Chart.yaml", "text": "apiVersion: v2\nname: shop\nversion: 1.2.3\nappVersion: \"4\"\n"},
        {"path": "values.yaml", "text": "port: 80\n"},
        {"path": "crds/c.yaml", "text": "kind: CustomResourceDefinition\n"},
        {"path": "templates/NOTES.txt", "text": "Port {{ .Values.port }}"},
        {"path": "templates/b.yaml", "text": "kind: Deployment\nmetadata: {name: {{ .Release.Name }}}\n"},
        {"path": "templates/a.yaml", "text": "kind: Service\nport: {{ .Values.port }}\n---\nkind: Namespace\n"},
        {"path": "templates/h.yaml", "data": "a2luZDogSm9iCm1ldGFkYXRhOgogIG5hbWU6IGgKICBhbm5vdGF0aW9uczoge2hlbG0uc2gvaG9vazogcHJlLWluc3RhbGwsIGhlbG0uc2gvaG9vay13ZWlnaHQ6ICItMyJ9Cg=="},
    ]});
    let values = json!({"values": ["port: 1", "port: 2"]});
    assert_eq!(
        render(engine(), &request(chart, values)),
        json!({
            "manifests": [
                {"source": "shop/templates/a.yaml", "kind": "Namespace", "content": "kind: Namespace\n"},
                {"source": "shop/templates/a.yaml", "kind": "Service", "content": "kind: Service\nport: 2\n"},
                {"source": "shop/templates/b.yaml", "kind": "Deployment", "content": "kind: Deployment\nmetadata: {name: r}\n"},
            ],
            "hooks": [{
                "source": "shop/templates/h.yaml", "kind": "Job", "name": "h", "events": ["pre-install"], "weight": -3,
                "deletePolicies": [],
                "content": "kind: Job\nmetadata:\n  name: h\n  annotations: {helm.sh/hook: pre-install, helm.sh/hook-weight: \"-3\"}\n",
            }],
            "crds": [{"source": "shop/crds/c.yaml", "kind": "CustomResourceDefinition", "content": "kind: CustomResourceDefinition\n"}],
            "notes": "Port 2",
            "missingLookups": [],
        })
    );
}

#[test]
fn a_lookup_is_answered_or_named_as_missing() {
    let template = r#"found: {{ dig "data" "k" "none" (lookup "v1" "Secret" "n" "s") }}
listed: {{ range (lookup "v1" "Pod" "n" "").items }}{{ .metadata.name }},{{ end }}
again: {{ lookup "v1" "Secret" "n" "s" | empty }}"#;
    let missing = json!([
        {"apiVersion": "v1", "kind": "Secret", "namespace": "n", "name": "s"},
        {"apiVersion": "v1", "kind": "Pod", "namespace": "n"},
    ]);
    let first = render(engine(), &request(chart(template), json!({})));
    assert_eq!(first["missingLookups"], missing);
    assert_eq!(
        first["manifests"][0]["content"],
        "found: none\nlisted: \nagain: true"
    );

    let answers = json!({"lookup": [
        {"apiVersion": "v1", "kind": "Secret", "namespace": "n", "name": "s", "object": {"data": {"k": "v"}}},
        {"apiVersion": "v1", "kind": "Pod", "namespace": "n", "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]},
    ]});
    let second = render(engine(), &request(chart(template), answers));
    assert_eq!(second["missingLookups"], json!([]));
    assert_eq!(
        second["manifests"][0]["content"],
        "found: v\nlisted: a,b,\nagain: false"
    );

    let known_absent = json!({"lookup": missing});
    let third = render(engine(), &request(chart(template), known_absent));
    assert_eq!(third["missingLookups"], json!([]));
    assert_eq!(
        third["manifests"][0]["content"],
        first["manifests"][0]["content"]
    );
}

/// The files as a folder's, whoever sends them: Helm's loader of archives ignores nothing.
#[test]
fn files_are_ignored_and_byte_order_marks_dropped_as_in_a_folder() {
    let mut files = chart(
        "\u{feff}files: {{ range $path, $_ := .Files }}{{ $path }} {{ end }}\nbom: {{ .Files.Get \"bom\" | quote }}",
    );
    let more = [
        (".helmignore", "\u{feff}*.bak\nsecret/\n/only-here\n"),
        ("x.bak", ""),
        ("kept/x.txt", ""),
        ("kept/only-here", ""),
        ("only-here", ""),
        ("secret/x.txt", ""),
        ("kept/secret/x.txt", ""),
        ("bom", "\u{feff}text"),
        ("templates/.hidden.yaml", "{{ fail \"not ignored\" }}"),
    ];
    let list = files["files"].as_array_mut().unwrap();
    list.extend(more.map(|(path, text)| json!({"path": path, "text": text})));
    let response = render(engine(), &request(files, json!({})));
    assert_eq!(
        response["manifests"][0]["content"],
        "files: .helmignore bom kept/only-here kept/x.txt \nbom: \"text\"",
        "{response}"
    );
}

#[test]
fn what_is_wrong_is_named_with_its_stage() {
    let said = |request: &str| {
        let response = engine()
            .render(request.as_bytes(), crate::engine::NOW)
            .unwrap();
        let response: Value = serde_json::from_slice(&response).unwrap();
        let error = &response["error"];
        format!(
            "{}: {}",
            error["stage"].as_str().unwrap(),
            error["message"].as_str().unwrap()
        )
    };
    let of = |chart: Value, more: Value| said(&request(chart, more).to_string());
    let with = |path: &str, text: &str| {
        let mut files = chart("a: 1");
        files["files"]
            .as_array_mut()
            .unwrap()
            .push(json!({"path": path, "text": text}));
        files
    };
    let cases = [
        (said("{"), "request: unexpected EOF"),
        (said("{} {}"), "request: more than one document"),
        (
            said("{\"version\":2}"),
            "request: version 2; this engine knows version 1",
        ),
        (
            said("{\"chrat\":{}}"),
            "request: json: unknown field \"chrat\"",
        ),
        (said("{}"), "load: the request holds no chart"),
        (of(json!({"archive": "AAAA"}), json!({})), "load: "),
        (
            of(with("../x", ""), json!({})),
            "load: \"../x\" is no path inside a chart",
        ),
        (of(with("Chart.lock", "}"), json!({})), "load: "),
        (of(chart("a: 1"), json!({"values": ["a: ["]})), "values: "),
        (
            of(
                with("values.schema.json", "{\"required\": [\"size\"]}"),
                json!({}),
            ),
            "values: ",
        ),
        (
            of(
                chart("a: 1"),
                json!({"capabilities": {"kubeVersion": "new"}}),
            ),
            "capabilities: ",
        ),
        (
            of(chart("{{ fail \"no size given\" }}"), json!({})),
            "render: execution error at (c/templates/t.yaml:1:3): no size given",
        ),
        (
            of(chart("{{ required \"name it\" .Values.name }}"), json!({})),
            "render: execution error at (c/templates/t.yaml:1:3): name it",
        ),
        (of(chart("{{ .Values.a.b }}"), json!({})), "render: "),
        (
            of(chart("{{ nothing }}"), json!({})),
            "render: parse error at (c/templates/t.yaml:1): function \"nothing\" not defined",
        ),
        (
            of(chart("a: [{{ env \"HOME\" }}"), json!({})),
            "render: parse error",
        ),
        (
            of(chart("a: ["), json!({})),
            "sort: YAML parse error on c/templates/t.yaml",
        ),
    ];
    for (said, expected) in cases {
        assert!(
            said.starts_with(expected),
            "{said:?} instead of {expected:?}"
        );
    }
}

#[test]
fn capabilities_and_release_are_the_requests() {
    let template = r#"v: {{ .Capabilities.KubeVersion.Version }} {{ .Capabilities.KubeVersion.Minor }}
has: {{ .Capabilities.APIVersions.Has "apps/v1" }} {{ .Capabilities.APIVersions.Has "batch/v1" }}
release: {{ .Release | toJson }}"#;
    let upgrade =
        json!({"release": {"name": "x", "namespace": "y", "revision": 7, "isUpgrade": true}});
    assert_eq!(
        text(template, upgrade),
        "v: v1.37.0 37\nhas: true false\n\
         release: {\"IsInstall\":false,\"IsUpgrade\":true,\"Name\":\"x\",\"Namespace\":\"y\",\"Revision\":7,\"Service\":\"Helm\"}"
    );
}
