//! Calls that no sync asks for, the look for missed webhooks and the read of the fields at start: they keep the pauses
//! of the breakers as those of the syncs do, and tell what they have found out.

use super::Context;
use crate::chance;
use crate::domain::breaker::{Breaker, Cause};
use crate::domain::failure::{CallError, Remote};
use crate::store::{Learned, StoreError};

impl Context {
    /// The breakers of the services, where none of them has a pause now.
    pub(super) async fn unless_paused(&self, remotes: &[Remote]) -> Result<Option<Vec<Breaker>>, StoreError> {
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

    /// All of them have answered: whatever was wrong is mended.
    pub(super) async fn has_heard(&self, breakers: &[Breaker]) -> Result<(), StoreError> {
        let answered: Vec<_> = breakers
            .iter()
            .filter(|breaker| breaker.open.is_some())
            .map(|breaker| (breaker.remote, breaker.epoch))
            .collect();
        if answered.is_empty() {
            return Ok(());
        }
        let learned = Learned {
            answered,
            ..Learned::default()
        };
        self.store.record(Vec::new(), learned).await
    }

    /// The call to `remote` failed, also where its deadline ran out. What was refused for what was in it says nothing of the
    /// service.
    pub(super) async fn has_failed(
        &self,
        breakers: &[Breaker],
        remote: Remote,
        error: &CallError,
    ) -> Result<(), StoreError> {
        if matches!(error, CallError::Refused { .. }) {
            return Ok(());
        }
        let pause = error.clone().into_pause(remote);
        let Some(breaker) = breakers.iter().find(|breaker| breaker.remote == pause.remote) else {
            return Ok(());
        };
        self.store
            .pause(pause, Cause::Service, breaker.epoch, chance::unit())
            .await
    }
}
