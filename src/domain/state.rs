//! The journey of one lead: its states with their data inside, and the one function that says what follows.

use std::fmt;

use jiff::Timestamp;

use super::lead::{ContactId, Revision};
use super::record::Action;
use super::reject_reason::RejectReason;

mod shown_name;

pub use shown_name::shown_name;

/// Where a sync stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The lead is to be read and upserted.
    Requested {
        /// The contact of an earlier round of this sync.
        contact: Option<ContactId>,
        /// This sync has made that contact, so that a later upsert of it is not reported as an update.
        contact_created: bool,
        /// The contact it was is gone from Bigin: a new one is made, whatever the lead's own field says.
        force_create: bool,
    },
    /// Bigin has the lead's data; the tag waits for its time.
    Upserted {
        /// What Bigin has.
        delivered: Delivered,
        /// What the read before the upsert saw.
        seen: Seen,
        /// No tag before this: it belongs to the contact, so another lead's upsert of the contact moves it.
        tag_not_before: Timestamp,
    },
    /// Bigin has the tag too; `SENT` is to be written to the lead.
    Tagged {
        /// What Bigin has.
        delivered: Delivered,
        /// What the read before the tag saw.
        seen: Seen,
        /// What `lastSyncedAt` will say. Decided before it is written, so that a write whose reply was lost is recognised.
        synced_at: Timestamp,
    },
    /// The lead cannot be sent as it is; `FAILED` is to be written to it.
    Rejected {
        /// For the editor; names fields, never values.
        reason: RejectReason,
        /// The contact, where one is known.
        contact: Option<ContactId>,
        /// What the last read saw.
        seen: Seen,
    },
    /// The lead is in Bigin, tagged, and says so.
    Sent {
        /// What Bigin has.
        delivered: Delivered,
        /// What `lastSyncedAt` says.
        synced_at: Timestamp,
    },
    /// The lead could not be sent and says why.
    Failed {
        /// What `crmError` says.
        reason: RejectReason,
        /// The contact, where one is known.
        contact: Option<ContactId>,
    },
    /// The lead was deleted or unpublished on the way.
    LeadDeleted,
    /// The sync is no longer wanted.
    Cancelled { by: CancelledBy },
}

/// What Bigin has of a lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    pub contact: ContactId,
    /// Whether this sync made the contact or found it.
    pub action: Action,
    /// Keyed hash of the record that was upserted.
    pub hash: String,
    /// Keyed hashes of the record's unique values: another lead's upsert of one of these values changes this contact.
    pub keys: Vec<String>,
}

/// What a read of the lead saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// How many requests the sync had when the read began. More by now means another request.
    pub requests: u32,
    /// The revision; `None` where the lead could not be read at all.
    pub revision: Option<Revision>,
}

/// Who cancelled a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelledBy {
    /// The lead's `crmStatus` is no longer `REQUESTED`.
    Lead,
    /// A person, through the API or the dashboard.
    Operator,
}

impl CancelledBy {
    /// The stable name in the store and on pages.
    pub fn label(self) -> &'static str {
        match self {
            Self::Lead => "lead",
            Self::Operator => "operator",
        }
    }

    /// The inverse of [`CancelledBy::label`].
    pub fn from_label(label: &str) -> Option<Self> {
        [Self::Lead, Self::Operator].into_iter().find(|by| by.label() == label)
    }
}

/// What can happen to a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Bigin took the record.
    Upserted {
        /// What Bigin has now.
        delivered: Delivered,
        /// What the read before it saw.
        seen: Seen,
        /// When the tag may follow.
        tag_not_before: Timestamp,
    },
    /// Another sync upserted the contact this one waits to tag.
    ContactUpserted {
        /// When the tag may follow now.
        tag_not_before: Timestamp,
    },
    /// A stale draft was published over a lead that is in Bigin as it is: only the result is written again.
    Restored {
        /// What Bigin has.
        delivered: Delivered,
        /// What the read saw.
        seen: Seen,
        /// What `lastSyncedAt` said, and will say again.
        synced_at: Timestamp,
    },
    /// The lead is not what was upserted, or what was refused: it is upserted again before the tag or the result.
    Changed,
    /// The contact was deleted or merged in Bigin.
    ContactGone,
    /// The contact has the tag.
    Tagged {
        /// What the read before it saw.
        seen: Seen,
        /// What `lastSyncedAt` will say.
        synced_at: Timestamp,
    },
    /// The lead is refused.
    Rejected {
        /// For the editor.
        reason: RejectReason,
        /// What the read before it saw.
        seen: Seen,
    },
    /// Another request came after the last read.
    RequestedAgain,
    /// The lead carries the result.
    WrittenBack,
    /// The lead is gone.
    LeadDeleted,
    /// The lead's own status no longer asks for a sync.
    Withdrawn,
    /// A person cancelled the sync.
    Cancelled,
}

/// An event that cannot happen in the state it met. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a sync that is {state} cannot be {event}")]
pub struct IllegalEvent {
    /// Label of the state.
    pub state: &'static str,
    /// Label of the event.
    pub event: &'static str,
}

impl State {
    /// Labels of all states, in the order of the journey.
    pub const LABELS: [&str; 8] = [
        "requested",
        "upserted",
        "tagged",
        "rejected",
        "sent",
        "failed",
        "lead_deleted",
        "cancelled",
    ];

