//! What an answer of `/data/doc` says of each lead. The answer stays as bytes: only the few fields that decisions need
//! are parsed of every document, and one whole document at a time where the caller wants it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::failure::CallError;
use crate::domain::lead::{Document, Lead, LeadId, LeadRead};
use crate::http_client::{BYTE_ORDER_MARK, json, with_whole_characters};

/// What Sanity says of one lead that it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Read<T> {
    /// Its document, or that it does not exist: what the caller made of it.
    Answered(T),
    /// With its drafts and versions it exceeds the limit of an answer.
    TooLarge,
    /// The token may not read it.
    Denied,
    /// The answer neither has it nor says why not, or what it has is not a document. The lead may exist.
    Missing,
}

impl<T> Read<T> {
    /// What the caller made of the lead, where Sanity said something of it.
    pub fn answered(self) -> Option<T> {
        match self {
            Self::Answered(made) => Some(made),
            Self::TooLarge | Self::Denied | Self::Missing => None,
        }
    }
}

/// A document that is not parsed yet.
pub struct RawDocument<'a>(&'a RawValue);

/// Most bytes that a parsed document may take. Rendering it takes as much again, and 256 MB have to be enough.
const MAX_PARSED: usize = 48 * 1024 * 1024;

/// What a small object, a small array and any value take once they are parsed: estimates from what serde_json allocates. Four
/// leads of a million objects `{"a":0}` each brought the process to 1.42 GB, one of them parsed and rendered at a time.
const OBJECT: usize = 640;
const ARRAY: usize = 128;
const VALUE: usize = 64;

impl RawDocument<'_> {
    /// Whether the document takes too much memory once it is parsed: many small objects take over a hundred times their
    /// bytes.
    pub fn is_too_large(&self) -> bool {
        let json = self.0.get().as_bytes();
        // No byte takes more than the one that begins an object, so that a short document need not be counted.
        json.len() > MAX_PARSED / (OBJECT + 1) && parsed_size(json) > MAX_PARSED
    }

    /// Parses the whole document; `None` where it is nested too deeply, or too large.
    pub fn parse(&self) -> Option<Document> {
        if self.is_too_large() {
            return None;
        }
        json(self.0.get().as_bytes())
    }
}

/// About how many bytes valid JSON takes once it is parsed.
fn parsed_size(json: &[u8]) -> usize {
    let (mut size, mut is_text, mut is_escaped) = (json.len(), false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b'{' => size += OBJECT,
            b'[' => size += ARRAY,
            b',' => size += VALUE,
            _ => {}
        }
    }
    size
}

/// `{"documents":[…],"omitted":[{"id","reason":"existence"|"permission"}]}` (source of @sanity/client).
#[derive(Deserialize)]
pub(super) struct DocAnswer<'a> {
    #[serde(borrow)]
    documents: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    omitted: Option<Vec<&'a RawValue>>,
}

/// A document that was asked for and is not in the answer.
#[derive(Deserialize)]
struct Omitted {
    id: String,
    reason: String,
}

/// The fields of a document that decisions need, each unparsed, so that none of the wrong type spoils the others.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "_id")]
    id: Option<&'a RawValue>,
    #[serde(borrow, rename = "_rev")]
    rev: Option<&'a RawValue>,
    #[serde(borrow, rename = "_type")]
    document_type: Option<&'a RawValue>,
    #[serde(borrow, rename = "_updatedAt")]
    updated_at: Option<&'a RawValue>,
    #[serde(borrow, rename = "crmStatus")]
    crm_status: Option<&'a RawValue>,
    #[serde(borrow, rename = "biginContactId")]
    contact: Option<&'a RawValue>,
    #[serde(borrow, rename = "lastSyncedAt")]
    last_synced_at: Option<&'a RawValue>,
    #[serde(borrow, rename = "crmError")]
    crm_error: Option<&'a RawValue>,
}

