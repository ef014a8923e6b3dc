//! Documents, and what becomes of them.

use jiff::Timestamp;
use serde_json::{Map, Value};

/// A document: every one has `_id`, `_type`, `_rev`, `_createdAt` and `_updatedAt`.
pub type Document = Map<String, Value>;

/// What a transaction did to one document.
#[derive(Debug, Clone)]
pub struct Change {
    /// The document's id.
    pub id: String,
    /// The document before; `None` where it was created.
    pub before: Option<Document>,
    /// The document after; `None` where it was deleted.
    pub after: Option<Document>,
}

/// A time as `_updatedAt` has it: in whole seconds.
pub(super) fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
