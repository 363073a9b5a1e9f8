//! A component in a registry: reference, manifest, layer.

use super::artifact::{self, Descriptor};
use super::digest::{digest, pinned};
use super::error::SourceError;
use super::keep::Keep;
use super::reference::Reference;
use super::registry::Registry;
use bytes::Bytes;

/// Where the reference is written.
pub(super) const PLACE: &str = "spec.source.oci.image";

/// What `pull` got.
pub(crate) struct Pulled {
    /// The component.
    pub(crate) bytes: Bytes,
    /// The digest of its manifest.
    pub(crate) manifest: String,
}

/// Gets a component of at most `most` bytes from a registry, past everything that is kept.
pub(crate) async fn pull(
    registry: &mut Registry,
    reference: &Reference,
    most: usize,
) -> Result<Pulled, SourceError> {
    let keep = Keep::default();
    let which = reference.digest.as_deref();
    let of = Wanted::Component(None);
    let found = find(reference, which, of, &keep, Some(registry), most).await?;
    Ok(Pulled {
        bytes: layer(&found, &keep, Some(registry)).await?,
        manifest: found.digest,
    })
}

/// What the one layer is to be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// A component, of this digest where one is pinned.
    Component(Option<&'a str>),
    /// An archive, whatever its media type is called.
    Bundle,
}

/// A manifest that was found, and the layer in it that is the component.
pub(super) struct Found {
    /// Of the manifest.
    pub(super) digest: String,
    /// The component.
    pub(super) layer: Descriptor,
}

/// Finds the artifact: `which` is the manifest's digest, if it is known. Without a registry only
/// what is kept is found.
pub(super) async fn find(
    reference: &Reference,
    which: Option<&str>,
    wanted: Wanted<'_>,
    keep: &Keep,
    registry: Option<&mut Registry>,
    most: usize,
) -> Result<Found, SourceError> {
    let place = registry.as_ref().map_or(PLACE, |registry| &registry.place);
    let place = format!("{place} {reference}");
    let kept = match which {
        Some(digest) => keep.get(digest).await,
        None => None,
    };
    let bytes = match (kept, registry) {
        (Some(bytes), _) => bytes,
        (None, None) => return Err(SourceError::NotKept),
        (None, Some(registry)) => {
            let name = which.or(reference.tag.as_deref()).unwrap_or_default();
            let found = registry.manifest(name).await?;
            found.ok_or_else(|| missing(&place, which))?
        }
    };
    let manifest = artifact::manifest(&bytes, &place)?;
    let layer = match wanted {
        Wanted::Component(digest) => {
            let layer = artifact::component(&manifest, &place, most)?;
            // Before it is fetched: what is not wanted is not worth its bytes.
            pinned(digest, &layer.digest, &place)?;
            layer
        }
        Wanted::Bundle => artifact::bundle(&manifest, &place, most)?,
    };
    let digest = digest(&bytes);
    keep.put(&digest, &bytes).await;
    Ok(Found { digest, layer })
}

fn missing(place: &str, which: Option<&str>) -> SourceError {
    let what = match which {
        Some(digest) => {
            format!("its manifest {digest} is not in the registry (any more); name another tag")
        }
        None => "the registry has no such artifact".to_owned(),
    };
    SourceError::Unavailable(format!(
        "{place}: {what}; push it with `kybern plugin push`"
    ))
}

/// The component itself.
pub(super) async fn layer(
    found: &Found,
    keep: &Keep,
    registry: Option<&mut Registry>,
) -> Result<Bytes, SourceError> {
    if let Some(bytes) = keep.get(&found.layer.digest).await {
        return Ok(bytes);
    }
    let registry = registry.ok_or(SourceError::NotKept)?;
    let bytes = registry.blob(&found.layer).await?;
    keep.put(&found.layer.digest, &bytes).await;
    Ok(bytes)
}