/// The published document of a lead in an answer.
struct Published<'a> {
    /// `None` where it has another `_type`.
    lead: Option<Lead>,
    raw: &'a RawValue,
}

/// The revision of a lead, read without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionRead {
    /// `_rev` of the published document.
    pub rev: String,
    /// As for [`LeadRead::drafts_and_versions`].
    pub drafts_and_versions: Vec<String>,
}

impl<'a> DocAnswer<'a> {
    /// Borrows from the body of a successful answer.
    pub(super) fn of(body: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body)).ok()
    }

    /// Whether there is any document in it.
    pub(super) fn has_documents(&self) -> bool {
        self.documents.as_ref().is_some_and(|documents| !documents.is_empty())
    }

    /// What it says of each of `ids`, in their order. `visit` gets every lead that exists, or is said not to, with its
    /// document where it is published.
    pub(super) fn by_lead<T>(
        &self,
        ids: &[LeadId],
        lead_type: &str,
        mut visit: impl FnMut(&LeadId, LeadRead, Option<RawDocument<'_>>) -> T,
    ) -> Result<Vec<(LeadId, Read<T>)>, CallError> {
        let Some(documents) = &self.documents else {
            return Err(CallError::unreadable("Sanity's answer has no documents"));
        };
        let mut published: BTreeMap<&str, Published<'_>> = BTreeMap::new();
        let mut drafts_and_versions: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for raw in documents {
            let Some((id, document_type, lead)) = fields(raw, |fields| {
                let document_type = text(fields.document_type);
                Some((
                    text(fields.id)?,
                    document_type,
                    Lead::from_fields(|key| fields.text(key)),
                ))
            }) else {
                continue;
            };
            let is_lead = document_type.as_deref() == Some(lead_type);
            match lead_of(ids, &id) {
                Some(lead_id) if lead_id == id && is_lead && lead.is_none() => {
                    // It lacks its own fields, so what it says cannot be trusted: it counts as absent.
                }
                Some(lead_id) if lead_id == id => {
                    let lead = lead.filter(|_| is_lead);
                    published.insert(lead_id, Published { lead, raw });
                }
                Some(lead_id) if is_lead => drafts_and_versions.entry(lead_id).or_default().push(id),
                _ => {}
            }
        }
        let (gone, denied) = self.omitted();
        let read = ids.iter().map(|id| {
            let key = id.as_str();
            let drafts_and_versions = drafts_and_versions.remove(key).unwrap_or_default();
            let read = match published.remove(key) {
                Some(Published { lead, raw }) => {
                    let document = lead.is_some().then_some(RawDocument(raw));
                    let published = lead;
                    Read::Answered(visit(
                        id,
                        LeadRead {
                            published,
                            drafts_and_versions,
                        },
                        document,
                    ))
                }
                None if gone.contains(key) => Read::Answered(visit(
                    id,
                    LeadRead {
                        published: None,
                        drafts_and_versions,
                    },
                    None,
                )),
                None if denied.contains(key) => Read::Denied,
                None => Read::Missing,
            };
            (id.clone(), read)
        });
        Ok(read.collect())
    }

    /// The revisions in an answer without content; `None` where it has none although it has leads.
    pub(super) fn revisions(&self, ids: &[LeadId]) -> Option<BTreeMap<LeadId, RevisionRead>> {
        let (gone, denied) = self.omitted();
        let mut revisions: BTreeMap<LeadId, RevisionRead> = BTreeMap::new();
        let mut drafts_and_versions: BTreeMap<LeadId, Vec<String>> = BTreeMap::new();
        for raw in self.documents.iter().flatten() {
            let Some((id, rev)) = fields(raw, |fields| Some((text(fields.id)?, text(fields.rev)))) else {
                continue;
            };
            match (published_id(&id), rev) {
                (Some(lead), Some(rev)) if lead.as_str() == id => {
                    let drafts_and_versions = Vec::new();
                    revisions.insert(
                        lead,
                        RevisionRead {
                            rev,
                            drafts_and_versions,
                        },
                    );
                }
                (Some(lead), _) if lead.as_str() != id => drafts_and_versions.entry(lead).or_default().push(id),
                _ => {}
            }
        }
        let exist = ids
            .iter()
            .any(|id| !gone.contains(id.as_str()) && !denied.contains(id.as_str()));
        if revisions.is_empty() && exist {
            return None;
        }
        for (lead, read) in &mut revisions {
            read.drafts_and_versions = drafts_and_versions.remove(lead).unwrap_or_default();
        }
        Some(revisions)
    }

    /// The ids that do not exist, and those that the token may not read.
    fn omitted(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let (mut gone, mut denied) = (BTreeSet::new(), BTreeSet::new());
        for entry in self.omitted.iter().flatten() {
            let entry = object(entry).and_then(|text| json::<Omitted>(text.as_bytes()));
            match entry {
                Some(Omitted { id, reason }) if reason == "existence" => gone.insert(id),
                Some(Omitted { id, reason }) if reason == "permission" => denied.insert(id),
                _ => false,
            };
        }
        (gone, denied)
    }
}

