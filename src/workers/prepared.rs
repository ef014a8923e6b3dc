//! A lead that is ready to be sent to Bigin, and what identifies its contact.

use crate::domain::lead::ContactId;
use crate::domain::record::Record;
use crate::domain::state::Seen;
use crate::store::Claimed;

/// A lead that is ready to be sent.
pub(super) struct PreparedLead {
    pub(super) claimed: Claimed,
    /// Not known means: Bigin finds it by the `duplicate_check_fields`, or makes it.
    pub(super) contact: Option<ContactId>,
    pub(super) record: Record,
    /// The unique fields that the record has a value for, in the order in which Bigin compares them.
    pub(super) duplicate_check_fields: Vec<String>,
    /// Keyed hashes of their values.
    pub(super) keys: Vec<String>,
    pub(super) hash: String,
    pub(super) seen: Seen,
    /// What a contact must have to be the lead's: the number in canonical form. Text that is no possible number may be
    /// anybody's, so it counts only once an upsert of the lead may have been carried out.
    pub(super) phone: Option<String>,
}

/// No unique value identifies its contact.
pub(super) fn is_unidentified(prepared: &PreparedLead) -> bool {
    prepared.contact.is_none() && prepared.duplicate_check_fields.is_empty()
}

/// Not even a phone does.
pub(super) fn has_only_a_name(prepared: &PreparedLead) -> bool {
    is_unidentified(prepared) && prepared.record.text("Phone").is_none()
}

/// First and last name, as Bigin keeps them.
pub(super) fn name(record: &Record) -> (&str, &str) {
    let text = |field| record.text(field).unwrap_or_default().trim();
    (text("First_Name"), text("Last_Name"))
}
