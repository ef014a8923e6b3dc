//! One group of leads to Bigin. A group that is refused or dies as a whole is halved until the culprit is alone: a lead
//! is blamed only where others succeed.

use super::batch::Batch;
use super::upsert::Ready;
use super::{BIGIN_ANSWERED, Context};
use crate::bigin::{Results, Upserted};
use crate::domain::failure::{CallError, ItemError, Pause, PauseKind, Remote};
use crate::domain::lead::ContactId;
use crate::domain::record::Record;

/// After this many failed calls in a row without one that succeeds it is not the leads: the whole group and both of
/// its halves have failed.
const OUTAGE: usize = 3;

/// What became of one lead of a group.
pub(super) enum Sent {
    /// Bigin answered for this very record.
    Judged(Result<Upserted, ItemError>),
    /// The call with this lead alone failed.
    Blamed(CallError),
    /// It was not sent, or it went along in a call that failed for all: nothing is known against it.
    NotSent,
}

/// Sends a group, of which either all contacts are known or none is.
pub(super) async fn send(context: &Context, batch: &mut Batch<'_>, group: Vec<Ready>) -> Vec<(Ready, Sent)> {
    let mut results: Vec<(Ready, Sent)> = Vec::with_capacity(group.len());
    let mut waiting = vec![group];
    let mut failures = 0;
    while let Some(mut part) = waiting.pop() {
        let Some(deadline) = batch.deadline() else {
            results.extend(part.into_iter().map(|ready| (ready, Sent::NotSent)));
            continue;
        };
        match call(context, &part, deadline).await {
            Ok(judged) => {
                failures = 0;
                batch.answered(&BIGIN_ANSWERED);
                results.extend(part.into_iter().zip(judged.into_iter().map(Sent::Judged)));
            }
            Err(CallError::Unavailable(pause)) => {
                batch.pause(pause);
                let all = waiting.drain(..).chain([part]).flatten();
                results.extend(all.map(|ready| (ready, Sent::NotSent)));
            }
            Err(error) => {
                failures += 1;
                if failures >= OUTAGE {
                    batch.pause(outage(error));
                    let all = waiting.drain(..).chain([part]).flatten();
                    results.extend(all.map(|ready| (ready, Sent::NotSent)));
                } else if part.len() > 1 && may_be_sent_again(&part, &error) {
                    let rest = part.split_off(part.len() / 2);
                    waiting.push(rest);
                    waiting.push(part);
                } else {
                    results.extend(part.into_iter().map(|ready| (ready, Sent::Blamed(error.clone()))));
                }
            }
        }
    }
    results
}

/// A record without a unique value would make a second contact if the lost call was carried out after all: it is looked
/// up first, which its next turn does.
fn may_be_sent_again(part: &[Ready], error: &CallError) -> bool {
    let recognised = |ready: &Ready| ready.contact.is_some() || !ready.check.is_empty();
    matches!(error, CallError::Refused { .. }) || part.iter().all(recognised)
}

fn outage(error: CallError) -> Pause {
    let (code, message, retry_after) = match error {
        CallError::Unavailable(pause) => return pause,
        CallError::Unknown {
            code,
            message,
            retry_after,
        } => (code, message, retry_after),
        CallError::Refused { code, message } => (code, message, None),
    };
    Pause {
        remote: Remote::Bigin,
        kind: PauseKind::Down,
        code,
        message,
        retry_after,
    }
}

async fn call(
    context: &Context,
    part: &[Ready],
    deadline: std::time::Duration,
) -> Result<Results<Upserted>, CallError> {
    let known: Option<Vec<(ContactId, Record)>> = part
        .iter()
        .map(|ready| Some((ready.contact.clone()?, ready.record.clone())))
        .collect();
    match known {
        Some(known) => context.bigin.update(&known, deadline).await,
        None => {
            let records: Vec<Record> = part.iter().map(|ready| ready.record.clone()).collect();
            let check = part.first().map(|ready| ready.check.as_slice()).unwrap_or_default();
            let check: Vec<&str> = check.iter().map(String::as_str).collect();
            context.bigin.upsert(&records, &check, deadline).await
        }
    }
}
