//! The JSON of the API: one set of types for the service and its clients.

mod event_text;

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::lead::LeadId;
use crate::domain::problem::Problem;
use crate::domain::sync::SyncId;
use crate::store::{FailureGroup, Ledger, SyncEvent};

pub(crate) use event_text::{detail_text, event_text};

/// A word of a fixed set, which a later service may extend.
type Label = Cow<'static, str>;

/// A sync.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Sync)]
pub(crate) struct SyncJson {
    #[schema(value_type = i64)]
    pub(crate) id: SyncId,
    /// Sanity's id of the lead.
    #[schema(value_type = String)]
    pub(crate) lead_id: LeadId,
    /// requested, upserted, tagged, rejected; or its end: sent, failed, lead_deleted, cancelled.
    #[schema(value_type = String)]
    pub(crate) state: Label,
    /// Bigin's id of the contact, where one is known.
    pub(crate) contact_id: Option<String>,
    /// Whether this sync created the contact (insert) or updated it (update).
    #[schema(value_type = Option<String>)]
    pub(crate) action: Option<Label>,
    /// Why it was rejected or cancelled. Names fields, never values.
    pub(crate) reason: Option<String>,
    /// The stable code of the reason; see docs/ERRORS.md.
    #[schema(value_type = Option<String>)]
    pub(crate) reason_code: Option<Label>,
    /// The field that the reason is about.
    pub(crate) reason_field: Option<String>,
    /// What to do about it.
    #[serde(skip)]
    pub(crate) advice: Option<&'static str>,
    /// Who cancelled it: `lead` (its crmStatus was changed in Sanity) or `operator`.
    #[schema(value_type = Option<String>)]
    pub(crate) cancelled_by: Option<Label>,
    /// No tag is added before this.
    pub(crate) tag_not_before: Option<Timestamp>,
    /// What the lead's lastSyncedAt says, or will.
    pub(crate) last_synced_at: Option<Timestamp>,
    /// How many requests it has had, the first included.
    pub(crate) requests: u32,
    /// One of them came from an operator.
    pub(crate) is_manual: bool,
    /// How often edits without a request restarted it.
    pub(crate) edits: u32,
    /// Failed attempts in a row since it last made progress.
    pub(crate) attempts: u32,
    /// The error of the last one.
    pub(crate) last_error: Option<String>,
    /// No worker claims it before this; none if it has finished.
    pub(crate) next_attempt_at: Option<Timestamp>,
    pub(crate) created_at: Timestamp,
    /// When its state last changed.
    pub(crate) changed_at: Timestamp,
    pub(crate) finished_at: Option<Timestamp>,
    /// The next sync of the lead, if this one has finished and the lead was requested again.
    #[schema(value_type = Option<i64>)]
    pub(crate) next_sync: Option<SyncId>,
    /// When an operator dismissed the failure, if so.
    pub(crate) dismissed_at: Option<Timestamp>,
    /// The unavailable remote services that it waits for; only in the answer to a retry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) unavailable: Vec<OpenBreaker>,
    /// Everything that has happened to it, oldest first; only in the answer for one sync.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) events: Option<Vec<SyncEvent>>,
}

impl SyncJson {
    /// Whether the lead has been read from Sanity.
    pub(crate) fn is_read(&self) -> bool {
        self.state != "requested"
    }

    pub(crate) fn is_finished(&self) -> bool {
        matches!(&*self.state, "sent" | "failed" | "lead_deleted" | "cancelled")
    }
}

/// A page of syncs.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct Page {
    pub(crate) syncs: Vec<SyncJson>,
    /// The `before` of the next page, where there may be one. It stays good while syncs are created.
    #[schema(value_type = Option<i64>)]
    pub(crate) next: Option<SyncId>,
}

/// Whether webhooks can be stored, and all problems.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Readiness {
    /// `ready`; `degraded`: there are problems; `unavailable`: webhooks cannot be stored.
    #[schema(value_type = String)]
    pub(crate) status: Label,
    /// Each problem, and what to do.
    pub(crate) degraded: Vec<Problem>,
}

