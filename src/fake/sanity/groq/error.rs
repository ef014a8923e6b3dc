//! Why a query is refused.

use serde_json::{Value, json};

/// Why a query is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroqError {
    why: String,
    at: usize,
}

impl GroqError {
    pub(crate) fn new(why: &str) -> Self {
        Self {
            why: why.to_owned(),
            at: 0,
        }
    }

    pub(super) fn at(at: usize, why: &str) -> Self {
        Self {
            why: why.to_owned(),
            at,
        }
    }

    /// The body of the HTTP 400 that answers it.
    pub(crate) fn body(&self, query: &str) -> Value {
        let (start, end) = (self.at, query.len());
        let error =
            json!({"type": "queryParseError", "description": self.why, "query": query, "start": start, "end": end});
        json!({ "error": error })
    }
}
