//! `kybern plugin push`: puts a component into a registry.

use crate::args::{CredentialArgs, PushArgs};
use crate::source::{self, Access, Credentials, Reference, Registry, SourceConfig, Web};
use crate::terminal::say;
use anyhow::{Context, bail};
use bytes::Bytes;
use kybern_interface::Manifest;
use std::collections::BTreeMap;
use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

/// Longest password that is read.
const LONGEST: u64 = 64 << 10;

/// Pushes it, and prints what a registration names.
pub(super) async fn run(args: PushArgs) -> anyhow::Result<ExitCode> {
    let limits = SourceConfig {
        // A large component takes its time upwards before anything is answered.
        idle: Duration::from_secs(300),
        time: Duration::from_secs(1_200),
        ..SourceConfig::default()
    };
    within(args, limits).await
}

async fn within(args: PushArgs, limits: SourceConfig) -> anyhow::Result<ExitCode> {
    let file = args.file.display();
    let bytes = std::fs::read(&args.file).with_context(|| format!("{file}: cannot be read"))?;
    let manifest = kybern_plugin::Outline::read(&bytes)
        .and_then(|outline| outline.manifest)
        .with_context(|| format!("{file}: not a Kybern plugin"))?;
    let interfaces = kybern_plugin::read_interfaces(&bytes)?;
    let reference = Reference::parse(&args.reference)?;
    if bytes.len() > limits.component_bytes {
        bail!(
            "{file} has {} bytes, at most {} can be fetched; build it with optimisation for size",
            bytes.len(),
            limits.component_bytes
        );
    }
    let time = limits.time;
    let mut registry = repository(&reference, &args.credentials, limits, Access::Push)?;
    let bytes = Bytes::from(bytes);
    let pushing = source::push(&mut registry, &bytes, &interfaces, annotations(&manifest));
    let pushed = tokio::time::timeout(time, pushing).await;
    let pushed = pushed.with_context(|| {
        format!(
            "{reference} was not pushed within {} s; what the registry has of it already is not sent \
             again by the next push",
            time.as_secs()
        )
    })??;
    say!(
        "image: {}/{}@{pushed}",
        reference.registry,
        reference.repository
    );
    say!("digest: {}", source::digest(&bytes));
    Ok(ExitCode::SUCCESS)
}

/// What people see of it in a registry.
fn annotations(manifest: &Manifest) -> BTreeMap<String, String> {
    let image = |key: &str| format!("org.opencontainers.image.{key}");
    BTreeMap::from([
        (image("title"), manifest.name.clone()),
        (image("version"), manifest.version.clone()),
    ])
}

/// The repository, as whoever runs the command sees it.
pub(super) fn repository(
    reference: &Reference,
    args: &CredentialArgs,
    limits: SourceConfig,
    access: Access,
) -> anyhow::Result<Registry> {
    let web = Web::new(limits, args.registry.insecure_registry.clone());
    let credentials = credentials(reference, args)?;
    Ok(Registry::new(
        &web,
        reference,
        "the reference",
        credentials,
        access,
    )?)
}

/// What was given, else what the docker config says; none = anybody.
fn credentials(
    reference: &Reference,
    args: &CredentialArgs,
) -> anyhow::Result<Option<Credentials>> {
    if let Some(user) = &args.username {
        let mut password = String::new();
        std::io::stdin()
            .take(LONGEST)
            .read_to_string(&mut password)
            .context("the password cannot be read from standard input")?;
        let password = password.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            bail!("the password on standard input is empty");
        }
        return Ok(Some(Credentials::new(user, password)));
    }
    let Some(path) = crate::environment::docker_config() else {
        return Ok(None);
    };
    Ok(Credentials::of_docker_file(&path, &reference.registry)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::net::TcpListener;

    /// A component with a manifest, as far as a push looks.
    const PLUGIN: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/plugin/tests/frozen/0.1.0/guest.wasm"
    );

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: PushArgs,
    }

    #[tokio::test(start_paused = true)]
    async fn a_push_ends_in_time_whatever_the_registry_does() {
        // Nobody answers there.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let image = format!("{}/team/app:v1", silent.local_addr().unwrap());
        let args = Line::parse_from(["push", PLUGIN, &image]).args;
        let limits = SourceConfig {
            time: Duration::from_secs(200),
            idle: Duration::from_secs(300),
            ..SourceConfig::default()
        };
        let error = within(args, limits).await.unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("was not pushed within 200 s"), "{text}");
    }
}
