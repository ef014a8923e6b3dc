//! A lead as Sanity holds it, and the identifiers both sides give things.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The value of `crmStatus` that asks for a sync.
pub const REQUESTED: &str = "REQUESTED";

/// The value of `crmStatus` that says that the lead is in Bigin and tagged.
pub const SENT: &str = "SENT";

/// The value of `crmStatus` that says that it could not be sent; `crmError` says why.
pub const FAILED: &str = "FAILED";

/// The value of `crmStatus` that an editor sets, and that asks for nothing.
pub const NOT_SENT: &str = "NOT_SENT";

/// The published id of a lead's document: never that of a draft or of a release's version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeadId(String);

/// A text that cannot be the id of a published document.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "not the id of a published document: 1 to 128 letters, digits, '-', '_' and '.', not beginning with \"drafts.\" or \"versions.\""
)]
pub struct InvalidLeadId;

impl LeadId {
    /// Accepts what Sanity accepts as the id of a published document.
    pub fn parse(id: &str) -> Result<Self, InvalidLeadId> {
        let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
        let shape = (1..=128).contains(&id.len()) && id.bytes().all(legal) && !id.starts_with(['-', '.']);
        if shape && !is_draft_or_version(id) {
            Ok(Self(id.to_owned()))
        } else {
            Err(InvalidLeadId)
        }
    }

    /// The id as Sanity spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LeadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a document id is that of a draft or of a release's version.
pub fn is_draft_or_version(id: &str) -> bool {
    id.starts_with("drafts.") || id.starts_with("versions.")
}

/// The id of a contact in Bigin: about nineteen digits, kept as text because it does not fit a double.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContactId(String);

impl ContactId {
    /// Accepts 1 to 30 digits; anything else is no contact (an editor may have typed into the field).
    pub fn parse(id: &str) -> Option<Self> {
        let digits = (1..=30).contains(&id.len()) && id.bytes().all(|c| c.is_ascii_digit());
        digits.then(|| Self(id.to_owned()))
    }

    /// The id as Bigin spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which revision of a lead. The Content Lake counts `_updatedAt` in whole seconds, so two revisions may share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// `_updatedAt`.
    pub updated_at: Timestamp,
    /// `_rev`, where it is known.
    pub rev: Option<String>,
}

impl Revision {
    /// Whether this is, or may be, a later revision than `other`.
    pub fn may_follow(&self, other: &Self) -> bool {
        let same_second = self.updated_at == other.updated_at;
        self.updated_at > other.updated_at || (same_second && self.rev.is_some() && self.rev != other.rev)
    }

    /// The later of two; the first where neither is.
    pub fn later(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) if other.may_follow(&one) => Some(other),
            (one, other) => one.or(other),
        }
    }
}

/// One revision of a published lead.
#[derive(Clone, PartialEq)]
pub struct Lead {
    /// Id of the published document.
    pub id: LeadId,
    /// `_rev`: changes with every write, and makes a write conditional.
    pub rev: String,
    /// `_type`.
    pub document_type: String,
    /// `_updatedAt`.
    pub updated_at: Timestamp,
    /// `crmStatus`; absent before the first request.
    pub crm_status: Option<String>,
    /// `biginContactId`, where it has the shape of one.
    pub contact: Option<ContactId>,
    /// `lastSyncedAt`, where it is a time.
    pub last_synced_at: Option<Timestamp>,
    /// `crmError`.
    pub crm_error: Option<String>,
}

/// The whole document of a lead, for the mapping's templates. It may be megabytes, so it is dropped once it is rendered.
pub type Document = Map<String, Value>;

impl fmt::Debug for Lead {
    /// Leaves out what an editor has typed in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lead")
            .field("id", &self.id)
            .field("rev", &self.rev)
            .field("crm_status", &self.crm_status)
            .finish_non_exhaustive()
    }
}

impl Lead {
    /// Reads a published document; `None` where it lacks `_id`, `_rev`, `_type` or `_updatedAt`, as no document of the
    /// Content Lake does.
    pub fn from_document(document: &Document) -> Option<Self> {
        Self::from_fields(|key| document.get(key)?.as_str().map(str::to_owned))
    }

    /// Like [`Lead::from_document`]; `text` gives the fields of the document that are text.
    pub fn from_fields(text: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let time = |key: &str| text(key).and_then(|at| at.parse::<Timestamp>().ok());
        Some(Self {
            id: LeadId::parse(&text("_id")?).ok()?,
            rev: text("_rev")?,
            document_type: text("_type")?,
            updated_at: time("_updatedAt")?,
            crm_status: text("crmStatus"),
            contact: text("biginContactId").as_deref().and_then(ContactId::parse),
            last_synced_at: time("lastSyncedAt"),
            crm_error: text("crmError"),
        })
    }

    pub fn revision(&self) -> Revision {
        Revision {
            updated_at: self.updated_at,
            rev: Some(self.rev.clone()),
        }
    }

    /// Whether the lead's own status asks for a sync.
    pub fn is_requested(&self) -> bool {
        self.crm_status.as_deref() == Some(REQUESTED)
    }
}

/// Everything Sanity holds of one lead at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LeadRead {
    /// The published document; `None` where the lead was deleted or unpublished.
    pub published: Option<Lead>,
    /// The full ids of its draft and of its versions in releases, which carry copies of the fields we write.
    pub drafts_and_versions: Vec<String>,
}
