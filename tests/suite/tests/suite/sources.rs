//! Components from a real registry: resolved once, verified, kept; what goes bad stops nothing that runs.

use crate::leader::lead;
use crate::scene::{SOON, Scene, condition};
use anyhow::{Context, Result, ensure};
use kybern_testcluster::{
    Object, PASSWORD, Progress, Registry, Signer, USER, digest, guest, shared, until,
};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The same component with another digest: a custom section of its own at the end, with this text.
fn another(wasm: &[u8], text: &str) -> Vec<u8> {
    let size = u8::try_from(text.len()).unwrap() + 5;
    let mut other = wasm.to_vec();
    other.extend([0, size, 4]);
    other.extend(b"test");
    other.extend(text.as_bytes());
    other
}

/// `kybern plugin ...` with this docker config and standard input.
fn plugin(arguments: &[&str], config: &Path, input: &str) -> Result<Output> {
    let mut child = Command::new(kybern_testcluster::kybern()?)
        .arg("plugin")
        .args(arguments)
        .env("DOCKER_CONFIG", config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .context("stdin")?
        .write_all(input.as_bytes())?;
    Ok(child.wait_with_output()?)
}

/// Standard output of a command that succeeds.
fn told(output: &Output) -> Result<String> {
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {errors}", output.status);
    Ok(String::from_utf8(output.stdout.clone())?)
}

/// A corner with a registry of its own.
struct Shop {
    scene: Scene,
    registry: Registry,
    wasm: Vec<u8>,
}

impl Shop {
    fn new(name: &str, registry: Registry) -> Result<Self> {
        // Nobody has kept this one: hosts of one user share what they keep.
        let wasm = another(&std::fs::read(guest("appservice")?)?, registry.address());
        Ok(Self {
            scene: Scene::new(name)?,
            registry,
            wasm,
        })
    }

    fn image(&self, tag: &str) -> String {
        format!("{}/plugins/app:{tag}", self.registry.address())
    }

    /// Pushes a component as people do; its manifest's digest.
    fn push(&self, wasm: &[u8], tag: &str) -> Result<String> {
        let folder = self.registry.folder();
        let file = folder.join("pushed.wasm");
        std::fs::write(&file, wasm)?;
        let config = self.registry.docker_config();
        std::fs::write(folder.join("config.json"), config.to_string())?;
        let arguments = ["push", &file.to_string_lossy(), &self.image(tag)];
        let text = told(&plugin(&arguments, folder, "")?)?;
        ensure!(
            text.contains(&format!("digest: {}", digest(wasm))),
            "{text}"
        );
        let (_, manifest) = text.split_once('@').context("a reference")?;
        Ok(manifest.lines().next().unwrap_or_default().to_owned())
    }

    /// A registration of the image.
    fn registration(&self, oci: &Value) -> Result<Value> {
        let mut registration = self.scene.appservice()?;
        registration["spec"]["source"] = json!({ "oci": oci });
        Ok(registration)
    }

    /// Changes the source of a registration.
    fn change(&self, registration: &mut Value, spec: &Value) -> Result<Object> {
        let object = Object::of(registration)?;
        for (field, value) in spec.as_object().context("fields")? {
            registration["spec"][field] = value.clone();
        }
        self.scene.grant(std::slice::from_ref(registration))?;
        self.scene
            .client()
            .merge_patch(&object, &json!({ "spec": spec }))?;
        Ok(object)
    }

    /// Waits for a condition with this reason; its message.
    fn reason(&self, object: &Object, kind: &str, reason: &str) -> Result<String> {
        let client = self.scene.client();
        let found = condition(client, object, kind, |c| c["reason"] == reason)?;
        Ok(found["message"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until nothing is degraded.
    fn healthy(&self, object: &Object) -> Result<Value> {
        let client = self.scene.client();
        client.wait_for(object, "no Degraded", SOON, |p| {
            p["status"]["conditions"]
                .as_array()
                .is_some_and(|all| all.iter().all(|c| c["type"] != "Degraded"))
        })
    }

    /// Whether passes are made: a changed size reaches the Deployment.
    fn works(&self, size: u32) -> Result<()> {
        let (app, deployment, _) = self.scene.app_objects("web");
        let spec = json!({ "spec": { "size": size } });
        self.scene.client().merge_patch(&app, &spec)?;
        self.scene
            .wait(&deployment, |d| d["spec"]["replicas"] == size)?;
        Ok(())
    }
}

#[test]
fn a_tag_that_moves_to_another_digest_is_a_condition_and_the_last_good_component_goes_on()
-> Result<()> {
    let mut shop = Shop::new("ocimoved", Registry::open()?)?;
    let first = digest(&shop.wasm);
    let pushed = shop.push(&shop.wasm, "v1")?;
    let oci = json!({ "image": shop.image("v1"), "pollInterval": "10s" });
    let mut registration = shop.registration(&oci)?;
    registration["spec"]["digest"] = json!(first);
    shop.scene.grant(std::slice::from_ref(&registration))?;
    shop.scene.start_host()?;
    let object = shop.scene.register(&registration)?;
    let status = shop.scene.client().get(&object)?["status"].clone();
    assert_eq!(status["active"]["digest"], json!(first), "{status}");
    let resolved = json!({ "image": shop.image("v1"), "digest": pushed });
    assert_eq!(status["resolved"], resolved, "{status}");
    shop.scene.create_app("web", 1)?;

    let moved = another(&shop.wasm, "moved");
    let second = digest(&moved);
    let pushed = shop.push(&moved, "v1")?;
    let message = shop.reason(&object, "Degraded", "DigestMismatch")?;
    for part in ["last good version", first.as_str(), second.as_str()] {
        assert!(message.contains(part), "{message}");
    }
    shop.works(3)?;
    let status = shop.scene.client().get(&object)?["status"].clone();
    assert_eq!(status["resolved"], resolved, "{status}");
    assert_eq!(status["conditions"][0]["status"], "True", "{status}");

    // Once it is the one that is pinned, it is taken up.
    shop.change(&mut registration, &json!({ "digest": second }))?;
    shop.scene
        .wait(&object, |p| p["status"]["active"]["digest"] == second)?;
    let plugin = shop.healthy(&object)?;
    assert_eq!(plugin["status"]["resolved"]["digest"], json!(pushed));
    assert_eq!(plugin["status"]["previous"][0]["digest"], json!(first));
    shop.works(4)
}

#[test]
fn a_tag_is_resolved_once_and_a_restart_needs_no_registry() -> Result<()> {
    let mut shop = Shop::new("ocionce", Registry::open()?)?;
    let first = digest(&shop.wasm);
    shop.push(&shop.wasm, "v1")?;
    let registration = shop.registration(&json!({ "image": shop.image("v1") }))?;
    shop.scene.grant(std::slice::from_ref(&registration))?;
    shop.scene.start_host()?;
    let object = shop.scene.register(&registration)?;
    shop.scene.create_app("web", 1)?;
    shop.push(&another(&shop.wasm, "moved"), "v1")?;

    // On a machine that has kept nothing: the digest is asked for, not the tag.
    shop.scene.stop_host()?;
    let folder = tempfile::tempdir()?;
    let compiled = format!("--compiled={}", folder.path().join("compiled").display());
    shop.scene.start_host_with(&[&compiled])?;
    shop.works(2)?;
    let active = |p: &Value| p["status"]["active"]["digest"].clone();
    assert_eq!(active(&shop.scene.client().get(&object)?), json!(first));

    // The registry is gone: what was kept is enough.
    shop.scene.stop_host()?;
    let Shop {
        scene,
        registry,
        wasm,
    } = shop;
    let address = registry.address().to_owned();
    drop(registry);
    let mut scene = scene;
    scene.start_host_with(&[&compiled])?;
    let (app, deployment, _) = scene.app_objects("web");
    scene
        .client()
        .merge_patch(&app, &json!({ "spec": { "size": 3 } }))?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 3)?;
    assert_eq!(active(&scene.client().get(&object)?), json!(digest(&wasm)));

    // Another tag of it cannot be had, and what runs goes on.
    let image = format!("{address}/plugins/app:v2");
    let spec = json!({ "spec": { "source": { "oci": { "image": image } } } });
    scene.client().merge_patch(&object, &spec)?;
    let degraded = condition(scene.client(), &object, "Degraded", |c| {
        c["reason"] == "SourceUnavailable"
    })?;
    let message = degraded["message"].as_str().unwrap_or_default();
    assert!(message.contains("last good version"), "{message}");
    scene
        .client()
        .merge_patch(&app, &json!({ "spec": { "size": 4 } }))?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 4)?;
    Ok(())
}

#[test]
fn a_guarded_registry_is_read_with_the_pull_secret_and_only_with_the_right_one() -> Result<()> {
    let mut shop = Shop::new("ociguard", Registry::guarded()?)?;
    let pushed = shop.push(&shop.wasm, "v1")?;
    let image = format!("{}/plugins/app@{pushed}", shop.registry.address());
    let mut registration = shop.registration(&json!({ "image": image }))?;
    shop.scene.grant(std::slice::from_ref(&registration))?;
    shop.scene.start_host()?;
    let object = shop.scene.submit(&registration)?;
    let message = shop.reason(&object, "Ready", "SourceUnavailable")?;
    assert!(message.contains("pullSecret"), "{message}");

    let secret = |name: &str, config: &Value| {
        shop.scene.client().create(&json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
            "metadata": { "name": name, "namespace": shop.scene.namespace },
            "stringData": { ".dockerconfigjson": config.to_string() },
        }))
    };
    let mut config = shop.registry.docker_config();
    secret("right", &config)?;
    let wrong = json!({ "username": USER, "password": "guessed" });
    config["auths"][shop.registry.address()] = wrong;
    secret("wrong", &config)?;
    let source = |name: &str| {
        let secret = json!({ "namespace": shop.scene.namespace, "name": name });
        json!({ "source": { "oci": { "image": image, "pullSecret": secret } } })
    };
    shop.change(&mut registration, &source("wrong"))?;
    let client = shop.scene.client();
    let refused = condition(client, &object, "Ready", |c| {
        c["message"]
            .as_str()
            .is_some_and(|m| m.contains("is wrong"))
    })?;
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(!message.contains("guessed"), "{message}");
    shop.change(&mut registration, &source("right"))?;
    shop.scene.plugin_condition(&object, "Ready", "True")?;
    shop.scene.create_app("web", 1)?;
    Ok(())
}

