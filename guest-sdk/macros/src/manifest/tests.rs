//! What an author can get wrong, and what the compiler then says.

use super::*;
use crate::arguments::Arguments;
use std::fs;

fn krate(folder: &Path) -> Crate {
    Crate {
        name: "my_plugin".into(),
        version: "1.2.3".into(),
        folder: folder.to_owned(),
    }
}

fn build_in(folder: &Path, attribute: &str) -> Result<Built> {
    build(
        &Arguments::parse(attribute.parse().unwrap())?,
        &krate(folder),
    )
}

fn mistake(attribute: &str) -> String {
    match build_in(Path::new("/nonexistent"), attribute) {
        Ok(_) => panic!("accepted: {attribute}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn name_and_version_are_the_crates_and_children_need_only_apply() {
    let built = build_in(
        Path::new("."),
        r#"resource = "example.com/v1/Thing", writes = ["v1/Pod"], write(kind = "apps/v1/Deployment", verbs = ["patch", "delete"])"#,
    )
    .unwrap();
    let manifest = built.manifest;
    assert_eq!(
        (manifest.name.as_str(), manifest.version.as_str()),
        ("my-plugin", "1.2.3")
    );
    let verbs: Vec<_> = manifest
        .writes
        .iter()
        .map(|ask| ask.verbs.clone())
        .collect();
    assert_eq!(
        verbs,
        [
            vec![GrantVerb::Apply],
            vec![GrantVerb::Patch, GrantVerb::Delete]
        ]
    );
    assert_eq!(manifest.status, StatusShape::default());
}

#[test]
fn mistakes_are_explained() {
    let thing = r#"resource = "example.com/v1/Thing", "#;
    for (attribute, expected) in [
        ("", "in charge of nothing"),
        (r#"resource = "Thing""#, "expected a kind like"),
        (
            r#"resource = "example.com/Thing/v1""#,
            "expected a kind like",
        ),
        (r#"crd = "crd.yaml""#, "/nonexistent/crd.yaml: "),
        (r#"colour = "red""#, "unknown argument; there are: name"),
        (&format!(r#"{thing} name = "My Plugin""#), "no DNS label"),
        (&format!(r#"{thing} name = "a", name = "b""#), "given twice"),
        (&format!(r#"{thing} query(name = "a")"#), "`sql` is missing"),
        (
            &format!(r#"{thing} query(name = "a", sql = "SELECT $1")"#),
            "uses 1 parameters, `params` gives 0",
        ),
        (
            &format!(r#"{thing} query(name = "a", sql = "SELECT '$1'", params = ["spec.a"])"#),
            "uses 0 parameters, `params` gives 1",
        ),
        (
            &format!(r#"{thing} query(name = "a", sql = "SELECT $1", params = ["spec..a"])"#),
            "dotted path",
        ),
        (
            &format!(r#"{thing} query(name = "a", sql = "SELECT $1", params = "spec.a")"#),
            "expected a list",
        ),
        (
            &format!(r#"{thing} query(name = "a", sql = "x"), query(name = "a", sql = "y")"#),
            "a name of its own",
        ),
        (
            &format!(r#"{thing} write(kind = "v1/Pod", verbs = ["create"])"#),
            "there are: apply, patch, delete",
        ),
        (
            &format!(r#"{thing} read(kind = "v1/Pod", optional = "yes")"#),
            "expected true or false",
        ),
        (r#"crd(names = "dns-1035-label")"#, "`kind` is missing"),
        (r#"crd(kind = "Thing")"#, "expected a kind like"),
        (
            r#"crd(kind = "example.com/v1/Thing", names = "short")"#,
            "there are: dns-1035-label",
        ),
        (
            r#"crd(kind = "example.com/v1/Thing", scope = "Global")"#,
            "there are: Namespaced, Cluster",
        ),
        (
            r#"crd(kind = "example.com/v1/Thing", scale = ["spec.size"])"#,
            "expected two paths",
        ),
        (
            r#"crd(kind = "example.com/v1/A"), crd(kind = "example.com/v1/B")"#,
            "given twice: the types describe one kind",
        ),
        (
            &format!(r#"{thing} mirror = "v1/Pod""#),
            "there is: apps/v1/Deployment",
        ),
        (
            &format!(
                r#"{thing} mirror = "apps/v1/Deployment", query(name = "deployment", sql = "x")"#
            ),
            "a name of its own",
        ),
        (
            &format!(r#"{thing} capability(name = "disk")"#),
            "there are: http, secrets",
        ),
    ] {
        let message = mistake(attribute);
        assert!(message.contains(expected), "{attribute}: {message}");
    }
}

const CRD: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: things.example.com }
spec:
  group: example.com
  names: { kind: Thing, plural: things }
  versions:
    - { name: v1beta1, storage: false }
    - name: v1
      storage: true
      schema: { openAPIV3Schema: { properties: { status: { properties: { conditions: {} } } } } }
";

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn with(name: &str, crd: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("kybern-macros-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("crd.yaml"), crd).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_crd_says_which_kind_and_what_its_status_has() {
    let folder = Folder::with("good", CRD);
    let built = build_in(&folder.0, r#"crd = "crd.yaml""#).unwrap();
    assert_eq!(built.files, [folder.0.join("crd.yaml")]);
    let [resource] = built.manifest.resources.as_slice() else {
        panic!("{:?}", built.manifest.resources);
    };
    assert_eq!(
        (resource.version.as_str(), resource.kind.as_str()),
        ("v1", "Thing")
    );
    assert_eq!(built.manifest.status.conditions, ConditionsShape::Standard);
    assert!(!built.manifest.status.observed_generation);

    let chosen = build_in(
        &folder.0,
        r#"crd = "crd.yaml", resource = "example.com/v1beta1/Thing""#,
    )
    .unwrap();
    let versions: Vec<_> = chosen
        .manifest
        .resources
        .iter()
        .map(|ask| ask.version.as_str())
        .collect();
    assert_eq!(versions, ["v1beta1"]);
}

#[test]
fn a_crd_that_is_none_is_refused() {
    for (name, crd, expected) in [
        ("yaml", "a: [", "crd.yaml: "),
        (
            "other",
            "apiVersion: v1\nkind: Pod",
            "expected apiextensions.k8s.io/v1",
        ),
        (
            "name",
            &CRD.replace("things.example.com", "thing.example.com"),
            "must be `things.example.com`",
        ),
        (
            "storage",
            &CRD.replace("storage: true", "storage: false"),
            "no version has `storage: true`",
        ),
    ] {
        let folder = Folder::with(name, crd);
        let error = match build_in(&folder.0, r#"crd = "crd.yaml""#) {
            Ok(_) => panic!("{name}: accepted"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[test]
fn a_definition_from_types_is_guessed_as_kubernetes_does() {
    for (kind, plural) in [
        ("Thing", "things"),
        ("Policy", "policies"),
        ("Gateway", "gateways"),
        ("Ingress", "ingresses"),
        ("Batch", "batches"),
    ] {
        let attribute = format!(r#"crd(kind = "example.com/v1/{kind}")"#);
        let built = build_in(Path::new("."), &attribute).unwrap();
        let names = &built.manifest.crds[0]["spec"]["names"];
        assert_eq!(names["plural"], plural);
        assert_eq!(names["listKind"], format!("{kind}List"));
        assert_eq!(built.manifest.resources[0].kind, kind);
        assert_eq!(built.manifest.status, crate::definition::STATUS);
    }
}
