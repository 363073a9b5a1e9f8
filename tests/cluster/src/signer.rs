//! Signs as people do: a key pair of ECDSA on P-256.

use crate::keys::{P256_PUBLIC_KEY_PREFIX, pem};
use anyhow::{Result, anyhow};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

/// A key pair.
#[derive(Debug)]
pub struct Signer(EcdsaKeyPair);

impl Signer {
    /// A new one.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new() -> Result<Self> {
        let failed = |_| anyhow!("no key pair could be generated");
        let (system, way) = (SystemRandom::new(), &ECDSA_P256_SHA256_ASN1_SIGNING);
        let private = EcdsaKeyPair::generate_pkcs8(way, &system).map_err(failed)?;
        let pair = EcdsaKeyPair::from_pkcs8(way, private.as_ref(), &system);
        Ok(Self(pair.map_err(|error| anyhow!("{error}"))?))
    }

    /// The public half, PEM.
    #[must_use]
    pub fn public(&self) -> String {
        let mut der = P256_PUBLIC_KEY_PREFIX.to_vec();
        der.extend_from_slice(self.0.public_key().as_ref());
        pem("PUBLIC KEY", &der)
    }

    /// A signature, DER.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let signed = self.0.sign(&SystemRandom::new(), message);
        let signature = signed.map_err(|_| anyhow!("the signature could not be made"))?;
        Ok(signature.as_ref().to_vec())
    }
}
