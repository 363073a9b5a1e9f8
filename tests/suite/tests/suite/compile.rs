//! A component that is cheap to send and dear to compile costs its own registration, and nobody else.

use crate::scene::{SOON, Scene, condition};
use anyhow::{Context, Result, ensure};
use kybern_testcluster::{Host, Object, Progress, Stopwatch, guest, until};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Seconds of processor time for one component.
const LIMIT: u64 = 10;
/// Compiling so many takes several times that, for the time grows with their square.
const FILLS: usize = 100_000;

/// What compiles has a low priority: beside other tests it may wait for its processor time.
const LATE: Duration = Duration::from_secs(300);

fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(u8::try_from(number & 0x7f | 0x80).unwrap());
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

fn section(id: u8, body: &[u8]) -> Vec<u8> {
    [&[id], leb128(body.len()).as_slice(), body].concat()
}

/// The hostile plugin, with one more module: a function that fills a table again and again.
fn bomb() -> Result<Vec<u8>> {
    // No locals; i32.const 0, ref.null func, i32.const 0, table.fill 0; end.
    let fill = [0x41, 0, 0xd0, 0x70, 0x41, 0, 0xfc, 0x11, 0];
    let body = [&[0], fill.repeat(FILLS).as_slice(), &[0x0b]].concat();
    let code = [leb128(1), leb128(body.len()), body].concat();
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &[1, 0x60, 0, 0]),
        section(3, &[1, 0]),
        section(4, &[1, 0x70, 0, 1]),
        section(10, &code),
    ];
    let mut component = std::fs::read(guest("kybern-evil")?)?;
    component.extend(section(1, &module.concat()));
    Ok(component)
}

/// The processes that compile for a host.
fn compiling(host: &mut Host) -> Vec<PathBuf> {
    let parent = host.process().id().to_string();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let of_host = |process: &PathBuf| {
        let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
        let mut after = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        // State, then the parent; one that has ended and was not waited for is gone.
        after.next() != Some("Z") && after.next() == Some(&parent)
    };
    all.map(|entry| entry.path()).filter(of_host).collect()
}

/// A line of the metrics begins like this.
fn counted(host: &Host, line: &str) -> Result<bool> {
    Ok(host.metrics()?.lines().any(|one| one.starts_with(line)))
}

fn ready(scene: &Scene, object: &Object, reason: &str) -> Result<Value> {
    condition(scene.client(), object, "Ready", |c| c["reason"] == reason)
}

#[test]
fn a_component_that_cannot_be_compiled_in_time_holds_up_nobody_and_is_not_tried_twice() -> Result<()>
{
    let mut scene = Scene::new("compile")?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("bomb.wasm");
    std::fs::write(&file, bomb()?)?;
    let (good, mut bomb) = (scene.appservice()?, scene.evil()?);
    bomb["spec"]["source"] = json!({ "file": file });
    scene.grant(&[good.clone(), bomb.clone()])?;
    let compiled = folder.path().join("compiled");
    let arguments = [
        format!("--compile-time={LIMIT}s"),
        format!("--compiled={}", compiled.display()),
    ];
    let arguments = [arguments[0].as_str(), arguments[1].as_str()];
    let mut host = scene.launch(&arguments)?;
    host.wait_ready()?;
    scene.client().create(&bomb)?;
    let refused = Object::of(&bomb)?;
    ready(&scene, &refused, "Compiling")?;
    let child = until("a process compiles", SOON, || {
        let child = compiling(&mut host).pop();
        Ok(child.into())
    })?;
    let others = Stopwatch::start();
    scene.register(&good)?;
    scene.create_app("web", 1)?;
    println!(
        "beside the bomb another was Ready and had written after {:?}",
        others.elapsed()
    );
    ensure!(
        child.exists(),
        "the other plugin waited until the bomb was refused"
    );
    ready(&scene, &refused, "Compiling")?;

    // What compiles ends with a host that is killed.
    host.process().kill()?;
    until("the process ends", SOON, || {
        Ok(match child.exists() {
            true => Progress::Waiting("it is there".into()),
            false => Progress::Done(()),
        })
    })?;

    let begun = Stopwatch::start();
    scene.start_host_with(&arguments)?;
    let said = |plugin: &Value| {
        let mut conditions = plugin["status"]["conditions"].as_array()?.iter();
        let is = |c: &&Value| c["type"] == "Ready" && c["reason"] == "CompileLimit";
        conditions.find(is)?["message"].as_str().map(str::to_owned)
    };
    let plugin = scene
        .client()
        .wait_for(&refused, "CompileLimit", LATE, |plugin| {
            said(plugin).is_some()
        })?;
    let message = said(&plugin).context("the condition was there")?;
    println!("the bomb was refused after {:?}", begun.elapsed());
    let begins =
        format!("compiling the component took more than {LIMIT} s of processor time: it has ");
    ensure!(message.starts_with(&begins), "{message}");
    let cure = "split the largest function, or raise --compile-time";
    ensure!(message.contains(cure), "{message}");
    let once = "kybern_plugin_compiles_total{result=\"limit\"} 1";
    ensure!(counted(scene.host(), once)?, "{}", scene.host().metrics()?);

    // Looked at anew, and known: nobody pays for it again.
    let before = scene.client().get(&refused)?;
    let generation = before["metadata"]["generation"].as_i64();
    let change = json!({ "spec": { "paused": true } });
    scene.client().merge_patch(&refused, &change)?;
    scene.wait(&refused, |now| {
        now["status"]["observedGeneration"].as_i64() > generation
    })?;
    ready(&scene, &refused, "CompileLimit")?;
    ensure!(counted(scene.host(), once)?, "{}", scene.host().metrics()?);
    // Its code never came to the cache, that of the other did.
    let kept: Vec<_> = files(&compiled)?;
    ensure!(kept.len() == 1, "{kept:?}");
    Ok(())
}

/// Files with compiled code.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let all = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let mut files: Vec<_> = all.into_iter().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|ext| ext == "cwasm"));
    Ok(files)
}
