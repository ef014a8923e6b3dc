//! Deletes finished syncs, in steps small enough that no webhook waits for them.

use std::time::Duration;

use super::Context;
use crate::store::StoreError;

/// Rows of one step.
const STEP: usize = 500;

/// Between two steps, so that intake comes first.
const PAUSE: Duration = Duration::from_millis(50);

/// Deletes everything older than `age`. Returns how many rows went.
///
/// # Errors
/// The store's; what went before is gone.
pub async fn delete_expired(context: &Context, age: Duration) -> Result<usize, StoreError> {
    let mut deleted = 0;
    loop {
        let step = context.store.delete_old(age, STEP).await?;
        deleted += step;
        if step < STEP {
            return Ok(deleted);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
