//! Forgets finished syncs and old deliveries, in steps small enough that no webhook waits for them.

use std::time::Duration;

use super::Context;
use crate::store::StoreError;

/// Rows of one step.
const STEP: usize = 500;

/// Between two steps, so that intake comes first.
const PAUSE: Duration = Duration::from_millis(50);

/// Forgets everything older than `age`. Returns how many rows went.
///
/// # Errors
/// The store's; what went before is gone.
pub async fn round(context: &Context, age: Duration) -> Result<usize, StoreError> {
    let mut forgotten = 0;
    loop {
        let step = context.store.forget(age, STEP).await?;
        forgotten += step;
        if step < STEP {
            return Ok(forgotten);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
