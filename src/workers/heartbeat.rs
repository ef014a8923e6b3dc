//! Calls a dead man's switch (HEARTBEAT_URL) after each healthy reconciliation.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Context;
use super::notifier::Notifier;
use super::reconcile::ReconcileError;
use crate::domain::failure::ServiceErrorKind;

/// The dead man's switch.
pub struct Heartbeat {
    notifier: Notifier,
    is_failing: AtomicBool,
}

impl Heartbeat {
    /// Sends its heartbeats with `notifier`.
    pub fn new(notifier: Notifier) -> Self {
        Self {
            notifier,
            is_failing: AtomicBool::new(false),
        }
    }

    /// Sends a heartbeat if the reconciliation was complete, the store is writable, and no service rejects our credentials. An
    /// outage that ends by itself does not stop it. Returns whether it was accepted.
    pub async fn after(&self, context: &Context, reconciled: &Result<Option<usize>, ReconcileError>) -> bool {
        if !matches!(reconciled, Ok(Some(_))) || context.store.check().await.is_err() || is_refused(context).await {
            return false;
        }
        let beaten = self.notifier.get().await;
        let was_failing = self.is_failing.swap(beaten.is_err(), Ordering::Relaxed);
        match &beaten {
            Err(error) if !was_failing => {
                tracing::warn!(code = %error.code, "HEARTBEAT_URL is not reached ({})", error.code);
            }
            Ok(()) if was_failing => tracing::info!("HEARTBEAT_URL is reached again"),
            _ => {}
        }
        beaten.is_ok()
    }
}

/// Whether a service rejects our credentials; `true` also where the store cannot be read.
async fn is_refused(context: &Context) -> bool {
    let breakers = context.store.open_breakers().await;
    let mut open = breakers.iter().flatten().filter_map(|breaker| breaker.open.as_ref());
    breakers.is_err() || open.any(|open| open.kind == ServiceErrorKind::Unauthorized)
}
