//! Why a lead is rejected, or would be if its attempts ended now.
//!
//! One type for `crmError`, the store, JSON, pages and `docs/ERRORS.md`. It names fields and codes, never values.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::lead::ContactId;

/// Why a lead is rejected. `Display` is the sentence for `crmError`, without a full stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum RejectReason {
    /// Bigin rejects the value of a field.
    InvalidValue {
        /// API name of the field in Bigin.
        field: String,
        /// The data type that Bigin expects (`email`, `phone`, `integer`), where it says so.
        expected: Option<String>,
    },
    /// A value has more characters than the field takes.
    ValueTooLong {
        /// API name of the field in Bigin.
        field: String,
        /// Maximum length in characters.
        max: u64,
    },
    /// A field that Bigin requires is empty.
    ValueRequired {
        /// API name of the field in Bigin.
        field: String,
    },
    /// Another contact has the value of a unique field.
    DuplicateValue {
        /// API name of the field in Bigin, where it says so.
        field: Option<String>,
        /// The other contact, where Bigin names it.
        contact: Option<ContactId>,
    },
    /// The contact has to be approved in Bigin first.
    ApprovalPending,
    /// Bigin rejects the contact with a code that has no variant here.
    RecordRejected {
        /// API name of the field in Bigin, where it says so.
        field: Option<String>,
        /// Bigin's code.
        service_code: String,
    },
    /// The lead has no name, and Bigin requires a last name.
    NameMissing,
    /// Description has no room for a field that the organisation's contacts lack.
    NoRoom {
        /// Label of the mapped field.
        field: String,
    },
    /// A template of `[mapping]` failed on the lead.
    TemplateFailed {
        /// API name of the mapped field.
        field: String,
        /// What the template engine reports; it quotes the template and never the lead.
        error: String,
    },
    /// With its drafts and versions the lead exceeds the limit of an answer of Sanity.
    LeadTooLarge,
    /// The Sanity token may read other leads and not this one.
    LeadUnreadable,
    /// Rendering the lead panicked.
    LeadNotRendered,
    /// Sanity's answers lack the lead without saying that it was deleted.
    LeadMissing,
    /// The token may not search contacts, and nothing else tells whether the lead has one.
    SearchForbidden {
        /// Bigin's code.
        service_code: String,
    },
    /// Calls with this lead alone fail while those with others succeed.
    CallFailed {
        /// What happened; see [`super::failure::ServiceError::what`].
        what: String,
        service_code: String,
    },
    /// Bigin does not accept the lead for now, because its contact is locked or the server is busy.
    NotAccepted {
        /// Bigin's code.
        service_code: String,
    },
    /// Bigin does not add the tag for now.
    TagNotAdded {
        /// Bigin's code.
        service_code: String,
    },
    /// Bigin accepts the lead, and then denies that its contact exists.
    ContactContradicted,
    /// The lead changes each time its result is written.
    WriteConflict,
    /// Sanity is too busy to write the result.
    WriteContention,
}

impl RejectReason {
    /// All codes, in the order of the variants.
    pub const CODES: [&str; 20] = [
        "invalid_value",
        "value_too_long",
        "value_required",
        "duplicate_value",
        "approval_pending",
        "record_rejected",
        "name_missing",
        "no_room",
        "template_failed",
        "lead_too_large",
        "lead_unreadable",
        "lead_not_rendered",
        "lead_missing",
        "search_forbidden",
        "call_failed",
        "not_accepted",
        "tag_not_added",
        "contact_contradicted",
        "write_conflict",
        "write_contention",
    ];

