//! Why a remote call brought no result, sorted by what the caller will do about it.

use std::fmt;
use std::time::Duration;

use super::reject_reason::{RejectReason, sentence};

/// Why a call has no answer. Unless [`TransportError::never_sent`], the request may have been carried out all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.code())]
pub enum TransportError {
    /// No connection was made: address lookup, TCP or TLS failed.
    Connect,
    /// The request was not sent.
    NotSent,
    /// No answer came within the deadline.
    Timeout,
    /// The answer exceeded its limit.
    TooLarge,
    /// The connection ended before the answer did.
    Lost,
}

impl TransportError {
    /// The short stable word for logs and history.
    pub fn code(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::NotSent => "not sent",
            Self::Timeout => "timeout",
            Self::TooLarge => "answer too large",
            Self::Lost => "connection lost",
        }
    }

    /// Whether it is certain that the service received nothing of the request.
    pub fn never_sent(self) -> bool {
        matches!(self, Self::Connect | Self::NotSent)
    }

    /// For a caller of `remote`: the service is unavailable if nothing was sent, else the call ended ambiguously.
    pub fn into_call_error(self, remote: Remote) -> CallError {
        let service = remote.name();
        let what = match self {
            Self::Connect | Self::NotSent => format!("{service} cannot be reached"),
            Self::Timeout => format!("{service} did not answer in time"),
            Self::TooLarge => format!("{service} sent a larger answer than this call allows"),
            Self::Lost => format!("the connection to {service} was lost before its answer was complete"),
        };
        let code = self.code().to_owned();
        if self.never_sent() {
            return CallError::Service(ServiceError {
                remote,
                kind: ServiceErrorKind::Unavailable,
                code,
                what,
                action: None,
                retry_after: None,
            });
        }
        CallError::Ambiguous {
            code,
            message: what,
            retry_after: None,
            transport: Some(self),
        }
    }
}

/// A call that failed as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The remote service accepts no calls for now, and no lead is the cause: its breaker opens, and no attempt is counted.
    #[error("{0}")]
    Service(ServiceError),
    /// The call may or may not have been applied: a timeout, a lost connection, HTTP 5xx or 408, or an answer that does not
    /// say (a page of a proxy, results that are missing).
    #[error("{code}: {message}")]
    Ambiguous {
        /// A short stable word for logs, like `timeout`, `HTTP 502`, `INTERNAL_ERROR`.
        code: String,
        /// A sentence for people, with nothing of a lead in it.
        message: String,
        /// The least time the service asks us to wait.
        retry_after: Option<Duration>,
        /// Why there is no answer; `None` if there is one.
        transport: Option<TransportError>,
    },
    /// The request was refused as a whole, for what was in it, and nothing was done.
    #[error("{reason}")]
    Rejected {
        /// The service's own code, like `INVALID_DATA`.
        code: String,
        /// What a lead would be rejected for that was alone in the call.
        reason: RejectReason,
    },
}

impl CallError {
    /// An answer that does not say whether the work was done.
    pub fn ambiguous(code: impl Into<String>, message: impl Into<String>, retry_after: Option<Duration>) -> Self {
        Self::Ambiguous {
            code: code.into(),
            message: message.into(),
            retry_after,
            transport: None,
        }
    }

    /// The answer was read and does not say what it should.
    pub fn unreadable(message: &str) -> Self {
        Self::ambiguous("UNREADABLE_ANSWER", message, None)
    }

    /// The same failure as the whole service's.
    pub fn into_service_error(self, remote: Remote) -> ServiceError {
        let (code, message, retry_after) = match self {
            Self::Service(error) => return error,
            Self::Ambiguous {
                code,
                message,
                retry_after,
                ..
            } => (code, message, retry_after),
            Self::Rejected { code, reason } => (code, reason.to_string(), None),
        };
        ServiceError::new(remote, ServiceErrorKind::Unavailable, code, message).with_retry_after(retry_after)
    }

    /// The name of its kind in metrics and spans.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Service(error) => error.kind.label(),
            Self::Ambiguous { .. } => "ambiguous",
            Self::Rejected { .. } => "rejected",
        }
    }

    /// The short stable word for logs and history.
    pub fn code(&self) -> &str {
        match self {
            Self::Service(error) => &error.code,
            Self::Ambiguous { code, .. } | Self::Rejected { code, .. } => code,
        }
    }
}

