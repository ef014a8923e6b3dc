//! What a test may switch on `/data/doc`, so that its answers contradict the documents.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Switches of `/data/doc`. What is not known of the real one can be had in each form.
#[derive(Debug, Default)]
pub struct DocSwitches {
    /// What an answer without content (`excludeContent=true`) has. The official docs name the parameter without a word
    /// about the answer; the Studio reads only `omitted` of it (source of sanity).
    pub without_content: WithoutContent,
    /// The token may not read these documents: `omitted` names them with the reason `permission`, and queries do not find
    /// them.
    pub denied: BTreeSet<String>,
    /// These documents are neither in an answer nor named in `omitted`.
    pub unmentioned: BTreeSet<String>,
    /// No answer has any documents or names any.
    pub empty: bool,
    /// So many bytes of invented conversation are added to a document, by its id, when it is read.
    pub bulk: BTreeMap<String, usize>,
    /// So long each document of an answer takes, in real time.
    pub latency_per_document: Duration,
    /// An answer with one of these documents takes this much longer, in real time, also where it has no content.
    pub hangs: BTreeMap<String, Duration>,
}

/// Forms of an answer without content.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum WithoutContent {
    /// Each document with the fields that every document has (assumption).
    #[default]
    Revisions,
    /// No documents: `omitted` alone tells which do not exist (assumption).
    OmittedOnly,
    /// The parameter is ignored (assumption).
    Ignored,
}
