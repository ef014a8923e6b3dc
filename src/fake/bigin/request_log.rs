//! What the fake remembers of the calls it took and of what they changed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallKind {
    /// An access token from the accounts server.
    Token,
    /// `POST Contacts/upsert`
    Upsert,
    /// `POST Contacts`
    Insert,
    /// `PUT Contacts` and `PUT Contacts/{id}`
    Update,
    /// `POST …/actions/add_tags`
    AddTags,
    /// `GET settings/fields`
    Fields,
    /// `GET` and `POST settings/tags`
    Tags,
    /// `POST coql`
    Coql,
    /// `GET Contacts/search`
    Search,
    /// `GET Contacts/{id}`
    Get,
    /// `GET org`
    Org,
    /// Revocation of a token, and everything unknown.
    Other,
}

/// One call, as the journal has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// When it arrived, by the clock of the fake.
    pub at: Timestamp,
    /// What it asked for.
    pub kind: CallKind,
    /// How many records or ids it carried; 0 where it was refused before its body was read.
    pub records: usize,
    /// What it cost; 0 where it was refused before any work.
    pub credits: u32,
    /// The HTTP status it was answered with; 0 while it is in flight and where the connection was cut.
    pub status: u16,
    /// Calls to the API in flight when it arrived, itself included. Calls for tokens are not among them.
    pub in_flight: usize,
}

/// Something that happened to a contact through a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It was inserted or updated, by upsert, insert or update.
    Upserted {
        /// Id of the contact.
        contact: String,
        /// Which of the two.
        action: Action,
        /// When.
        at: Timestamp,
        /// What the call wrote; null where it cleared.
        fields: BTreeMap<String, Value>,
        /// The `trigger` of the call; `None` runs every workflow.
        trigger: Option<Vec<String>>,
    },
    /// A tag was asked for and is now on it.
    Tagged {
        /// Id of the contact.
        contact: String,
        /// Name of the tag.
        tag: String,
        /// When.
        at: Timestamp,
        /// False where the contact had it before.
        added: bool,
    },
}

/// What an upsert did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A contact came to be.
    Insert,
    /// A contact was changed.
    Update,
}
