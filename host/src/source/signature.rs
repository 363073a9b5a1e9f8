//! Signatures of artifacts, as `cosign sign --key` makes them: ECDSA on P-256 over a small document
//! that names the manifest's digest, kept as `sha256-DIGEST.sig` beside the artifact.
//!
//! *Limits.* Keys only: no certificates, no transparency log, no bundles as referrers.

use super::artifact::{self, Descriptor};
use super::digest::hex;
use super::error::SourceError;
use super::registry::Registry;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde_json::Value;

/// The document that is signed.
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Where the signature is.
const ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// What the document says it is.
const KIND: &str = "cosign container image signature";
/// Signatures of one artifact that are tried.
const TRIED: usize = 32;
/// Bytes of a document.
const LONGEST: u64 = 64 << 10;

/// DER of SubjectPublicKeyInfo (RFC 5480) for P-256, up to the point.
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A public key: a point of P-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key(Vec<u8>);

impl Key {
    /// Reads PEM; `place` is where it is written.
    pub(super) fn of_pem(text: &str, place: &str) -> Result<Self, SourceError> {
        let wrong = || {
            SourceError::Key(format!(
                "{place} is no public key of ECDSA on P-256 in PEM; `cosign generate-key-pair` makes one (cosign.pub)"
            ))
        };
        let (_, rest) = text
            .split_once("-----BEGIN PUBLIC KEY-----")
            .ok_or_else(wrong)?;
        let (body, _) = rest
            .split_once("-----END PUBLIC KEY-----")
            .ok_or_else(wrong)?;
        let body: String = body.split_whitespace().collect();
        let der = STANDARD.decode(body).map_err(|_| wrong())?;
        match der.strip_prefix(&P256[..]) {
            Some(point) if point.len() == 65 && point.first() == Some(&4) => {
                Ok(Self(point.to_vec()))
            }
            _ => Err(wrong()),
        }
    }

    /// What tells it from others.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn signed(&self, payload: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.0);
        key.verify(payload, signature).is_ok()
    }
}

/// Whether one of the keys signed the artifact with this manifest.
pub(super) async fn verify(
    registry: &mut Registry,
    manifest: &str,
    keys: &[Key],
) -> Result<(), SourceError> {
    let tag = format!("sha256-{}.sig", hex(manifest).unwrap_or_default());
    let place = format!("{}: {} ({tag})", registry.place, registry.reference);
    let Some(bytes) = registry.manifest(&tag).await? else {
        return Err(SourceError::Unsigned(format!(
            "{place}: the artifact {manifest} has no signature; sign it with `cosign sign --key`, or take spec.source.oci.verify away"
        )));
    };
    let list = artifact::manifest(&bytes, &place)?;
    let mut why = "it lists no signature";
    for layer in list.layers.iter().take(TRIED) {
        match one(registry, layer, manifest, keys).await? {
            Verdict::Good => return Ok(()),
            Verdict::Bad(reason) => why = reason,
        }
    }
    Err(SourceError::BadSignature(format!(
        "{place}: no signature there is good for the artifact {manifest}: {why}; sign it with a key whose public half is in spec.source.oci.verify"
    )))
}

/// What a signature is worth.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Bad(&'static str),
}

async fn one(
    registry: &mut Registry,
    layer: &Descriptor,
    manifest: &str,
    keys: &[Key],
) -> Result<Verdict, SourceError> {
    if layer.media_type != PAYLOAD || layer.size > LONGEST {
        return Ok(Verdict::Bad("it is of another form than cosign's"));
    }
    let text = layer.annotations.get(ANNOTATION);
    let Some(signature) = text.and_then(|text| STANDARD.decode(text).ok()) else {
        return Ok(Verdict::Bad("its signature is not base64"));
    };
    let payload = registry.blob(layer).await?;
    Ok(judge(&payload, &signature, manifest, keys))
}

/// What a signed document says of the artifact.
fn judge(payload: &[u8], signature: &[u8], manifest: &str, keys: &[Key]) -> Verdict {
    if !keys.iter().any(|key| key.signed(payload, signature)) {
        return Verdict::Bad("none of the keys made it");
    }
    let Ok(document) = serde_json::from_slice::<Value>(payload) else {
        return Verdict::Bad("what is signed is no JSON");
    };
    let is =
        |place: &str, wanted: &str| document.pointer(place).and_then(Value::as_str) == Some(wanted);
    if !is("/critical/type", KIND) {
        return Verdict::Bad("what is signed is no image");
    }
    if !is("/critical/image/docker-manifest-digest", manifest) {
        return Verdict::Bad("it signs another artifact");
    }
    Verdict::Good
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
    use serde_json::json;

    fn pair() -> (EcdsaKeyPair, Key) {
        let (system, way) = (SystemRandom::new(), &ECDSA_P256_SHA256_ASN1_SIGNING);
        let private = EcdsaKeyPair::generate_pkcs8(way, &system).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(way, private.as_ref(), &system).unwrap();
        let der = [&P256[..], pair.public_key().as_ref()].concat();
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(der)
        );
        (pair, Key::of_pem(&pem, "there").unwrap())
    }

    fn document(digest: &str, kind: &str) -> Vec<u8> {
        json!({ "critical": {
            "identity": { "docker-reference": "" },
            "image": { "docker-manifest-digest": digest }, "type": kind,
        }, "optional": null })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn only_a_signature_of_this_artifact_by_a_named_key_is_good() {
        let ((pair, key), (_, other)) = (pair(), pair());
        let sign = |bytes: &[u8]| pair.sign(&SystemRandom::new(), bytes).unwrap();
        let good = document("sha256:a", KIND);
        let signature = sign(&good);
        let of = |keys: &[Key]| judge(&good, signature.as_ref(), "sha256:a", keys);
        assert_eq!(of(&[other.clone(), key.clone()]), Verdict::Good);
        assert_eq!(of(&[other]), Verdict::Bad("none of the keys made it"));
        let keys = [key];
        let moved = judge(&good, signature.as_ref(), "sha256:b", &keys);
        assert_eq!(moved, Verdict::Bad("it signs another artifact"));
        let changed = document("sha256:b", KIND);
        let forged = judge(&changed, signature.as_ref(), "sha256:b", &keys);
        assert_eq!(forged, Verdict::Bad("none of the keys made it"));
        let kind = document("sha256:a", "something else");
        let signature = sign(&kind);
        let told = judge(&kind, signature.as_ref(), "sha256:a", &keys);
        assert_eq!(told, Verdict::Bad("what is signed is no image"));
    }

    #[test]
    fn what_is_no_key_is_told_with_its_place() {
        for wrong in [
            "",
            "-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----",
            "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----",
            "-----BEGIN RSA PUBLIC KEY-----\nMFkw\n-----END RSA PUBLIC KEY-----",
        ] {
            let error = Key::of_pem(wrong, "spec.here").unwrap_err().to_string();
            assert!(error.starts_with("spec.here"), "{error}");
        }
    }
}
