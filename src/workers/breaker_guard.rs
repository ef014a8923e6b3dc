//! Calls outside a sync (reconciliation, field metadata, checks). They respect the circuit breakers and report results to
//! them.

use std::time::Duration;

use super::{BIGIN_ANSWERED, Context};
use crate::domain::breaker::{Breaker, Cause};
use crate::domain::failure::{CallError, Remote, ServiceErrorKind};
use crate::random;
use crate::store::{CheckResult, StepReport, StoreError};

/// A call that only checks a service is given up after this.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

impl Context {
    /// After a restart an unavailable service is tried at once: what was wrong may have been repaired meanwhile, and a
    /// setting that was corrected takes effect with the restart. A token endpoint that rate limits us is not: each early
    /// call prolongs that.
    ///
    /// # Errors
    /// The store's. The services' trouble is recorded.
    pub async fn check_at_start(&self) -> Result<(), StoreError> {
        let mut is_idle = false;
        for breaker in self.store.open_breakers().await? {
            let is_rate_limited = breaker
                .open
                .as_ref()
                .is_some_and(|open| open.kind == ServiceErrorKind::TokenRateLimited);
            if !is_rate_limited {
                is_idle |= self.store.check_now(breaker.remote).await? == CheckResult::Idle;
            }
        }
        if is_idle { self.check_idle().await } else { Ok(()) }
    }

    /// Calls each unavailable service whose pause is over, where no sync in progress does.
    ///
    /// # Errors
    /// The store's. The services' trouble is recorded.
    pub async fn check_idle(&self) -> Result<(), StoreError> {
        for breaker in self.store.open_breakers().await? {
            self.check(breaker.remote).await?;
        }
        Ok(())
    }

    /// Calls an unavailable service whose pause is over, for nothing but its answer.
    async fn check(&self, remote: Remote) -> Result<(), StoreError> {
        let needed: &[Remote] = match remote {
            Remote::ZohoAccounts | Remote::Bigin => &BIGIN_ANSWERED,
            Remote::Sanity => &[Remote::Sanity],
        };
        let Some(breakers) = self.breakers_if_callable(needed).await? else {
            return Ok(());
        };
        // The one before may have shown that this one is well.
        if breakers.iter().all(|breaker| breaker.open.is_none()) {
            return Ok(());
        }
        let called = match remote {
            Remote::ZohoAccounts | Remote::Bigin => self.bigin.fields(CHECK_TIMEOUT).await.map(drop),
            Remote::Sanity => self
                .sanity
                .requested(None, Duration::ZERO, 1, CHECK_TIMEOUT)
                .await
                .map(drop),
        };
        match called {
            Ok(()) => self.record_success(&breakers).await,
            // Whatever its end: a service that is unavailable has not shown that it is well.
            Err(error) => {
                let error = CallError::Service(error.into_service_error(remote));
                self.record_failure(&breakers, remote, &error).await
            }
        }
    }

    /// The breakers of the services, where none of them has a pause now.
    pub(super) async fn breakers_if_callable(&self, remotes: &[Remote]) -> Result<Option<Vec<Breaker>>, StoreError> {
        let now = self.store.now().await?;
        let mut breakers = Vec::with_capacity(remotes.len());
        for remote in remotes {
            let breaker = self.store.breaker(*remote).await?;
            if breaker.open.as_ref().is_some_and(|open| open.until > now) {
                return Ok(None);
            }
            breakers.push(breaker);
        }
        Ok(Some(breakers))
    }

    /// All of them have answered: the breakers close.
    pub(super) async fn record_success(&self, breakers: &[Breaker]) -> Result<(), StoreError> {
        let answered: Vec<_> = breakers
            .iter()
            .filter(|breaker| breaker.open.is_some())
            .map(|breaker| (breaker.remote, breaker.epoch))
            .collect();
        if answered.is_empty() {
            return Ok(());
        }
        let report = StepReport {
            answered,
            ..StepReport::default()
        };
        self.store.record(Vec::new(), report).await
    }

    /// The call to `remote` failed, also where its deadline ran out. What was refused for what was in it says nothing of the
    /// service.
    pub(super) async fn record_failure(
        &self,
        breakers: &[Breaker],
        remote: Remote,
        error: &CallError,
    ) -> Result<(), StoreError> {
        if matches!(error, CallError::Rejected { .. }) {
            return Ok(());
        }
        let service_error = error.clone().into_service_error(remote);
        let Some(breaker) = breakers.iter().find(|breaker| breaker.remote == service_error.remote) else {
            return Ok(());
        };
        self.store
            .open_breaker(service_error, Cause::Service, breaker.epoch, random::unit())
            .await
    }
}