#[test]
fn a_wrong_digest_is_a_condition_until_it_is_right() -> Result<()> {
    let mut shop = Shop::new("ociwrong", Registry::open()?)?;
    shop.push(&shop.wasm, "v1")?;
    let mut registration = shop.registration(&json!({ "image": shop.image("v1") }))?;
    let wrong = digest(b"another");
    registration["spec"]["digest"] = json!(wrong);
    shop.scene.grant(std::slice::from_ref(&registration))?;
    shop.scene.start_host()?;
    let object = shop.scene.submit(&registration)?;
    let message = shop.reason(&object, "Ready", "DigestMismatch")?;
    let right = digest(&shop.wasm);
    assert!(
        message.contains(&right) && message.contains(&wrong),
        "{message}"
    );
    shop.change(&mut registration, &json!({ "digest": right }))?;
    shop.scene.plugin_condition(&object, "Ready", "True")?;
    Ok(())
}

#[test]
fn only_what_a_named_key_signed_runs() -> Result<()> {
    let mut shop = Shop::new("ocisigned", Registry::open()?)?;
    let pushed = shop.push(&shop.wasm, "v1")?;
    let (signer, other) = (Signer::new()?, Signer::new()?);
    let keys = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "keys", "namespace": shop.scene.namespace },
        "data": { "cosign.pub": signer.public() },
    });
    shop.scene.client().create(&keys)?;
    let named = json!({
        "namespace": shop.scene.namespace, "name": "keys", "key": "cosign.pub",
    });
    let verify = json!({ "publicKeys": [{ "configMapRef": named }] });
    let oci = json!({ "image": shop.image("v1"), "verify": verify });
    let mut registration = shop.registration(&oci)?;
    shop.scene.grant(std::slice::from_ref(&registration))?;
    shop.scene.start_host()?;
    let object = shop.scene.submit(&registration)?;
    let message = shop.reason(&object, "Ready", "SignatureMissing")?;
    assert!(message.contains("cosign sign --key"), "{message}");

    // Any change has the host look at once; the registry is asked less and less often by itself.
    let mut look = |again: &str| {
        let settings = json!({ "limits": { "concurrency": again.len() } });
        shop.change(&mut registration, &settings)
    };
    let registry = &shop.registry;
    registry.sign("plugins/app", &pushed, &pushed, &other)?;
    look("a")?;
    let message = shop.reason(&object, "Ready", "SignatureInvalid")?;
    assert!(message.contains("none of the keys"), "{message}");
    registry.sign("plugins/app", &pushed, &digest(b"another"), &signer)?;
    look("ab")?;
    let client = shop.scene.client();
    condition(client, &object, "Ready", |c| {
        c["reason"] == "SignatureInvalid"
            && c["message"]
                .as_str()
                .is_some_and(|m| m.contains("another artifact"))
    })?;
    registry.sign("plugins/app", &pushed, &pushed, &signer)?;
    look("abc")?;
    shop.scene.plugin_condition(&object, "Ready", "True")?;

    // With keys that did not sign it, what runs goes on and says so.
    let inline = json!({ "publicKeys": [{ "pem": other.public() }] });
    let oci = json!({ "image": shop.image("v1"), "verify": inline });
    let spec = json!({ "spec": { "source": { "oci": oci } } });
    client.merge_patch(&object, &spec)?;
    shop.reason(&object, "Degraded", "SignatureInvalid")?;
    Ok(())
}

