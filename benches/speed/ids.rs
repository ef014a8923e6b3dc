//! The ids of leads and of their revisions.
//!
//! Sanity's are random. Each webhook then changes a page somewhere in every index that begins with the lead's id. Ids with a
//! counter change only the last page, which a database does for about half the price. So random ids are what is measured,
//! and the others show what the indexes cost. The random ones follow from a seed: two runs send the same webhooks.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// How ids are made.
#[derive(Debug, Clone, Copy)]
pub enum Ids {
    /// A lead's is a UUID of version 4, as Studio makes them; a revision's has 22 letters and digits.
    Random { seed: u64 },
    /// A constant prefix and a counter.
    Sequential,
}

impl Ids {
    /// The id of a lead: another for each name and number.
    pub fn lead(self, name: &str, nth: usize) -> String {
        let Self::Random { seed } = self else {
            return format!("{name}-8a1f-4c55-9d60-{nth:012}");
        };
        let random = random(seed, "lead", name, nth);
        let number = random[..16]
            .iter()
            .fold(0, |number, byte| number << 8 | u128::from(*byte));
        // The version is 4, and the variant is that of RFC 9562.
        let number = number & !(0xF << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
        let hex = format!("{number:032x}");
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }

    /// The revision in which the lead was requested.
    pub fn revision(self, name: &str, nth: usize) -> String {
        const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let Self::Random { seed } = self else {
            return format!("rev{nth:019}");
        };
        let letter = |byte: &u8| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]);
        random(seed, "revision", name, nth)
            .iter()
            .take(22)
            .map(letter)
            .collect()
    }
}

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random { seed } => write!(f, "random (seed {seed})"),
            Self::Sequential => write!(f, "a prefix and a counter"),
        }
    }
}

/// The bytes that follow from a seed and from what they are for. A hash, since its output never changes with a version of
/// a library, as that of a generator of random numbers may.
fn random(seed: u64, what: &str, name: &str, nth: usize) -> [u8; 32] {
    Sha256::digest(format!("{seed} {what} {name} {nth}")).into()
}
