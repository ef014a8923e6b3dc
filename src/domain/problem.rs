//! What needs the operator's attention, as one type for readiness, health, pages and `status`.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::breaker::{Breaker, Open};
use super::failure::{Remote, ServiceErrorKind};

/// One thing that is wrong. Prose is made here and nowhere parsed: programs use `remote` and `code`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Where: `bigin`, `zoho_accounts`, `sanity`, `store` or `workers`.
    pub remote: String,
    /// Stable: a service's own code (`invalid_code`, `HTTP 503`), or one of ours (`paused`, `disk_full`, `webhooks_missed`).
    pub code: String,
    /// What happened: a clause that begins in lower case unless with a name, without a full stop.
    pub what: String,
    /// What to do, as such a clause.
    pub action: String,
    /// Since when, where it is known.
    pub since: Option<Timestamp>,
    /// When the service is called next.
    pub until: Option<Timestamp>,
}

impl Problem {
    /// Without times.
    pub fn new(remote: &str, code: &str, what: impl Into<String>, action: &str) -> Self {
        Self {
            remote: remote.to_owned(),
            code: code.to_owned(),
            what: what.into(),
            action: action.to_owned(),
            since: None,
            until: None,
        }
    }

    /// The service's, where its breaker is open.
    pub fn of(breaker: &Breaker) -> Option<Self> {
        let open = breaker.open.as_ref()?;
        let action = action(breaker.remote, open);
        Some(Self {
            since: Some(open.since),
            until: Some(open.until),
            ..Self::new(breaker.remote.label(), &open.code, &open.what, &action)
        })
    }

    /// The operator has paused all work.
    pub fn paused(since: Timestamp) -> Self {
        Self {
            since: Some(since),
            ..Self::new(
                "workers",
                "paused",
                "sending is paused by the operator; webhooks are still stored",
                "resume sending on the dashboard or with POST /api/resume",
            )
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            remote,
            code,
            what,
            action,
            ..
        } = self;
        write!(f, "{remote}: {what} ({code}); {action}")
    }
}

/// The service's own advice, or that of its kind.
fn action(remote: Remote, open: &Open) -> String {
    if let Some(action) = &open.action {
        return action.clone();
    }
    let advice = match open.kind {
        ServiceErrorKind::Unauthorized => "check the credentials and their permissions",
        ServiceErrorKind::TokenRateLimited => "request no token for ten minutes; sending then resumes by itself",
        ServiceErrorKind::RateLimited => "no action needed: calls are retried automatically at a slower pace",
        ServiceErrorKind::CreditsUsedUp => "check what else uses the API, or buy more credits",
        ServiceErrorKind::Unavailable => {
            return format!(
                "no action needed at first: calls are retried automatically and the leads stay queued; if it lasts for hours, check the status page of {} or contact its support",
                remote.name()
            );
        }
    };
    advice.to_owned()
}
