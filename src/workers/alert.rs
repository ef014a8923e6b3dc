//! Sends alerts. Which alerts fire and when is the domain's; here the numbers are read, the message is posted, and the
//! state is stored, so that a restart neither repeats nor loses an alert.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::Url;
use serde_json::json;
use tokio::sync::Mutex;

use super::Context;
use super::notifier::{NotSent, Notifier};
use crate::clock::after;
use crate::domain::alert::{AlertLog, Message, Observation};
use crate::domain::retry::RetryPolicy;
use crate::random;
use crate::store::StoreError;

/// How often alerts are evaluated. No problem that needs the operator is over in less.
pub const INTERVAL: Duration = Duration::from_secs(20);

/// The key of the stored state.
const ALERT_LOG: &str = "alert_log";

/// The lock of the replica that sends alerts.
const ALERTS: &str = "alerts";

/// Failure groups read for an alert about failed leads.
const MAX_REASONS: usize = 20;

/// The pace of retries of a message, which never ends.
const RETRY: RetryPolicy = RetryPolicy {
    base_delay: Duration::from_secs(20),
    max_delay: Duration::from_secs(10 * 60),
    give_up_after: Duration::MAX,
};

/// Where alerts are sent, and their state.
pub struct Alerts {
    notifier: Notifier,
    dashboard: Option<String>,
    daily_credits: Option<u64>,
    evaluation: Mutex<Evaluation>,
}

#[derive(Default)]
struct Evaluation {
    /// `None` until it is loaded from the store.
    log: Option<AlertLog>,
    /// As it is in the store.
    stored: Option<AlertLog>,
    /// Rejected signatures counted so far.
    refused: u64,
    /// Failed attempts to send the present message, and when the next is due.
    attempts: u32,
    next_attempt_at: Option<Timestamp>,
}

impl Alerts {
    /// Sends with `notifier`. `dashboard` is named in each message; `daily_credits` is the allowance for 24 hours.
    pub fn new(notifier: Notifier, dashboard: Option<&Url>, daily_credits: Option<u64>) -> Self {
        Self {
            notifier,
            dashboard: dashboard.map(Url::to_string),
            daily_credits,
            evaluation: Mutex::new(Evaluation::default()),
        }
    }

    /// Evaluates the alerts, and sends the message that is due. Returns whether one was sent.
    ///
    /// # Errors
    /// The store's; the next step retries, and sends nothing twice while the process runs.
    pub async fn step(&self, context: &Context) -> Result<bool, StoreError> {
        let mut evaluation = self.evaluation.lock().await;
        // A store that cannot answer, because its disk is full, must not keep alerts from being sent.
        if let Ok(false) = context.store.try_lock(ALERTS, &context.replica, INTERVAL * 3).await {
            // Another replica sends alerts. Its state is in the store, for when this one takes over.
            *evaluation = Evaluation {
                refused: context.metrics.signatures_rejected.get(),
                ..Evaluation::default()
            };
            return Ok(false);
        }
        let refused = context.metrics.signatures_rejected.get();
        let observation = self
            .observation(context, refused.saturating_sub(evaluation.refused))
            .await?;
        let mut log = match evaluation.log.take() {
            Some(log) => log,
            None => load(context).await?.unwrap_or_else(|| AlertLog::begin(&observation)),
        };
        log.observe(&observation);
        evaluation.refused = refused;
        evaluation.log = Some(log.clone());
        // Before it is sent, so that nothing that resolves meanwhile is lost with the process. A full disk must not keep alerts
        // from being sent.
        let stored = save(context, &mut evaluation, &log).await;
        let may_try = evaluation.next_attempt_at.is_none_or(|then| then <= observation.at);
        let message = log.message(observation.at, self.dashboard.as_deref());
        let Some(message) = message.filter(|_| may_try) else {
            return stored.map(|()| false);
        };
        let is_sent = self.send(&message, &mut evaluation, observation.at).await;
        if is_sent {
            evaluation.log = Some(message.log.clone());
            save(context, &mut evaluation, &message.log).await?;
        }
        Ok(is_sent)
    }

    async fn observation(&self, context: &Context, refused: u64) -> Result<Observation, StoreError> {
        let overview = context.store.overview().await?;
        let reasons = context.store.failure_groups(MAX_REASONS).await?;
        let reasons = reasons
            .into_iter()
            .map(|group| (group.reason, group.leads, group.latest));
        Ok(Observation {
            at: overview.at,
            breakers: overview.breakers,
            paused_since: overview.paused_since,
            oldest: overview.oldest.map(|view| view.sync),
            in_progress: overview.ledger.in_progress,
            tag_delay: context.tag_delay,
            failed: overview.ledger.failed,
            failed_leads: overview.failed_leads,
            reasons: reasons.collect(),
            credits: overview.credits,
            daily_credits: self.daily_credits,
            rejected: refused,
            missed: overview.ledger.created_by_reconciliation,
        })
    }

    /// Only an accepted message counts. One whose answer was lost may be sent twice.
    async fn send(&self, message: &Message, evaluation: &mut Evaluation, at: Timestamp) -> bool {
        let posted = self.notifier.post(&json!({ "text": message.text })).await;
        match posted {
            Ok(()) => {
                let (firing, resolved) = (message.firing.len(), message.resolved.len());
                tracing::info!(firing, resolved, "alert sent: {firing} firing, {resolved} resolved");
                (evaluation.attempts, evaluation.next_attempt_at) = (0, None);
                true
            }
            Err(NotSent { code, retry_after }) => {
                if evaluation.attempts == 0 {
                    tracing::warn!(%code, "alert not sent: ALERT_URL did not accept it ({code}); retrying");
                }
                evaluation.attempts = evaluation.attempts.saturating_add(1);
                let wait = RETRY.delay(evaluation.attempts, random::unit(), retry_after);
                evaluation.next_attempt_at = Some(after(at, wait));
                false
            }
        }
    }
}

async fn save(context: &Context, evaluation: &mut Evaluation, log: &AlertLog) -> Result<(), StoreError> {
    if evaluation.stored.as_ref() != Some(log) {
        let bytes = serde_json::to_vec(log).map_err(|error| StoreError::Failed(error.to_string()))?;
        context.store.kv_put(ALERT_LOG, bytes).await?;
        evaluation.stored = Some(log.clone());
    }
    Ok(())
}

/// The stored state; `None` where there is none, or one of another version.
async fn load(context: &Context) -> Result<Option<AlertLog>, StoreError> {
    let stored = context.store.kv_get(ALERT_LOG).await?;
    Ok(stored.and_then(|(bytes, _)| serde_json::from_slice(&bytes).ok()))
}
