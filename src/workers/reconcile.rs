//! Finds the leads whose webhook never came: published, still `REQUESTED` for a while, and without a sync.

use std::time::Duration;

use super::Context;
use crate::domain::failure::{CallError, Remote};
use crate::domain::lead::{Lead, LeadId};
use crate::domain::sync::Source;
use crate::sanity::{Read, ReadError};
use crate::store::{Accepted, StoreError};

/// Leads of one query. Each query has Sanity look through all that ask, so few of them.
const PAGE: usize = 1_000;

/// So many parts in a row that cannot be read end the run.
const MAX_FAILURES: usize = 3;

/// A call of reconciliation is given up after this.
const DEADLINE: Duration = Duration::from_secs(30);

/// Why a run was cut short. What it had found by then is being carried out.
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
const LOCK_INTERVALS: u32 = 2;

/// Whether this replica reconciles, from now for some intervals.
async fn hold_lock(context: &Context, interval: Duration) -> Result<bool, StoreError> {
    let lasting = interval.saturating_mul(LOCK_INTERVALS);
    context.store.try_lock(RECONCILIATION, &context.replica, lasting).await
}

/// Leaves the runs to another replica at once.
pub async fn stop(context: &Context) {
    if let Err(error) = context.store.unlock(RECONCILIATION, &context.replica).await {
        tracing::debug!("another replica reconciles later than it might: {error}");
    }
}

/// One run over all leads that ask. Returns how many syncs it created: webhooks that were missed. `None` while Sanity
/// wants to be left alone or another replica makes the runs: then there is none.
///
/// # Errors
/// [`ReconcileError`]; the next run starts from the beginning.
pub async fn reconcile(
    context: &Context,
    interval: Duration,
    min_age: Duration,
) -> Result<Option<usize>, ReconcileError> {
    if !hold_lock(context, interval).await? {
        return Ok(None);
    }
    let Some(breakers) = context.breakers_if_callable(&[Remote::Sanity]).await? else {
        return Ok(None);
    };
    let found = pages(context, interval, min_age).await;
    match &found {
        Ok(_) => context.record_success(&breakers).await?,
        Err(ReconcileError::Sanity(error)) => context.record_failure(&breakers, Remote::Sanity, error).await?,
        Err(ReconcileError::Store(_)) => {}
    }
    found.map(Some)
}

/// What a run has come to so far.
#[derive(Default)]
struct Progress {
    created: usize,
    /// The first part that could not be read.
    failed: Option<CallError>,
    /// How many could not be since the last one that could.
    failures: usize,
}

/// Goes on as long as no other replica has taken the runs over, which it may once something has taken too long.
///
/// # Errors
/// [`ReconcileError`], also where leads were left out: what else there is has been looked at.
async fn pages(context: &Context, interval: Duration, min_age: Duration) -> Result<usize, ReconcileError> {
    let mut progress = Progress::default();
    let mut last: Option<LeadId> = None;
    'pages: loop {
        let page = context.sanity.requested(last.as_ref(), min_age, PAGE, DEADLINE).await?;
        let is_last = page.len() < PAGE;
        last = page.last().cloned();
        let idle = context.store.without_sync(page).await?;
        let mut rest = idle.as_slice();
        while !rest.is_empty() {
            rest = create_missed_syncs(context, rest, &mut progress).await?;
            if !hold_lock(context, interval).await? {
                break 'pages;
            }
        }
        if is_last || last.is_none() || !hold_lock(context, interval).await? {
            break;
        }
    }
    match progress.failed {
        Some(error) => Err(error.into()),
        None => Ok(progress.created),
    }
}

/// The query may be behind: each candidate is read again, consistently, before a sync is created for it. Works on the first
/// candidates and returns the others. Leads that cannot be read are left to the next run.
async fn create_missed_syncs<'c>(
    context: &Context,
    candidates: &'c [LeadId],
    progress: &mut Progress,
) -> Result<&'c [LeadId], ReconcileError> {
    let read = context.sanity.read_part(candidates, DEADLINE, |_, lead, _| lead).await;
    let part = match read {
        Ok(part) => part,
        Err(error) => {
            let ReadError::Failed { ids, error } = error else {
                // Our own reads, not Sanity: the next run goes on.
                tracing::warn!("reconciliation ends early: other reads use the whole budget for answers");
                return Ok(&[]);
            };
            progress.failures += 1;
            if matches!(error, CallError::Service(_)) || progress.failures >= MAX_FAILURES {
                return Err(error.into());
            }
            tracing::warn!(
                leads = ids,
                "reconciliation skips {ids} leads, which could not be read: {error}"
            );
            progress.failed.get_or_insert(error);
            return Ok(candidates.get(ids..).unwrap_or_default());
        }
    };
    progress.failures = 0;
    let rest = candidates.get(part.len()..).unwrap_or_default();
    for (id, read) in part {
        let read = match read {
            Read::Answered(read) => read,
            // It is to be rejected, with a reason that the editor sees.
            Read::TooLarge => match context.sanity.outline(&id, DEADLINE).await {
                Ok(read) => read.unwrap_or_default(),
                Err(error) if matches!(error, CallError::Service(_)) => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(lead_id = %id, "reconciliation skips lead {id}, which is large and could not be read: {error}");
                    progress.failed.get_or_insert(error);
                    continue;
                }
            },
            Read::Denied | Read::Missing => {
                tracing::warn!(lead_id = %id, "reconciliation skips lead {id}, which requests a sync: SANITY_API_WRITE_TOKEN may not read it, or Sanity's answer lacks it");
                continue;
            }
        };
        let Some(lead) = read.published.filter(Lead::is_requested) else {
            continue;
        };
        let accepted = context
            .store
            .request(id.clone(), Source::Reconciliation, Some(lead.revision()))
            .await?;
        if let Accepted::Created(sync) = accepted {
            progress.created += 1;
            tracing::warn!(sync_id = %sync, lead_id = %id, "missed webhook: reconciliation created sync {sync} of lead {id}");
        }
    }
    Ok(rest)
}