    /// The stable name in the store, logs, metrics and pages.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Requested { .. } => "requested",
            Self::Upserted { .. } => "upserted",
            Self::Tagged { .. } => "tagged",
            Self::Rejected { .. } => "rejected",
            Self::Sent { .. } => "sent",
            Self::Failed { .. } => "failed",
            Self::LeadDeleted => "lead_deleted",
            Self::Cancelled { .. } => "cancelled",
        }
    }

    /// Whether the journey has ended.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Requested { .. } | Self::Upserted { .. } | Self::Tagged { .. } | Self::Rejected { .. } => false,
            Self::Sent { .. } | Self::Failed { .. } | Self::LeadDeleted | Self::Cancelled { .. } => true,
        }
    }

    /// Why the lead is rejected, where it is.
    pub fn reason(&self) -> Option<&RejectReason> {
        match self {
            Self::Rejected { reason, .. } | Self::Failed { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// The contact, where one is known.
    pub fn contact(&self) -> Option<&ContactId> {
        match self {
            Self::Requested { contact, .. } | Self::Rejected { contact, .. } | Self::Failed { contact, .. } => {
                contact.as_ref()
            }
            Self::Upserted { delivered, .. } | Self::Tagged { delivered, .. } | Self::Sent { delivered, .. } => {
                Some(&delivered.contact)
            }
            Self::LeadDeleted | Self::Cancelled { .. } => None,
        }
    }

    /// The state of a sync that is restarted, with what is known of the contact.
    pub(super) fn restarted(&self) -> Self {
        let (contact_created, force_create) = match self {
            Self::Requested {
                contact_created,
                force_create,
                ..
            } => (*contact_created, *force_create),
            Self::Upserted { delivered, .. } | Self::Tagged { delivered, .. } => {
                (delivered.action == Action::Insert, false)
            }
            _ => (false, false),
        };
        Self::Requested {
            contact: self.contact().cloned(),
            contact_created,
            force_create,
        }
    }

    /// What the last read of this round saw, where there was one.
    pub fn seen(&self) -> Option<&Seen> {
        match self {
            Self::Upserted { seen, .. } | Self::Tagged { seen, .. } | Self::Rejected { seen, .. } => Some(seen),
            _ => None,
        }
    }
}

impl Event {
    /// The stable name in the history and in logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Upserted { .. } => "upserted",
            Self::ContactUpserted { .. } => "contact_upserted",
            Self::Restored { .. } => "restored",
            Self::Changed => "changed",
            Self::ContactGone => "contact_gone",
            Self::Tagged { .. } => "tagged",
            Self::Rejected { .. } => "rejected",
            Self::RequestedAgain => "requested_again",
            Self::WrittenBack => "written_back",
            Self::LeadDeleted => "lead_deleted",
            Self::Withdrawn => "withdrawn",
            Self::Cancelled => "cancelled",
        }
    }

    /// The end it brings wherever on the way it happens, if it does.
    fn ends(&self) -> Option<State> {
        match self {
            Self::LeadDeleted => Some(State::LeadDeleted),
            Self::Withdrawn => Some(State::Cancelled { by: CancelledBy::Lead }),
            Self::Cancelled => Some(State::Cancelled {
                by: CancelledBy::Operator,
            }),
            _ => None,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// What follows when `event` meets `state`.
///
/// # Errors
/// [`IllegalEvent`] where the two do not go together; a final state takes no event at all.
pub fn apply(state: State, event: Event) -> Result<State, IllegalEvent> {
    use State::{Rejected, Requested, Tagged, Upserted};

    let illegal = IllegalEvent {
        state: state.label(),
        event: event.label(),
    };
    if let Some(end) = event.ends().filter(|_| !state.is_final()) {
        return Ok(end);
    }
    match (state, event) {
        (state @ (Requested { .. } | Upserted { .. }), Event::Rejected { reason, seen }) => Ok(Rejected {
            reason,
            contact: state.contact().cloned(),
            seen,
        }),

        (
            Requested {
                contact,
                contact_created,
                ..
            },
            Event::Upserted {
                mut delivered,
                seen,
                tag_not_before,
            },
        ) => {
            if contact_created && contact.as_ref() == Some(&delivered.contact) {
                delivered.action = Action::Insert;
            }
            Ok(Upserted {
                delivered,
                seen,
                tag_not_before,
            })
        }
        (
            Requested { .. },
            Event::Restored {
                delivered,
                seen,
                synced_at,
            },
        ) => Ok(Tagged {
            delivered,
            seen,
            synced_at,
        }),
        (Requested { .. } | Upserted { .. }, Event::ContactGone) => Ok(Requested {
            contact: None,
            contact_created: false,
            force_create: true,
        }),

        (
            Upserted {
                delivered,
                seen,
                tag_not_before: was,
            },
            Event::ContactUpserted { tag_not_before },
        ) => Ok(Upserted {
            delivered,
            seen,
            tag_not_before: was.max(tag_not_before),
        }),
        (state @ (Upserted { .. } | Rejected { .. }), Event::Changed) => Ok(state.restarted()),
        (Upserted { delivered, .. }, Event::Tagged { seen, synced_at }) => Ok(Tagged {
            delivered,
            seen,
            synced_at,
        }),

        (
            Tagged {
                delivered, synced_at, ..
            },
            Event::WrittenBack,
        ) => Ok(State::Sent { delivered, synced_at }),
        (Rejected { reason, contact, .. }, Event::WrittenBack) => Ok(State::Failed { reason, contact }),
        (state @ (Tagged { .. } | Rejected { .. }), Event::RequestedAgain) => Ok(state.restarted()),

        _ => Err(illegal),
    }
}

#[cfg(test)]
mod tests;
