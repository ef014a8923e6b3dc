//! Finds the leads whose webhook never came: published, still `REQUESTED` for a while, and without a sync.

use std::time::Duration;

use super::Context;
use crate::domain::failure::{CallError, Remote};
use crate::domain::lead::{Lead, LeadId};
use crate::domain::sync::Source;
use crate::store::{Accepted, StoreError};

/// Leads of one query. Each query has Sanity look through all that ask, so few of them.
const PAGE: usize = 1_000;

/// Leads of one read, of those that are to be read at all.
const READ: usize = 100;

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

/// Whether this replica reconciles, from now for some intervals.
async fn is_ours(context: &Context, interval: Duration) -> Result<bool, StoreError> {
    let lasting = interval.saturating_mul(LASTING);
    context.store.hold(RECONCILIATION, &context.replica, lasting).await
}

/// Leaves the rounds to another replica at once.
pub async fn stop(context: &Context) {
    if let Err(error) = context.store.let_go(RECONCILIATION, &context.replica).await {
        tracing::debug!("another replica reconciles later than it might: {error}");
    }
}

/// One round over all leads that ask. Returns how many syncs it opened: webhooks that were missed. `None` while Sanity
/// wants to be left alone or another replica makes the rounds: then there is none.
///
/// # Errors
/// [`ReconcileError`]; the next round begins anew.
pub async fn round(context: &Context, interval: Duration, min_age: Duration) -> Result<Option<usize>, ReconcileError> {
    if !is_ours(context, interval).await? {
        return Ok(None);
    }
    let Some(breakers) = context.unless_paused(&[Remote::Sanity]).await? else {
        return Ok(None);
    };
    let found = pages(context, interval, min_age).await;
    match &found {
        Ok(_) => context.has_heard(&breakers).await?,
        Err(ReconcileError::Sanity(error)) => context.has_failed(&breakers, error).await?,
        Err(ReconcileError::Store(_)) => {}
    }
    found.map(Some)
}

/// Goes on as long as no other replica has taken the rounds over, which it may once something has taken too long.
async fn pages(context: &Context, interval: Duration, min_age: Duration) -> Result<usize, ReconcileError> {
    let mut opened = 0;
    let mut last: Option<LeadId> = None;
    loop {
        let page = context.sanity.requested(last.as_ref(), min_age, PAGE, DEADLINE).await?;
        let is_last = page.len() < PAGE;
        last = page.last().cloned();
        let idle = context.store.without_sync(page).await?;
        for candidates in idle.chunks(READ) {
            opened += open(context, candidates).await?;
            if !is_ours(context, interval).await? {
                return Ok(opened);
            }
        }
        if is_last || last.is_none() || !is_ours(context, interval).await? {
            return Ok(opened);
        }
    }
}

/// The query may be behind: each candidate is read again, consistently, before a sync is opened for it.
async fn open(context: &Context, candidates: &[LeadId]) -> Result<usize, ReconcileError> {
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