#[test]
fn push_and_pull_carry_a_component_with_the_password_of_who_asks() -> Result<()> {
    let registry = Registry::guarded()?;
    let folder = tempfile::tempdir()?;
    let wasm = guest("appservice")?;
    let image = format!("{}/team/app:v1", registry.address());
    let arguments = ["push", &wasm.to_string_lossy(), &image];
    // Nobody is known here.
    let refused = plugin(&arguments, folder.path(), "")?;
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && text.contains("docker config"),
        "{text}"
    );
    let with = |more: &[&str], password: &str| {
        let arguments = [more, &["--username", USER, "--password-stdin"]].concat();
        plugin(&arguments, folder.path(), password)
    };
    let wrong = with(&arguments, "guessed\n")?;
    assert!(!wrong.status.success());
    let text = told(&with(&arguments, &format!("{PASSWORD}\n"))?)?;
    let reference = text.lines().next().context("a reference")?;
    let reference = reference.strip_prefix("image: ").context("a reference")?;

    // The same component is the same artifact.
    let again = told(&with(&arguments, PASSWORD)?)?;
    assert_eq!(again, text);

    let file = folder.path().join("pulled.wasm");
    let config = registry.docker_config();
    std::fs::write(folder.path().join("config.json"), config.to_string())?;
    let arguments = ["pull", reference, "-o", &file.to_string_lossy()];
    told(&plugin(&arguments, folder.path(), "")?)?;
    assert_eq!(std::fs::read(&file)?, std::fs::read(&wasm)?);
    // What is no plugin is not pushed.
    let text = folder.path().join("text.wasm");
    std::fs::write(&text, "hello")?;
    let refused = plugin(
        &["push", &text.to_string_lossy(), &image],
        folder.path(),
        "",
    )?;
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(told.contains("not a Kybern plugin"), "{told}");
    Ok(())
}

