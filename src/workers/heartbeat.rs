//! Says after each healthy look for missed webhooks that all is well, to a monitor that notices when nothing comes.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Context;
use super::hook::Hook;
use super::reconcile::ReconcileError;

/// The monitor.
pub struct Heartbeat {
    hook: Hook,
    is_failing: AtomicBool,
}

impl Heartbeat {
    /// One that beats to this address.
    pub fn new(hook: Hook) -> Self {
        Self {
            hook,
            is_failing: AtomicBool::new(false),
        }
    }

    /// Beats where the round was a whole one, all leads that ask were looked at, and the store takes what is written to
    /// it. Returns whether the monitor has heard it.
    pub async fn after(&self, context: &Context, round: &Result<Option<usize>, ReconcileError>) -> bool {
        if !matches!(round, Ok(Some(_))) || context.store.check().await.is_err() {
            return false;
        }
        let beaten = self.hook.get().await;
        let was_failing = self.is_failing.swap(beaten.is_err(), Ordering::Relaxed);
        match &beaten {
            Err(not) if !was_failing => tracing::warn!(code = %not.code, "HEARTBEAT_URL is not reached ({})", not.code),
            Ok(()) if was_failing => tracing::info!("HEARTBEAT_URL is reached again"),
            _ => {}
        }
        beaten.is_ok()
    }
}