impl Fields<'_> {
    fn text(&self, key: &str) -> Option<String> {
        text(match key {
            "_id" => self.id,
            "_rev" => self.rev,
            "_type" => self.document_type,
            "_updatedAt" => self.updated_at,
            "crmStatus" => self.crm_status,
            "biginContactId" => self.contact,
            "lastSyncedAt" => self.last_synced_at,
            "crmError" => self.crm_error,
            _ => None,
        })
    }
}

/// Reads the few fields of a document, also where the name of another field has half of a character.
fn fields<R>(raw: &RawValue, read: impl Fn(&Fields<'_>) -> Option<R>) -> Option<R> {
    let text = object(raw)?;
    match serde_json::from_str(text) {
        Ok(fields) => read(&fields),
        Err(_) => read(&serde_json::from_slice(&with_whole_characters(text.as_bytes())).ok()?),
    }
}

/// Serde takes an array for a struct too, in the order of its fields: `["a","existence"]` would end a lead as deleted.
fn object(raw: &RawValue) -> Option<&str> {
    Some(raw.get()).filter(|text| text.starts_with('{'))
}

fn text(raw: Option<&RawValue>) -> Option<String> {
    json(raw?.get().as_bytes())
}

/// The one of `ids` that a document is of: its published one, a draft or a version.
fn lead_of<'i>(ids: &'i [LeadId], document: &str) -> Option<&'i str> {
    let of = published_id(document)?;
    ids.iter().find(|id| **id == of).map(LeadId::as_str)
}

/// `X` for `X`, `drafts.X` and `versions.{release}.X`.
fn published_id(id: &str) -> Option<LeadId> {
    let rest = id.strip_prefix("drafts.").or_else(|| {
        let version = id.strip_prefix("versions.")?;
        version.split_once('.').map(|(_release, rest)| rest)
    });
    LeadId::parse(rest.unwrap_or(id)).ok()
}

#[cfg(test)]
mod size_tests {
    use super::*;

    #[test]
    fn size_follows_the_shape_and_not_the_text() {
        assert_eq!(parsed_size(br#""{[,\"{[,""#), 10, "text is text");
        let objects = format!("[{}]", vec![r#"{"a":0}"#; 100_000].join(","));
        assert!(parsed_size(objects.as_bytes()) > MAX_PARSED);
        let text = format!(r#"{{"a":"{}"}}"#, "{".repeat(8_000_000));
        assert!(parsed_size(text.as_bytes()) < MAX_PARSED);
        let not_counted = "{".repeat(MAX_PARSED / (OBJECT + 1));
        assert!(parsed_size(not_counted.as_bytes()) <= MAX_PARSED);
    }
}
