//! What a test may switch on the fake: how it answers where sources disagree, and its limits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::request_log::CallKind;

/// How the fake behaves. Change it at any time; calls that arrive later see it.
#[derive(Debug, Clone)]
pub struct Switches {
    /// Real time between the arrival of a call and its work, so that calls overlap.
    pub latency: Duration,
    /// Every call, to the accounts server too, is answered by a proxy's 503 page.
    pub down: bool,
    /// A call whose query or body contains this text is answered 500 `INTERNAL_ERROR`, and nothing of it is done.
    pub poison: Option<String>,
    /// A call whose query or body contains one of these texts is not answered for this long, in real time; then its
    /// connection is cut, and nothing of it is done.
    pub hangs: BTreeMap<String, Duration>,
    /// Real time that each record of a call takes before the work is done, also if the caller has hung up by then.
    pub per_record: Duration,
    /// Real time until an upsert that names no unique field is applied, also if the caller has hung up by then.
    pub late_inserts: Duration,
    /// API calls carried out at the same moment; one more is answered 429 `TOO_MANY_REQUESTS`. Bigin's number is not
    /// published; Zoho CRM's editions have 5 to 25.
    pub concurrency_limit: usize,
    /// API credits per rolling 24 hours: 50,000 and 250 for each user (official docs, api-limits). One more is answered
    /// 429 `LIMIT_EXCEEDED`, which is an assumption: the docs do not show that answer.
    pub credit_limit: u32,
    /// Calls of these kinds are answered 401 `OAUTH_SCOPE_MISMATCH`.
    pub missing_scopes: BTreeSet<CallKind>,
    /// How long a changed contact cannot be found by search (measured by integrators: 10 to 20 s). COQL has no lag.
    pub search_lag: Duration,
    /// Status of an answer in which some records failed: 202 (official docs) or 207 (seen in production).
    pub mixed_status: u16,
    /// Status of an answer in which every record failed: 400 (Zoho CRM v7 docs) or 202 (seen with v2).
    pub all_failed_status: u16,
    /// What an unknown key of a record does. Reports conflict.
    pub unknown_keys: UnknownKeys,
    /// An upsert that lists duplicate checks without Email is refused when its email belongs to another contact. Off:
    /// the email is not looked at, as the docs' table has it, and a second contact with it comes to be.
    pub email_always_unique: bool,
    /// Whether `Tag` in an updated record replaces the contact's tags or adds to them; not documented.
    pub tag_key_replaces: bool,
    /// Tags in the answer of `add_tags` are objects, as in v3 and later, and not names.
    pub tags_as_objects: bool,
    /// HTTP status of the accounts server's throttle: 400 (recorded by integrators) or 200 (Zoho's own article).
    pub throttle_status: u16,
    /// The accounts server names the scope in its answer; it sometimes does.
    pub scope_in_token_answer: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            down: false,
            poison: None,
            hangs: BTreeMap::new(),
            per_record: Duration::ZERO,
            late_inserts: Duration::ZERO,
            concurrency_limit: 10,
            credit_limit: 50_250,
            missing_scopes: BTreeSet::new(),
            search_lag: Duration::from_secs(15),
            mixed_status: 202,
            all_failed_status: 400,
            unknown_keys: UnknownKeys::Ignore,
            email_always_unique: false,
            tag_key_replaces: true,
            tags_as_objects: false,
            throttle_status: 400,
            scope_in_token_answer: false,
        }
    }
}

/// What an unknown or read-only key of a record does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownKeys {
    /// It is dropped, and the record succeeds.
    Ignore,
    /// The record is refused with `INVALID_DATA`.
    RejectRecord,
}
