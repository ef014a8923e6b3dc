//! What is sent to Bigin for a lead, and what the organisation's own fields look like.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The field with the number that a contact is found by.
pub const PHONE: &str = "Phone";

/// The fields of one contact as sent: API name → value. Never null and never empty, since Bigin takes null as "clear this".
#[derive(Clone, PartialEq, Default, Serialize)]
#[serde(transparent)]
pub struct Record {
    fields: BTreeMap<String, Value>,
    /// What is in [`PHONE`] is known to be in canonical form.
    #[serde(skip)]
    is_phone_canonical: bool,
}

impl fmt::Debug for Record {
    /// Names the fields and leaves the values out: they are personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Record").field(&self.fields.keys()).finish()
    }
}

impl Record {
    /// Sets a field, unless the value is null or blank text.
    pub fn set(&mut self, field: &str, value: Value) {
        let blank = value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty());
        if !blank {
            self.is_phone_canonical &= field != PHONE;
            self.fields.insert(field.to_owned(), value);
        }
    }

    /// What was set as [`PHONE`] is the canonical form of its number, in the mapping's region.
    pub fn mark_phone_canonical(&mut self) {
        self.is_phone_canonical = true;
    }

    /// Its number, where that need not be parsed.
    pub fn canonical_phone(&self) -> Option<&str> {
        self.text(PHONE).filter(|_| self.is_phone_canonical)
    }

    pub fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field).and_then(Value::as_str)
    }

    /// The fields in the order of their names.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many bytes its names and texts have.
    pub fn size(&self) -> usize {
        let text = |value: &Value| value.as_str().map_or(0, str::len);
        self.fields().map(|(name, value)| name.len() + text(value)).sum()
    }

    /// The same bytes for the same record, to be hashed.
    pub fn canonical(&self) -> Vec<u8> {
        // A map of text to JSON values always serialises.
        serde_json::to_vec(&self.fields).unwrap_or_default()
    }
}

/// One field of Bigin's Contacts module, from `settings/fields`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// The label people see in Bigin.
    pub label: String,
    /// `text`, `email`, `phone`, `textarea`, `boolean`, `integer`, `double`, `date`, `datetime`, `picklist`, …
    pub data_type: String,
    /// Longest text it takes, in Bigin's characters; `None` where the metadata does not say.
    pub length: Option<usize>,
    /// "Do not allow duplicate values" is on, so that it may be a duplicate check.
    pub unique: bool,
    /// Bigin refuses or ignores what is written to it.
    pub read_only: bool,
}

/// The fields of the organisation's Contacts: API name → field.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrgFields(pub BTreeMap<String, Field>);

impl OrgFields {
    /// The field, if the organisation has it and lets us write it.
    pub fn writable(&self, name: &str) -> Option<&Field> {
        self.0.get(name).filter(|field| !field.read_only)
    }

    /// Whether the organisation lets no two contacts share a value of this field.
    pub fn is_unique(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|field| field.unique)
    }
}

/// What an upsert did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A new contact was made.
    Insert,
    /// A contact that was there already took the fields.
    Update,
}

impl Action {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Insert, Self::Update];

    /// The stable name in the store, logs and the API, which is Bigin's own word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
        }
    }

    /// The inverse of [`Action::label`].
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.label() == label)
    }
}