    /// The stable code in the store, JSON and metrics, and the anchor in `docs/ERRORS.md`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidValue { .. } => "invalid_value",
            Self::ValueTooLong { .. } => "value_too_long",
            Self::ValueRequired { .. } => "value_required",
            Self::DuplicateValue { .. } => "duplicate_value",
            Self::ApprovalPending => "approval_pending",
            Self::RecordRejected { .. } => "record_rejected",
            Self::NameMissing => "name_missing",
            Self::NoRoom { .. } => "no_room",
            Self::TemplateFailed { .. } => "template_failed",
            Self::LeadTooLarge => "lead_too_large",
            Self::LeadUnreadable => "lead_unreadable",
            Self::LeadNotRendered => "lead_not_rendered",
            Self::LeadMissing => "lead_missing",
            Self::SearchForbidden { .. } => "search_forbidden",
            Self::CallFailed { .. } => "call_failed",
            Self::NotAccepted { .. } => "not_accepted",
            Self::TagNotAdded { .. } => "tag_not_added",
            Self::ContactContradicted => "contact_contradicted",
            Self::WriteConflict => "write_conflict",
            Self::WriteContention => "write_contention",
        }
    }

    /// The field it is about. Failures are grouped by code and field.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::InvalidValue { field, .. }
            | Self::ValueTooLong { field, .. }
            | Self::ValueRequired { field }
            | Self::NoRoom { field }
            | Self::TemplateFailed { field, .. } => Some(field),
            Self::DuplicateValue { field, .. } | Self::RecordRejected { field, .. } => field.as_deref(),
            _ => None,
        }
    }

    /// What the operator or an editor can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::InvalidValue { expected, .. } => match expected.as_deref() {
                Some("email") => "Correct the email address of the lead in Sanity and publish it, then retry.",
                Some("phone") => "Correct the phone number of the lead in Sanity and publish it, then retry.",
                _ => {
                    "The field in Bigin takes another kind of value. Correct it in Sanity, or the field's template in [mapping], then retry."
                }
            },
            Self::ValueTooLong { .. } => {
                "Shorten the field in Sanity and publish the lead, or let the field's template in [mapping] truncate it, then retry."
            }
            Self::ValueRequired { .. } => {
                "Fill in the field in Sanity and publish the lead, or give the field's template in [mapping] a default, then retry."
            }
            Self::DuplicateValue { .. } => {
                "Another contact in Bigin has this value, which must be unique there. Merge the two contacts, or correct the value, then retry."
            }
            Self::ApprovalPending => "Approve the contact in Bigin, then retry.",
            Self::RecordRejected { .. } => {
                "Bigin's code says what it rejects. Correct the lead in Sanity, or the field's template in [mapping], then retry."
            }
            Self::NameMissing => "Fill in the first or last name of the lead in Sanity and publish it, then retry.",
            Self::NoRoom { .. } => {
                "Add the field to Contacts in Bigin, remove it from [mapping], or shorten it in Sanity, then retry."
            }
            Self::TemplateFailed { .. } => {
                "The field's template in [mapping] does not fit this lead. Fix the template, restart the service, then retry."
            }
            Self::LeadTooLarge => {
                "Shorten the lead in Sanity, or delete drafts and versions of it that are not needed, publish it, then retry."
            }
            Self::LeadUnreadable => {
                "Give SANITY_API_WRITE_TOKEN the Editor role, or a custom role that may read every lead, then retry."
            }
            Self::LeadNotRendered => {
                "This is a defect of bigin-sync: report the log line that names the place in the source. Another template in [mapping] may avoid it."
            }
            Self::SearchForbidden { .. } => {
                "Give the refresh token the scope ZohoBigin.coql.READ, or set BIGIN_LEAD_ID_FIELD, then retry."
            }
            Self::LeadMissing
            | Self::CallFailed { .. }
            | Self::NotAccepted { .. }
            | Self::TagNotAdded { .. }
            | Self::ContactContradicted => {
                "This lead failed for GIVE_UP_AFTER. Its timeline has every attempt. Compare it with a lead that was sent, then retry; retrying is safe."
            }
            Self::WriteConflict | Self::WriteContention => {
                "Sending is over, and the result is written as soon as Sanity accepts it. If this lasts, find what changes the lead."
            }
        }
    }
}