/// The remote services whose trouble pauses work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Remote {
    /// Zoho Accounts, which grants access tokens to Bigin.
    ZohoAccounts,
    /// Bigin's API.
    Bigin,
    /// Sanity's API.
    Sanity,
}

impl Remote {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ZohoAccounts, Self::Bigin, Self::Sanity];

    /// The stable name in the store, logs, metrics and `/readyz`.
    pub fn label(self) -> &'static str {
        match self {
            Self::ZohoAccounts => "zoho_accounts",
            Self::Bigin => "bigin",
            Self::Sanity => "sanity",
        }
    }

    /// The name in sentences for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::ZohoAccounts => "Zoho Accounts",
            Self::Bigin => "Bigin",
            Self::Sanity => "Sanity",
        }
    }

    /// The inverse of [`Remote::label`].
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|remote| remote.label() == label)
    }
}

/// Why a service takes no work, and for how long at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceError {
    /// Which service.
    pub remote: Remote,
    /// What kind of trouble; decides the pace of asking again.
    pub kind: ServiceErrorKind,
    /// A short stable word: `invalid_code`, `TOO_MANY_REQUESTS`, `HTTP 503`.
    pub code: String,
    /// What happened, for the operator: a clause without the code and without a full stop.
    pub what: String,
    /// What the operator can do about it, as a clause; `None` where waiting is enough.
    pub action: Option<String>,
    /// The least time the service asks us to wait.
    pub retry_after: Option<Duration>,
}

impl ServiceError {
    /// Without an action, and without a time to wait.
    pub fn new(remote: Remote, kind: ServiceErrorKind, code: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            remote,
            kind,
            code: code.into(),
            what: what.into(),
            action: None,
            retry_after: None,
        }
    }

    /// The same with what the operator can do.
    #[must_use]
    pub fn with_action(self, action: impl Into<String>) -> Self {
        let action = Some(action.into());
        Self { action, ..self }
    }

    /// The same with the least time to wait.
    #[must_use]
    pub fn with_retry_after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }

    /// Why a lead is rejected whose call alone ended with this error.
    pub fn reject_reason(&self) -> RejectReason {
        RejectReason::CallFailed {
            what: self.what.clone(),
            service_code: self.code.clone(),
        }
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", sentence(&self.code, &self.what))?;
        self.action.iter().try_for_each(|action| write!(f, "; {action}"))
    }
}

/// Kinds of trouble of a whole service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceErrorKind {
    /// Our credentials or their scopes are refused: asked again at the pace of retries, and a person is needed.
    Unauthorized,
    /// The token endpoint says we asked too often: asking again before ten quiet minutes prolongs it.
    TokenRateLimited,
    /// A rate or concurrency limit; passes by itself.
    RateLimited,
    /// The API credits of the last 24 hours are used up; passes by itself, slowly.
    CreditsUsedUp,
    /// The service cannot be reached or answers 5xx.
    Unavailable,
}

impl ServiceErrorKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Unauthorized,
        Self::TokenRateLimited,
        Self::RateLimited,
        Self::CreditsUsedUp,
        Self::Unavailable,
    ];

    /// The stable name in the store, metrics and spans.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::TokenRateLimited => "token_rate_limited",
            Self::RateLimited => "rate_limited",
            Self::CreditsUsedUp => "credits_used_up",
            Self::Unavailable => "unavailable",
        }
    }

    /// The inverse of [`ServiceErrorKind::label`].
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.label() == label)
    }
}

/// What became of one record of a call that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemError {
    /// The record is refused for what it says; a sentence that names fields, never values.
    Rejected {
        /// The service's own code, like `INVALID_DATA`.
        code: String,
        /// For editors: `Bigin rejected Email: not an email address`.
        reason: RejectReason,
    },
    /// The contact with this id no longer exists (deleted, or merged into another).
    ContactGone,
    /// The service refuses it for a reason that is not the record's: a missing right, a limit, an internal error.
    Service {
        /// The error, as if it were for every record.
        error: ServiceError,
    },
    /// It may succeed later (`RECORD_LOCKED`).
    Retry {
        /// The service's own code.
        code: String,
    },
}
