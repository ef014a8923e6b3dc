//! What a search is about: whose the leads are, what may go wrong, what people may wish, and how often.

use std::time::Duration;

use super::world::Budget;
use crate::domain::retry::RetryPolicy;

pub(super) const LEADS: usize = 2;
pub(super) const WORKERS: usize = 2;

/// Ticks from an upsert to its tag.
pub(super) const TAG_DELAY: u8 = 2;

/// Ticks that a claim holds.
pub(super) const LEASE: u8 = 2;

/// Ticks after the end of its call, by which a late insert is applied or never will be. Longer than a lease, so that one may
/// be applied after its claim ended unrecorded.
pub(super) const AMBIGUITY_DELAY: u8 = 3;

/// A wait is one tick, and the second failure that counts is the last.
pub(super) const POLICY: RetryPolicy = RetryPolicy {
    base_delay: Duration::from_secs(1),
    max_delay: Duration::from_secs(1),
    give_up_after: Duration::from_secs(1),
};

/// One search.
#[derive(Clone, Copy)]
pub(super) struct Scenario {
    pub(super) leads: [Identity; LEADS],
    /// How a remote call may end, beside well.
    pub(super) faults: &'static [Answer],
    /// What people may do.
    pub(super) wishes: &'static [Wish],
    /// To which leads: where leads are alike, one stands for both.
    pub(super) wished_for: &'static [usize],
    /// How often.
    pub(super) budget: Budget,
}

/// By what Bigin can tell whose contact it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// A unique value.
    Email(u8),
    /// No unique value: the contact is looked up before an insert.
    Phone(u8),
}

impl Identity {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Email(number) | Self::Phone(number) => number,
        }
    }

    /// The keyed hash of the unique value.
    pub(super) fn key(self) -> Option<String> {
        match self {
            Self::Email(number) => Some(number.to_string()),
            Self::Phone(_) => None,
        }
    }
}

/// How a remote call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// As it should.
    Well,
    /// The record is refused for what it says.
    Refused,
    /// Nothing was done, and it may succeed later.
    Busy,
    /// The reply is lost, and the work is done.
    LostDone,
    /// The reply is lost, and so is the request.
    LostUndone,
    /// The reply is lost, and the insert is applied later.
    LostLate,
    /// Bigin says that a contact is gone which is there.
    Contradiction,
}

/// What a person does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Changes a field of the lead.
    Edit,
    /// Asks for a lead that does not ask, as it is or with a change.
    Ask,
    AskChanged,
    /// Publishes a draft made before the result was written: it asks, and lacks what we wrote.
    PublishStale,
    Withdraw,
    DeleteLead,
    /// Cancels the sync.
    Cancel,
    /// Retries the sync, now.
    Retry,
    /// Deletes the lead's contact in Bigin.
    DeleteContact,
    /// Merges it into a new one.
    MergeContact,
}
