//! Base64 and hashes.

use super::wrong;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::{Environment, Error, Value};
use sha2::Digest;

pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("b64encode", |text: String| STANDARD.encode(text));
    environment.add_filter("b64decode", decode);
    environment.add_filter("hash", |text: String, kind: Option<String>| {
        digest(text.as_bytes(), kind.as_deref().unwrap_or("sha256")).map(|bytes| hex(&bytes))
    });
    environment.add_filter("hmac", |text: String, key: String, kind: Option<String>| {
        mac(
            text.as_bytes(),
            key.as_bytes(),
            kind.as_deref().unwrap_or("sha256"),
        )
        .map(|bytes| hex(&bytes))
    });
    // `{SHA}` of a password file is the base64 of the bytes, not of their digits.
    environment.add_filter("hash_b64", |text: String, kind: Option<String>| {
        digest(text.as_bytes(), kind.as_deref().unwrap_or("sha256"))
            .map(|bytes| STANDARD.encode(bytes))
    });
}

fn decode(text: String) -> Result<Value, Error> {
    let packed: String = text.split_whitespace().collect();
    let bytes = STANDARD
        .decode(packed)
        .map_err(|why| wrong(format!("b64decode: this is no base64: {why}")))?;
    let text =
        String::from_utf8(bytes).map_err(|_| wrong("b64decode: what is encoded is no text"))?;
    Ok(Value::from(text))
}

fn digest(bytes: &[u8], kind: &str) -> Result<Vec<u8>, Error> {
    Ok(match kind {
        "sha1" => sha1::Sha1::digest(bytes).to_vec(),
        "sha224" => sha2::Sha224::digest(bytes).to_vec(),
        "sha256" => sha2::Sha256::digest(bytes).to_vec(),
        "sha384" => sha2::Sha384::digest(bytes).to_vec(),
        "sha512" => sha2::Sha512::digest(bytes).to_vec(),
        other => {
            return Err(wrong(format!(
                "hash: there is no `{other}`: sha1, sha224, sha256, sha384 and sha512 are known"
            )));
        }
    })
}

/// RFC 2104.
fn mac(bytes: &[u8], key: &[u8], kind: &str) -> Result<Vec<u8>, Error> {
    let block = if matches!(kind, "sha384" | "sha512") {
        128
    } else {
        64
    };
    let mut key = if key.len() > block {
        digest(key, kind)?
    } else {
        key.to_vec()
    };
    key.resize(block, 0);
    let with = |byte: u8| key.iter().map(move |k| k ^ byte);
    let inner: Vec<u8> = with(0x36).chain(bytes.iter().copied()).collect();
    let inner = digest(&inner, kind)?;
    let outer: Vec<u8> = with(0x5c).chain(inner).collect();
    digest(&outer, kind)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