#[test]
fn a_component_at_an_address_runs_and_a_server_that_hangs_holds_up_nobody() -> Result<()> {
    let mut shop = Shop::new("httpsource", Registry::open()?)?;
    let blob = shop.registry.put_blob("plugins/app", &shop.wasm)?;
    let address = shop.registry.address();
    let mut good = shop.registration(&Value::Null)?;
    good["spec"]["source"] =
        json!({ "http": { "url": format!("http://{address}/v2/plugins/app/blobs/{blob}") } });
    good["spec"]["digest"] = json!(blob);

    // It takes connections, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/evil.wasm", silent.local_addr()?);
    let mut hangs = shop.scene.evil()?;
    hangs["spec"]["source"] = json!({ "http": { "url": url } });
    hangs["spec"]["digest"] = json!(digest(b"evil"));
    shop.scene.grant(&[good.clone(), hangs.clone()])?;
    shop.scene.start_host()?;
    shop.scene.client().create(&hangs)?;
    let waiting = Object::of(&hangs)?;
    shop.reason(&waiting, "Ready", "Fetching")?;
    shop.scene.client().create(&good)?;
    shop.scene
        .plugin_condition(&Object::of(&good)?, "Ready", "True")?;
    shop.scene.create_app("web", 1)?;
    let message = shop.reason(&waiting, "Ready", "SourceUnavailable")?;
    assert!(message.contains("nothing came for 15 s"), "{message}");
    Ok(())
}

