//! Finds the leads whose webhook never came: published, still `REQUESTED` for a while, and without a sync.

use std::time::Duration;

use super::Context;
use crate::domain::failure::{CallError, Remote};
use crate::domain::lead::{Lead, LeadId};
use crate::domain::sync::Source;
use crate::store::{Accepted, StoreError};

/// Leads of one page: one query and one read.
const PAGE: usize = 100;

/// A call of reconciliation is given up after this.
const DEADLINE: Duration = Duration::from_secs(30);

/// Why a round was cut short. What it had found by then is being carried out.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// Sanity did not answer.
    #[error(transparent)]
    Sanity(#[from] CallError),
    /// The store did not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What only one of several replicas does.
const RECONCILIATION: &str = "reconciliation";

/// A replica that reconciles goes on doing so, unless it has not for this many intervals.
const LASTING: u32 = 2;

/// A round, unless another replica makes them.
///
/// # Errors
/// As of [`round`].
pub async fn round_of_one(
    context: &Context,
    interval: Duration,
    min_age: Duration,
) -> Result<Option<usize>, ReconcileError> {
    let lasting = interval.saturating_mul(LASTING);
    if !context.store.hold(RECONCILIATION, &context.replica, lasting).await? {
        return Ok(None);
    }
    round(context, min_age).await
}

/// Leaves the rounds to another replica at once.
pub async fn stop(context: &Context) {
    if let Err(error) = context.store.let_go(RECONCILIATION, &context.replica).await {
        tracing::debug!("another replica reconciles later than it might: {error}");
    }
}

/// One round over all leads that ask. Returns how many syncs it opened: webhooks that were missed. `None` while Sanity
/// wants to be left alone: then there is no round.
///
/// # Errors
/// [`ReconcileError`]; the next round begins anew.
pub async fn round(context: &Context, min_age: Duration) -> Result<Option<usize>, ReconcileError> {
    let Some(breakers) = context.unless_paused(&[Remote::Sanity]).await? else {
        return Ok(None);
    };
    let found = pages(context, min_age).await;
    match &found {
        Ok(_) => context.has_heard(&breakers).await?,
        Err(ReconcileError::Sanity(error)) => context.has_failed(&breakers, error).await?,
        Err(ReconcileError::Store(_)) => {}
    }
    found.map(Some)
}

async fn pages(context: &Context, min_age: Duration) -> Result<usize, ReconcileError> {
    let mut opened = 0;
    let mut last: Option<LeadId> = None;
    loop {
        let page = context.sanity.requested(last.as_ref(), min_age, PAGE, DEADLINE).await?;
        let is_last = page.len() < PAGE;
        last = page.last().cloned();
        let idle = context.store.without_sync(page).await?;
        opened += open(context, &idle).await?;
        if is_last || last.is_none() {
            return Ok(opened);
        }
    }
}

/// The query may be behind: each candidate is read again, consistently, before a sync is opened for it.
async fn open(context: &Context, candidates: &[LeadId]) -> Result<usize, ReconcileError> {
    if candidates.is_empty() {
        return Ok(0);
    }
    let mut opened = 0;
    for (id, read) in context.sanity.read(candidates, DEADLINE).await? {
        let Some(lead) = read.published.filter(Lead::is_requested) else {
            continue;
        };
        let accepted = context
            .store
            .request(id.clone(), Source::Reconciliation, Some(lead.revision()))
            .await?;
        if let Accepted::Opened(sync) = accepted {
            opened += 1;
            tracing::warn!(sync_id = %sync, lead_id = %id, "lead {id} asked for a sync and no webhook came: sync {sync} is opened by reconciliation");
        }
    }
    Ok(opened)
}
