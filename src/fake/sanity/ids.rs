//! Ids of documents and transactions.

/// Of a draft or of a release's version, both of which webhooks and the perspective `published` leave out (official docs,
/// drafts and versions).
pub(super) fn is_draft_or_version(id: &str) -> bool {
    id.starts_with("drafts.") || id.starts_with("versions.")
}

pub(super) fn draft_of(id: &str) -> String {
    format!("drafts.{id}")
}

/// The published id behind that of a draft (`drafts.x`) or version (`versions.r.x`); of any other, the id itself.
pub(super) fn published(id: &str) -> &str {
    match (id.strip_prefix("drafts."), id.strip_prefix("versions.")) {
        (Some(rest), _) => rest,
        (_, Some(rest)) => rest.split_once('.').map_or("", |(_, rest)| rest),
        _ => id,
    }
}

/// Letters, digits, `-`, `_` and `.`, 128 at most, of which neither the first nor that behind a prefix is `-` or `.`
/// (official docs, ids).
pub(super) fn is_legal(id: &str) -> bool {
    let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let published = published(id);
    let begins_well = !published.is_empty() && !published.starts_with(['-', '.']);
    id.len() <= 128 && begins_well && !is_draft_or_version(published) && id.bytes().all(legal)
}

/// The same 22 letters and digits for the same number, and others for every other.
pub(super) fn generate(number: u64) -> String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut state = scramble(number);
    let letters = std::iter::repeat_with(|| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let place = scramble(state) % ALPHABET.len() as u64;
        usize::try_from(place)
            .ok()
            .and_then(|place| ALPHABET.get(place))
            .copied()
            .map_or('0', char::from)
    });
    letters.take(22).collect()
}

/// The last step of SplitMix64, which sends every number to another.
fn scramble(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}