#[test]
fn a_standby_loads_what_the_leader_resolved_and_takes_over_without_the_registry() -> Result<()> {
    let shop = Shop::new("ocistandby", Registry::open()?)?;
    shop.push(&shop.wasm, "v1")?;
    let registration = shop.registration(&json!({ "image": shop.image("v1") }))?;
    shop.scene.grant(std::slice::from_ref(&registration))?;
    let mut first = shop.scene.launch(&["--leader-elect=true"])?;
    first.wait_ready()?;
    lead(&first)?;
    let object = shop.scene.register(&registration)?;
    shop.scene.create_app("web", 1)?;
    shop.push(&another(&shop.wasm, "moved"), "v1")?;

    // It has kept nothing: what it loads is from the registry, and not what the tag is now.
    let folder = tempfile::tempdir()?;
    let compiled = format!("--compiled={}", folder.path().join("compiled").display());
    let mut second = shop.scene.launch(&["--leader-elect=true", &compiled])?;
    second.wait_ready()?;
    until("the standby to load the component", SOON, || {
        let metrics = second.metrics()?;
        let loaded = |line: &str| line == "kybern_plugins_loaded 1.0";
        Ok(match metrics.lines().any(loaded) {
            true => Progress::Done(()),
            false => Progress::Waiting("nothing is loaded".to_owned()),
        })
    })?;
    let Shop {
        scene,
        registry,
        wasm,
    } = shop;
    drop(registry);
    first.process().kill()?;
    let (app, deployment, _) = scene.app_objects("web");
    let spec = json!({ "spec": { "size": 3 } });
    scene.client().merge_patch(&app, &spec)?;
    scene.wait(&deployment, |d| d["spec"]["replicas"] == 3)?;
    lead(&second)?;
    let plugin = scene.client().get(&object)?;
    assert_eq!(plugin["status"]["active"]["digest"], json!(digest(&wasm)));
    Ok(())
}

#[test]
fn a_server_of_a_private_authority_is_trusted_once_its_certificate_is_named() -> Result<()> {
    let (certificate, key) = shared()?.certificate();
    let mut shop = Shop::new("tls", Registry::over_tls((&certificate, &key))?)?;
    let blob = shop.registry.put_blob("plugins/app", &shop.wasm)?;
    let mut registration = shop.registration(&Value::Null)?;
    let url = shop.registry.blob_url("plugins/app", &blob);
    registration["spec"]["source"] = json!({ "http": { "url": url } });
    registration["spec"]["digest"] = json!(blob);
    shop.scene.grant(std::slice::from_ref(&registration))?;
    shop.scene.start_host()?;
    let plugin = shop.scene.submit(&registration)?;
    let message = shop.reason(&plugin, "Ready", "SourceUnavailable")?;
    for word in [url.as_str(), "SSL_CERT_FILE", "signed by nobody"] {
        assert!(message.contains(word), "`{word}` in: {message}");
    }
    assert!(message.ends_with("certificates to trust"), "{message}");
    shop.scene.stop_host()?;
    let trusted = ("SSL_CERT_FILE".to_owned(), certificate);
    shop.scene.environment.push(trusted);
    shop.scene.start_host()?;
    shop.scene.plugin_condition(&plugin, "Ready", "True")?;
    shop.scene.create_app("web", 1)?;
    Ok(())
}
