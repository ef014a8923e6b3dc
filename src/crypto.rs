//! All cryptography: keyed and plain hashes, comparison in constant time, random tokens, and encryption of what is stored.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::random;

/// Of XChaCha20: long enough that random nonces never repeat.
const NONCE_LENGTH: usize = 24;

#[derive(Clone)]
pub struct MacKey(Hmac<Sha256>);

impl MacKey {
    /// A key of any length (RFC 2104).
    #[expect(
        clippy::expect_used,
        reason = "the crate's error is that of MACs with keys of one length"
    )]
    pub fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// The key of a secret for one purpose, so that what one purpose reveals is worth nothing for another.
    pub fn derive(secret: &SecretString, purpose: &str) -> Self {
        Self::new(&derive(secret, purpose))
    }

    /// The MAC of the parts, joined.
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    }
}

fn derive(secret: &SecretString, purpose: &str) -> [u8; 32] {
    MacKey::new(secret.expose_secret().as_bytes()).mac(&[purpose.as_bytes()])
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Whether two texts of the same length are equal, in a time that does not depend on where they differ.
pub fn is_equal(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// base64url without padding.
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A text of `N` random bytes that cannot be guessed.
pub fn random_token<const N: usize>() -> String {
    base64url(&random::bytes::<N>())
}

/// Encrypts what is stored, so that a copy of the database reveals nothing.
pub struct Cipher {
    cipher: XChaCha20Poly1305,
    bound_to: Vec<u8>,
}

impl Cipher {
    /// The key is made from `secret`. What was sealed with another `secret` or another `bound_to` does not open.
    pub fn new(secret: &SecretString, purpose: &str, bound_to: Vec<u8>) -> Self {
        Self {
            cipher: XChaCha20Poly1305::new(&derive(secret, purpose).into()),
            bound_to,
        }
    }

    /// base64url of nonce and ciphertext. `None` only for gigabytes.
    pub fn seal(&self, value: &impl Serialize) -> Option<String> {
        let plain = serde_json::to_vec(value).ok()?;
        let nonce = random::bytes::<NONCE_LENGTH>();
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), self.payload(&plain)).ok()?;
        Some(base64url(&[&nonce[..], &sealed].concat()))
    }

    /// What was sealed, if this cipher sealed it.
    pub fn open<T: DeserializeOwned>(&self, sealed: &str) -> Option<T> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LENGTH>()?;
        let plain = self.cipher.decrypt(&XNonce::from(*nonce), self.payload(sealed)).ok()?;
        serde_json::from_slice(&plain).ok()
    }

    fn payload<'a>(&'a self, msg: &'a [u8]) -> Payload<'a, 'a> {
        Payload {
            msg,
            aad: &self.bound_to,
        }
    }
}
