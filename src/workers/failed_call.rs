//! A call that failed as a whole, and what that says of the leads in it.

use crate::domain::breaker::Cause;
use crate::domain::failure::{CallError, Remote, ServiceError};
use crate::domain::reject_reason::RejectReason;
use crate::store::Claimed;

/// The culprits of a refused batch are looked for until this many calls in a row have been refused: then the service refuses all
/// by now. Halving a hundred leads down to one takes eight.
pub(super) const MAX_REFUSALS: usize = 9;

/// A failed call with one lead alone, whose fault or the service's it may be.
#[derive(Clone)]
pub(super) struct FailedCall {
    /// The failure, as if it were the whole service's.
    pub(super) service_error: ServiceError,
    /// What the lead is rejected for if it is to blame.
    pub(super) reason: RejectReason,
    /// Its end is not known; else it was refused, and nothing was done.
    pub(super) is_ambiguous: bool,
}

impl FailedCall {
    /// The service refused the record for a reason of its own; nothing was done.
    pub(super) fn refused(service_error: ServiceError) -> Self {
        Self {
            reason: service_error.reject_reason(),
            service_error,
            is_ambiguous: false,
        }
    }

    pub(super) fn of(error: CallError, remote: Remote) -> Self {
        let is_ambiguous = matches!(error, CallError::Ambiguous { .. });
        let rejected = match &error {
            CallError::Rejected { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        let service_error = error.into_service_error(remote);
        Self {
            reason: rejected.unwrap_or_else(|| service_error.reject_reason()),
            service_error,
            is_ambiguous,
        }
    }
}

/// Half of a call that ended ambiguously.
pub(super) fn bisect_limit(records: usize) -> u32 {
    u32::try_from(records / 2).unwrap_or(u32::MAX).max(1)
}

/// Syncs that had all failed before say little of the service.
pub(super) fn cause_of(carried: &[&Claimed]) -> Cause {
    let have_all_failed = carried.iter().all(|claimed| claimed.sync.has_failed());
    if have_all_failed {
        Cause::FailedLeads
    } else {
        Cause::Service
    }
}
