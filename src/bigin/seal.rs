//! Seals the access token for the store, so that a copy of the database opens nothing.
//!
//! The key comes from the client secret, and the seal is bound to the accounts server, the client and the refresh token:
//! after a change of any of them an older token does not open, and counts as absent.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::BiginSettings;
use crate::random;

const PURPOSE: &[u8] = b"bigin-sync token v1";

/// The length of the nonce, long enough to be drawn at random for ever.
const NONCE: usize = 24;

/// What is sealed.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) access_token: String,
    pub(super) api_domain: Option<String>,
    pub(super) expires_at: Timestamp,
}

/// Seals and opens.
pub(super) struct Seal {
    cipher: XChaCha20Poly1305,
    bound_to: Vec<u8>,
}

impl Seal {
    pub(super) fn new(settings: &BiginSettings) -> Self {
        let key = hmac_sha256(settings.client_secret.expose_secret().as_bytes(), PURPOSE);
        let refresh_token = Sha256::digest(settings.refresh_token.expose_secret().as_bytes());
        let bound_to = [
            settings.accounts_url.as_str().as_bytes(),
            settings.client_id.as_bytes(),
            &refresh_token,
        ]
        .join(&b'\n');
        Self {
            cipher: XChaCha20Poly1305::new(&key.into()),
            bound_to,
        }
    }

    /// The sealed form as text: base64url of nonce and ciphertext. `None` only where the cipher fails, which it does for
    /// gigabytes.
    pub(super) fn seal(&self, kept: &Kept) -> Option<String> {
        let plain = serde_json::to_vec(kept).ok()?;
        let nonce = random::bytes::<NONCE>();
        let payload = Payload {
            msg: &plain,
            aad: &self.bound_to,
        };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload).ok()?;
        Some(URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// What was sealed; `None` where it was sealed under other credentials, or is not ours.
    pub(super) fn open(&self, sealed: &str) -> Option<Kept> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>()?;
        let payload = Payload {
            msg: sealed,
            aad: &self.bound_to,
        };
        let plain = self.cipher.decrypt(&XNonce::from(*nonce), payload).ok()?;
        serde_json::from_slice(&plain).ok()
    }
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    // HMAC takes keys of every length, so that the fall-back is never used.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return random::bytes();
    };
    mac.update(message);
    mac.finalize().into_bytes().into()
}
