//! Sends a group of leads or contacts to Bigin, and isolates the poison item of a group whose call fails as a whole.
//!
//! # Properties
//!
//! - A poison item, one that makes each call hang or fail, ends `failed`. The other items of its calls are sent.
//! - In an outage no attempt is counted.
//! - No step outlasts its lease because of calls that time out, whatever the size of the group.
//!
//! # Design
//!
//! A call ends in one of four ways:
//!
//! - **Answered**: each record is judged by itself.
//! - **Unavailable**: the service takes no calls. The circuit breaker opens, and no lead is blamed.
//! - **Rejected** as a whole, for its content: nothing was applied, so both halves are sent at once.
//! - **Ambiguous** (timeout, lost connection, 5xx): it may have been applied. The step sends nothing more. The items of the call
//!   become suspects: their `bisect_limit` is half of the call's size. They travel with suspects of the same limit only, until
//!   a call with them succeeds or they are alone. Fresh leads are sent and tags are added between those steps.
//!
//! If an item fails alone, the attempt counts only if another item was accepted since its last failure.
//!
//! # Why
//!
//! A call for a hundred leads that times out does not say which of them is the cause. Bisection within the step would take a
//! deadline at each level: after two of them the lease is over, the outcomes are lost, and the same hundred leads are claimed
//! again, for ever. So the progress of the bisection is stored with the syncs, and continues over several steps.
//!
//! In an outage each lead fails, also alone. What tells a poison item from an outage is that others succeed.

use std::collections::VecDeque;
use std::time::Duration;

use super::batch::Batch;
use super::failed_call::{FailedCall, MAX_REFUSALS, bisect_limit};
use super::{BIGIN_ANSWERED, Context};
use crate::bigin::Results;
use crate::clock::until;
use crate::domain::breaker::Cause;
use crate::domain::failure::{CallError, ItemError, Remote};
use crate::store::Claimed;

/// Where this many calls in a row are refused and none has succeeded, the whole group and both of its halves have been: one
/// lead by itself tells whether it is the service.
const REFUSALS_OF_ALL: usize = 3;

/// What became of one lead of a group.
pub(super) enum ItemOutcome<R> {
    /// Bigin answered for this very record.
    Answered(Result<R, ItemError>),
    /// The call with this lead alone failed.
    Alone(FailedCall),
    /// The call with this and other leads ended ambiguously, with this code.
    Ambiguous {
        /// Short stable word.
        code: String,
        /// See [`crate::domain::sync::SyncJob::bisect_limit`].
        bisect_limit: u32,
    },
    /// It was not sent, or it went along in a call that was refused for all: nothing is known against it.
    NotSent,
}

/// What travels in groups: leads to be upserted, contacts to be tagged.
pub(super) trait BatchItem: Sized + Send + Sync {
    /// What Bigin answers for one of them.
    type Answer: Send;

    /// The sync it is of.
    fn claimed(&self) -> &Claimed;

    /// Notes what a call that ended ambiguously may have changed.
    fn mark_possibly_applied(&self, batch: &mut Batch<'_>);

    /// One call for all of a part; one result for each, in order.
    fn call(
        context: &Context,
        part: &[Self],
        deadline: Duration,
    ) -> impl Future<Output = Result<Results<Self::Answer>, CallError>> + Send;
}

/// Sends a group.
pub(super) async fn send<T: BatchItem>(
    context: &Context,
    batch: &mut Batch<'_>,
    group: Vec<T>,
) -> Vec<(T, ItemOutcome<T::Answer>)> {
    let mut results: Vec<(T, ItemOutcome<T::Answer>)> = Vec::with_capacity(group.len());
    // First come, first sent: both halves of a group before a quarter, so that three refusals in a row are all of it.
    let mut waiting = VecDeque::from([group]);
    let mut refusals = 0;
    let mut succeeded = false;
    while let Some(mut part) = waiting.pop_front() {
        // Tags wait meanwhile: with many culprits bisection goes on in the next step.
        let takes_too_long = refusals > 0 && batch.held() > context.lease;
        let Some(deadline) = batch.deadline().await.filter(|_| !takes_too_long) else {
            results.extend(not_sent(part));
            continue;
        };
        let sent_at = context.clock.now();
        match T::call(context, &part, deadline).await {
            Ok(judged) => {
                refusals = 0;
                succeeded = true;
                batch.answered(&BIGIN_ANSWERED);
                batch.call_succeeded(part.len(), until(sent_at, context.clock.now()));
                if judged.iter().any(Result::is_ok) {
                    batch.has_accepted();
                }
                results.extend(part.into_iter().zip(judged.into_iter().map(ItemOutcome::Answered)));
            }
            Err(CallError::Service(service_error)) => {
                batch.open_breaker(service_error, Cause::Service);
                batch.end();
                results.extend(not_sent(waiting.drain(..).chain([part]).flatten()));
            }
            Err(error @ CallError::Ambiguous { .. }) => results.extend(ambiguous(batch, part, error)),
            Err(error @ CallError::Rejected { .. }) => {
                refusals += 1;
                let may_part = part.len() > 1;
                let most = if succeeded { MAX_REFUSALS } else { REFUSALS_OF_ALL };
                // Every lead of the group has been sent by itself, and is judged by itself.
                let is_last = part.len() == 1 && waiting.is_empty();
                if may_part && refusals == REFUSALS_OF_ALL && !succeeded {
                    let rest = part.split_off(1);
                    waiting.push_front(part);
                    waiting.push_back(rest);
                } else if refusals >= most && !is_last {
                    batch.open_breaker(error.into_service_error(Remote::Bigin), Cause::Service);
                    results.extend(not_sent(waiting.drain(..).chain([part]).flatten()));
                } else if may_part {
                    let rest = part.split_off(part.len() / 2);
                    waiting.extend([part, rest]);
                } else {
                    let alone = |item| (item, ItemOutcome::Alone(FailedCall::of(error.clone(), Remote::Bigin)));
                    results.extend(part.into_iter().map(alone));
                }
            }
        }
    }
    results
}

fn not_sent<T: BatchItem>(items: impl IntoIterator<Item = T>) -> impl Iterator<Item = (T, ItemOutcome<T::Answer>)> {
    items.into_iter().map(|item| (item, ItemOutcome::NotSent))
}

fn ambiguous<T: BatchItem>(batch: &mut Batch<'_>, part: Vec<T>, error: CallError) -> Vec<(T, ItemOutcome<T::Answer>)> {
    part.iter().for_each(|item| item.mark_possibly_applied(batch));
    let failed_call = FailedCall::of(error, Remote::Bigin);
    let carried: Vec<&Claimed> = part.iter().map(T::claimed).collect();
    if batch.call_ended_ambiguously(&carried, failed_call.service_error.clone()) == Cause::Service {
        batch.shrink(part.len());
    }
    let bisect_limit = bisect_limit(part.len());
    let is_alone = part.len() == 1;
    let sent = |item| {
        let sent = match is_alone {
            true => ItemOutcome::Alone(failed_call.clone()),
            false => ItemOutcome::Ambiguous {
                code: failed_call.service_error.code.clone(),
                bisect_limit,
            },
        };
        (item, sent)
    };
    part.into_iter().map(sent).collect()
}