/// The state of the service.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Health {
    /// The service's time.
    pub(crate) at: Timestamp,
    /// What is wrong and what to do about it.
    pub(crate) problems: Vec<Problem>,
    /// Since when the operator has paused sending, if so.
    pub(crate) paused_since: Option<Timestamp>,
    /// The circuit breakers that are open.
    pub(crate) breakers: Vec<OpenBreaker>,
    /// Each remote service, by the last calls to it.
    pub(crate) services: Vec<Service>,
    /// Whether webhooks arrive.
    pub(crate) webhooks: Webhooks,
    /// Syncs in progress, by state.
    pub(crate) in_progress: BTreeMap<String, u64>,
    /// The oldest sync in progress.
    pub(crate) oldest_waiting: Option<Waiting>,
    /// Leads whose last sync failed, without a request since.
    pub(crate) failed_leads: u64,
    /// Syncs that ended in the last hour.
    pub(crate) last_hour: Ended,
    /// Syncs that ended in the last 24 hours.
    pub(crate) last_day: Ended,
    /// Credits of Bigin used in the last 24 hours: an estimate by its documentation.
    pub(crate) credits_used: u64,
    /// How many Bigin gives in 24 hours, where BIGIN_DAILY_CREDITS says so.
    pub(crate) daily_credits: Option<u64>,
    /// The access token to Bigin.
    pub(crate) token: Token,
    /// Everything that ever came in, and what became of it.
    pub(crate) ledger: Ledger,
    /// Whether the ledger's sums hold, as they do at every moment.
    pub(crate) balances: bool,
}

/// A remote service.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Service {
    /// zoho_accounts, bigin or sanity.
    #[schema(value_type = String)]
    pub(crate) remote: Label,
    /// reachable, unavailable, or not_called_yet: since this process was started.
    #[schema(value_type = String)]
    pub(crate) state: Label,
}

/// Whether webhooks arrive.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Webhooks {
    /// When the last one was stored; none within RETENTION where this is empty.
    pub(crate) last_received_at: Option<Timestamp>,
    /// How many were rejected for their signature since the last accepted one, at most since this process was started.
    pub(crate) rejected: u64,
    pub(crate) last_rejected_at: Option<Timestamp>,
    /// How many were missed in a row: their leads were found by reconciliation, and no webhook has come in since.
    pub(crate) missed: u64,
    pub(crate) last_missed_at: Option<Timestamp>,
    /// Where webhooks are rejected or missed as a rule.
    pub(crate) problem: Option<Problem>,
}

/// An open circuit breaker: its remote service is not called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct OpenBreaker {
    /// zoho_accounts, bigin or sanity.
    #[schema(value_type = String)]
    pub(crate) remote: Label,
    pub(crate) since: Timestamp,
    /// When the next call is made, as a probe.
    pub(crate) until: Timestamp,
    /// Short stable word.
    pub(crate) code: String,
    /// What happened.
    pub(crate) what: String,
    /// What to do.
    pub(crate) action: String,
    /// A POST to this path checks the remote service now.
    pub(crate) check: String,
    /// An early check extends the rate limit.
    #[serde(skip)]
    pub(crate) is_rate_limited: bool,
}

/// A sync that has not ended.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Waiting {
    #[schema(value_type = i64)]
    pub(crate) sync_id: SyncId,
    #[schema(value_type = String)]
    pub(crate) lead_id: LeadId,
    #[schema(value_type = String)]
    pub(crate) state: Label,
    pub(crate) created_at: Timestamp,
    /// How long ago that was.
    pub(crate) seconds: u64,
}

/// How many syncs ended in a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Ended {
    /// `SENT`.
    pub(crate) sent: u64,
    /// `FAILED`.
    pub(crate) failed: u64,
}

/// The access token.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Token {
    /// When the last one was granted; none in the last day where this is empty.
    pub(crate) granted_at: Option<Timestamp>,
    /// How long ago that was.
    pub(crate) age_seconds: Option<u64>,
    /// How many were granted in the last 24 hours.
    pub(crate) grants: usize,
}

/// The result of a check.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Checked {
    /// zoho_accounts, bigin or sanity.
    #[schema(value_type = String)]
    pub(crate) remote: Label,
    /// reachable; unavailable; or checking, where the call has not ended yet.
    #[schema(value_type = String)]
    pub(crate) state: Label,
    /// What is still wrong, where something is.
    pub(crate) unavailable: Option<OpenBreaker>,
}

/// The reasons for which most leads have failed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Failures {
    /// The most frequent first.
    pub(crate) failures: Vec<FailureGroup>,
}

/// How many leads are retried.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Retried {
    pub(crate) retried: usize,
    /// The unavailable remote services that they wait for; left out if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) unavailable: Vec<OpenBreaker>,
}
