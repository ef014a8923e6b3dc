//! Whether something can be stored now.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use jiff::Timestamp;

use super::writer::in_time;
use super::{Answer, Store, StoreError, apart, kv};
use crate::clock::after;
use crate::random;

/// Callers of [`Store::check`] within this share one write: anybody may ask for it, as often as they like.
const CHECKED: Duration = Duration::from_secs(1);

/// The last check, and when it was begun. It goes on where a caller has left.
pub(super) type Check = (Timestamp, Shared<BoxFuture<'static, Answer<()>>>);

impl Store {
    /// Whether something can be stored now: writes and commits a row, and sees that the disk of a file takes more. Callers within
    /// a second share one answer.
    pub async fn check(&self) -> Answer<()> {
        let check = {
            let mut last = self.last_check.lock().unwrap_or_else(PoisonError::into_inner);
            let now = self.clock.now();
            match &*last {
                Some((begun, check)) if now < after(*begun, CHECKED) => check.clone(),
                _ => {
                    let check = self.begin_check()?.shared();
                    *last = Some((now, check.clone()));
                    check
                }
            }
        };
        in_time(check).await
    }

    fn begin_check(&self) -> Answer<BoxFuture<'static, Answer<()>>> {
        let write = self.writer.queue_if_room(|txn| kv::mark(txn.db, "check", txn.now))?;
        let (lock, has_threads) = (self.lock.clone(), self.has_threads);
        let check = async move {
            write.await?;
            let Some(lock) = lock else {
                return Ok(());
            };
            let room = apart(has_threads, move || takes_more(&lock)).await?;
            room.map_err(|error| StoreError::DiskFull(error.to_string()))
        };
        Ok(check.boxed())
    }
}

/// Whether the disk takes new bytes beside the database: those of a check go where the bytes of the last one were, in the
/// database's log and its file, which are there on a full disk too.
fn takes_more(lock: &File) -> std::io::Result<()> {
    let written = lock.write_all_at(&random::bytes::<{ kv::MARK }>(), 0);
    lock.set_len(0)?;
    written
}
