//! Tells people that something needs them, and that it is well again. What is told and when is the domain's; here the
//! numbers are read, the message is posted, and what was told is kept, so that a restart neither repeats nor forgets.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::Url;
use serde_json::json;
use tokio::sync::Mutex;

use super::Context;
use super::notifier::{Hook, NotTaken};
use crate::clock::after;
use crate::domain::alert::{Message, Standing, Told};
use crate::domain::retry::RetryPolicy;
use crate::random;
use crate::store::StoreError;

/// How often to look. Trouble that needs a person is not over in less.
pub const INTERVAL: Duration = Duration::from_secs(20);

/// The name that what was told is kept under.
const TOLD: &str = "told";

/// What only one of several replicas does.
const ALERTS: &str = "alerts";

/// Reasons that are looked through for those of leads that failed lately.
const REASONS: usize = 20;

/// The pace at which a message is tried again, for as long as it takes.
const RETRY: RetryPolicy = RetryPolicy {
    base_delay: Duration::from_secs(20),
    max_delay: Duration::from_secs(10 * 60),
    give_up_after: Duration::MAX,
};

/// Who is told, and what was told so far.
pub struct Alerts {
    hook: Hook,
    dashboard: Option<String>,
    daily_credits: Option<u64>,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// `None` until it is read from the store.
    told: Option<Told>,
    /// What the store has of it.
    kept: Option<Told>,
    /// Refused signatures that were counted in.
    refused: u64,
    /// How often the present message was tried in vain, and when it is worth trying again.
    failures: u32,
    not_before: Option<Timestamp>,
}

impl Alerts {
    /// Tells this address. `dashboard` is named in each message; `daily_credits` is what Bigin gives in 24 hours.
    pub fn new(hook: Hook, dashboard: Option<&Url>, daily_credits: Option<u64>) -> Self {
        Self {
            hook,
            dashboard: dashboard.map(Url::to_string),
            daily_credits,
            memory: Mutex::new(Memory::default()),
        }
    }

    /// Looks how things stand, and tells what there is to tell. Returns whether a message was taken.
    ///
    /// # Errors
    /// The store's; the next look begins anew, and nothing is told twice for it while the program runs.
    pub async fn step(&self, context: &Context) -> Result<bool, StoreError> {
        let mut memory = self.memory.lock().await;
        // A store that cannot say, because its disk is full, is no reason to tell nobody.
        if let Ok(false) = context.store.try_lock(ALERTS, &context.replica, INTERVAL * 3).await {
            // Another replica tells. What it tells is in the store, for when this one takes its place.
            *memory = Memory {
                refused: context.metrics.signatures_refused.get(),
                ..Memory::default()
            };
            return Ok(false);
        }
        let refused = context.metrics.signatures_refused.get();
        let standing = self.standing(context, refused.saturating_sub(memory.refused)).await?;
        let mut told = match memory.told.take() {
            Some(told) => told,
            None => read(context).await?.unwrap_or_else(|| Told::begin(&standing)),
        };
        told.observe(&standing);
        memory.refused = refused;
        memory.told = Some(told.clone());
        // Before it is told, so that what ends meanwhile is not lost with the process. A disk that takes nothing more is no
        // reason to tell nobody.
        let kept = keep(context, &mut memory, &told).await;
        let may_try = memory.not_before.is_none_or(|then| then <= standing.at);
        let due = told.message(standing.at, self.dashboard.as_deref());
        let Some(message) = due.filter(|_| may_try) else {
            return kept.map(|()| false);
        };
        let is_taken = self.tell(&message, &mut memory, standing.at).await;
        if is_taken {
            memory.told = Some(message.told.clone());
            keep(context, &mut memory, &message.told).await?;
        }
        Ok(is_taken)
    }

    async fn standing(&self, context: &Context, refused: u64) -> Result<Standing, StoreError> {
        let overview = context.store.overview().await?;
        let reasons = context.store.failure_groups(REASONS).await?;
        let reasons = reasons
            .into_iter()
            .map(|group| (group.reason, group.leads, group.latest));
        Ok(Standing {
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
            refused,
            missed: overview.ledger.created_by_reconciliation,
        })
    }

    /// Only what was taken counts as told. One whose answer was lost may come twice: better than not at all.
    async fn tell(&self, message: &Message, memory: &mut Memory, at: Timestamp) -> bool {
        let posted = self.hook.post(&json!({ "text": message.text })).await;
        match posted {
            Ok(()) => {
                let (begun, ended) = (message.begun.len(), message.ended.len());
                tracing::info!(
                    begun,
                    ended,
                    "ALERT_URL was told: {begun} troubles have begun, {ended} are over"
                );
                (memory.failures, memory.not_before) = (0, None);
                true
            }
            Err(NotTaken { code, retry_after }) => {
                if memory.failures == 0 {
                    tracing::warn!(%code, "ALERT_URL took no message ({code}); it is tried again until it does");
                }
                memory.failures = memory.failures.saturating_add(1);
                let wait = RETRY.delay(memory.failures, random::unit(), retry_after);
                memory.not_before = Some(after(at, wait));
                false
            }
        }
    }
}

async fn keep(context: &Context, memory: &mut Memory, told: &Told) -> Result<(), StoreError> {
    if memory.kept.as_ref() != Some(told) {
        let bytes = serde_json::to_vec(told).map_err(|error| StoreError::Failed(error.to_string()))?;
        context.store.kv_put(TOLD, bytes).await?;
        memory.kept = Some(told.clone());
    }
    Ok(())
}

/// What was told before; `None` where that is nothing, or what another version wrote.
async fn read(context: &Context) -> Result<Option<Told>, StoreError> {
    let kept = context.store.kv_get(TOLD).await?;
    Ok(kept.and_then(|(bytes, _)| serde_json::from_slice(&bytes).ok()))
}
