//! One group of leads to Bigin. A group that is refused or dies as a whole is halved until the culprit is alone: a lead
//! is blamed only where others succeed.

use std::collections::VecDeque;
use std::time::Duration;

use super::batch::Batch;
use super::{BIGIN_ANSWERED, Context};
use crate::bigin::Results;
use crate::domain::failure::{CallError, ItemError, Remote};

/// Where this many calls in a row fail and none has succeeded, the whole group and both of its halves have failed: one
/// lead by itself tells whether it is the service.
const OUTAGE: usize = 3;

/// Where others have succeeded, the culprits are looked for until this many calls in a row have failed: then the service
/// has gone down meanwhile. Halving a hundred leads down to one takes eight.
const DEEPEST: usize = 9;

/// What became of one lead of a group.
pub(super) enum Sent<R> {
    /// Bigin answered for this very record.
    Judged(Result<R, ItemError>),
    /// The call with this lead alone failed.
    Alone(Doubt),
    /// It was not sent, or it went along in a call that failed for all: nothing is known against it.
    Undecided,
}

/// A failed call with one lead alone, whose fault or the service's it may be.
pub(super) struct Doubt {
    /// Short stable word.
    pub(super) code: String,
    /// A sentence for people.
    pub(super) message: String,
    /// The least wait Bigin asked for.
    pub(super) retry_after: Option<Duration>,
    /// The call was refused for what was in it, and nothing was done; else its end is not known.
    pub(super) refused: bool,
    /// Other leads of the group went through meanwhile.
    pub(super) others_succeed: bool,
}

/// What travels in groups: leads to be upserted, contacts to be tagged.
pub(super) trait Travels: Sized + Send + Sync {
    /// What Bigin answers for one of them.
    type Answer: Send;

    /// Whether a part whose call came to an unclear end may be sent again at once.
    fn may_resend(part: &[Self]) -> bool;

    /// One call for all of a part; one result for each, in order.
    fn call(
        context: &Context,
        part: &[Self],
        deadline: Duration,
    ) -> impl Future<Output = Result<Results<Self::Answer>, CallError>> + Send;
}

/// Sends a group. Also returns whether a call came to an unclear end, so that it may have been carried out.
pub(super) async fn send<T: Travels>(
    context: &Context,
    batch: &mut Batch<'_>,
    group: Vec<T>,
) -> (Vec<(T, Sent<T::Answer>)>, bool) {
    let mut results: Vec<(T, Sent<T::Answer>)> = Vec::with_capacity(group.len());
    // First come, first sent: both halves of a group before a quarter, so that three failures in a row are all of it.
    let mut waiting = VecDeque::from([group]);
    let mut failures = 0;
    let mut succeeded = false;
    let mut unclear = false;
    while let Some(mut part) = waiting.pop_front() {
        let Some(deadline) = batch.deadline() else {
            results.extend(part.into_iter().map(|item| (item, Sent::Undecided)));
            continue;
        };
        let answer = T::call(context, &part, deadline).await;
        unclear |= matches!(answer, Err(CallError::Unknown { .. }));
        match answer {
            Ok(judged) => {
                failures = 0;
                succeeded = true;
                batch.answered(&BIGIN_ANSWERED);
                results.extend(part.into_iter().zip(judged.into_iter().map(Sent::Judged)));
            }
            Err(CallError::Unavailable(pause)) => {
                batch.pause(pause);
                let all = waiting.drain(..).chain([part]).flatten();
                results.extend(all.map(|item| (item, Sent::Undecided)));
            }
            Err(error) => {
                failures += 1;
                let is_refused = matches!(error, CallError::Refused { .. });
                let may_part = part.len() > 1 && (is_refused || T::may_resend(&part));
                let most = if succeeded { DEEPEST } else { OUTAGE };
                // Every lead of the group has been sent by itself, and is judged by itself.
                let is_last = part.len() == 1 && waiting.is_empty();
                if may_part && failures == OUTAGE && !succeeded {
                    let rest = part.split_off(1);
                    waiting.push_front(part);
                    waiting.push_back(rest);
                } else if failures >= most && !is_last {
                    batch.pause(error.into_pause(Remote::Bigin));
                    let all = waiting.drain(..).chain([part]).flatten();
                    results.extend(all.map(|item| (item, Sent::Undecided)));
                } else if may_part {
                    let rest = part.split_off(part.len() / 2);
                    waiting.extend([part, rest]);
                } else {
                    results.extend(part.into_iter().map(|item| (item, alone(error.clone()))));
                }
            }
        }
    }
    for (_, sent) in &mut results {
        if let Sent::Alone(doubt) = sent {
            doubt.others_succeed = succeeded;
        }
    }
    (results, unclear)
}

fn alone<R>(error: CallError) -> Sent<R> {
    match Doubt::of(error) {
        Some(doubt) => Sent::Alone(doubt),
        // The caller has paused the service already.
        None => Sent::Undecided,
    }
}

impl Doubt {
    /// `None` where it is plainly the service.
    pub(super) fn of(error: CallError) -> Option<Self> {
        let refused = matches!(error, CallError::Refused { .. });
        let (code, message, retry_after) = match error {
            CallError::Refused { code, message } => (code, message, None),
            CallError::Unknown {
                code,
                message,
                retry_after,
            } => (code, message, retry_after),
            CallError::Unavailable(_) => return None,
        };
        Some(Self {
            code,
            message,
            retry_after,
            refused,
            others_succeed: false,
        })
    }
}