/// What happened, with its code.
pub fn sentence(code: &str, what: &str) -> String {
    format!("{what} ({code})")
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidValue { field, expected } => match expected.as_deref() {
                Some("email") => write!(f, "Bigin rejected {field}: not an email address"),
                Some("phone") => write!(f, "Bigin rejected {field}: not a phone number"),
                Some(kind) => write!(f, "Bigin rejected {field}: expected {kind}"),
                None => write!(f, "Bigin rejected {field}: not a valid value"),
            },
            Self::ValueTooLong { field, max } => write!(f, "Bigin rejected {field}: longer than {max} characters"),
            Self::ValueRequired { field } => write!(f, "Bigin rejected {field}: it is required and empty"),
            Self::DuplicateValue { field, contact } => {
                let field = field.as_deref().unwrap_or("the contact");
                match contact {
                    Some(id) => write!(f, "Bigin rejected {field}: contact {id} already has this value"),
                    None => write!(f, "Bigin rejected {field}: another contact already has this value"),
                }
            }
            Self::ApprovalPending => f.write_str("Bigin rejected the contact: it is waiting for an approval"),
            Self::RecordRejected { field, service_code } => {
                write!(f, "Bigin rejected {} ({service_code})", field.as_deref().unwrap_or("the contact"))
            }
            Self::NameMissing => f.write_str("The lead has no name: fill in the first or last name"),
            Self::NoRoom { field } => write!(
                f,
                "Bigin has no field {field}, and Description is full, so its value cannot be added there. Shorten it"
            ),
            Self::TemplateFailed { field, error } => write!(f, "The mapping of {field} failed on this lead: {error}"),
            Self::LeadTooLarge => f.write_str(
                "The lead is too large: with its drafts and versions it has more than 8 MB, or too many parts. Remove what is not needed, publish it, and send it again",
            ),
            Self::LeadUnreadable => f.write_str(
                "bigin-sync may not read this lead in Sanity. Ask an administrator to give SANITY_API_WRITE_TOKEN the Editor role, then send it again",
            ),
            Self::LeadNotRendered => f.write_str(
                "The mapping failed on this lead because of a defect in bigin-sync. Ask an administrator to check its log",
            ),
            Self::LeadMissing => f.write_str(
                "bigin-sync could not read this lead in Sanity, although it was not deleted. Open and publish it, then send it again",
            ),
            Self::SearchForbidden { service_code } => write!(
                f,
                "The lead has no email address, and bigin-sync may not search for its contact. Ask an administrator for the scope ZohoBigin.coql.READ ({service_code})"
            ),
            Self::CallFailed { what, service_code } => f.write_str(&sentence(service_code, what)),
            Self::NotAccepted { service_code } => write!(f, "Bigin did not accept the lead ({service_code})"),
            Self::TagNotAdded { service_code } => write!(f, "Bigin did not add the tag ({service_code})"),
            Self::ContactContradicted => f.write_str(
                "Bigin accepted the lead, and then reported that its contact does not exist. Search for the contact in Bigin, then send the lead again",
            ),
            Self::WriteConflict => f.write_str("The lead changed while its result was being written"),
            Self::WriteContention => f.write_str("Sanity was too busy to write the result"),
        }
    }
}

/// What failures are grouped, filtered and retried by: `invalid_value:Email`, or `name_missing`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReasonKey {
    /// See [`RejectReason::code`].
    pub code: String,
    /// See [`RejectReason::field`].
    pub field: Option<String>,
}

impl ReasonKey {
    /// The key of a reason.
    pub fn of(reason: &RejectReason) -> Self {
        Self {
            code: reason.code().to_owned(),
            field: reason.field().map(str::to_owned),
        }
    }

    /// Whether it selects what has this key: a code without a field selects every field.
    pub fn covers(&self, other: &Self) -> bool {
        self.code == other.code && (self.field.is_none() || self.field == other.field)
    }

    /// The inverse of `Display`. A key of no reason matches no sync.
    pub fn parse(text: &str) -> Self {
        let (code, field) = match text.split_once(':') {
            Some((code, field)) => (code, Some(field.to_owned())),
            None => (text, None),
        };
        Self {
            code: code.to_owned(),
            field,
        }
    }
}

impl fmt::Display for ReasonKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        self.field.iter().try_for_each(|field| write!(f, ":{field}"))
    }
}

#[cfg(test)]
mod tests;
