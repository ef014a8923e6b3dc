//! Says after each healthy look for missed webhooks that all is well, to a monitor that notices when nothing comes.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Context;
use super::notifier::Hook;
use super::reconcile::ReconcileError;
use crate::domain::failure::ServiceErrorKind;

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

    /// Beats where all is well: the round was a whole one, so that all leads that ask were looked at, the store takes what
    /// is written to it, and no service waits for a person to mend our credentials. Trouble that passes by itself is none
    /// of the monitor's. Returns whether the monitor has heard it.
    pub async fn after(&self, context: &Context, round: &Result<Option<usize>, ReconcileError>) -> bool {
        if !matches!(round, Ok(Some(_))) || context.store.check().await.is_err() || is_refused(context).await {
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

/// Whether a service refuses our credentials; also where the store cannot say.
async fn is_refused(context: &Context) -> bool {
    let breakers = context.store.open_breakers().await;
    let mut open = breakers.iter().flatten().filter_map(|breaker| breaker.open.as_ref());
    breakers.is_err() || open.any(|open| open.kind == ServiceErrorKind::Unauthorized)
}
