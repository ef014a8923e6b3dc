//! What the organisation's fields look like: read at start and hourly, kept in the store for when Bigin cannot say.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;

use super::batch::Batch;
use super::{BIGIN_ANSWERED, Context};
use crate::bigin::lacks_permission;
use crate::clock::until;
use crate::domain::failure::{CallError, Remote, ServiceError, ServiceErrorKind};
use crate::domain::record::OrgFields;
use crate::store::{Claimed, StoreError};

/// Fields are added seldom, and a call costs a credit.
const FIELDS_MAX_AGE: Duration = Duration::from_secs(60 * 60);

/// Nothing waits for the read at start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The name it is kept under.
const KEPT: &str = "org_fields";

/// The fields as they were last read.
#[derive(Default)]
pub struct OrgCache(Mutex<Option<Cached>>);

struct Cached {
    /// `None`: we may not read them, and never could, so records are sent as they are.
    fields: Option<Arc<OrgFields>>,
    read_at: Timestamp,
}

/// The organisation's fields, and whether Bigin was asked and answered for them.
pub(super) struct OrgRead {
    /// `None` where we have no permission to read them, and never had.
    pub(super) fields: Option<Arc<OrgFields>>,
    pub(super) answered: bool,
}

impl Context {
    /// The organisation's fields, as far as they are an hour old at most or Bigin cannot say.
    ///
    /// # Errors
    /// [`CallError`] where they were never read and cannot be now: nothing may be upserted before. Also where Bigin or the
    /// accounts server takes no work for a while.
    pub(super) async fn org_fields(&self, deadline: Duration) -> Result<OrgRead, CallError> {
        let Ok(mut cached) = tokio::time::timeout(deadline, self.org.0.lock()).await else {
            return Err(CallError::Service(ServiceError::new(
                Remote::Bigin,
                ServiceErrorKind::Unavailable,
                "busy",
                "another worker has been waiting for Bigin's field metadata for as long as a call may take",
            )));
        };
        let now = self.clock.now();
        if let Some(cached) = cached
            .as_ref()
            .filter(|cached| until(cached.read_at, now) < FIELDS_MAX_AGE)
        {
            return Ok(OrgRead {
                fields: cached.fields.clone(),
                answered: false,
            });
        }
        let mut answered = false;
        let fields = match self.bigin.fields(deadline).await {
            Ok(fields) => {
                if let Some(own) = &self.lead_id_field
                    && !fields.0.get(own).is_some_and(|field| field.unique && !field.read_only)
                {
                    return Err(no_lead_id_field(own));
                }
                answered = true;
                self.store_fields(&fields).await;
                Some(Arc::new(fields))
            }
            // The upsert would be refused as well, and what the service asks for is recorded with the error.
            Err(error) if is_limited(&error) => return Err(error),
            Err(error) => {
                let last = match cached.take().and_then(|cached| cached.fields) {
                    Some(fields) => Some(fields),
                    None => self.stored_fields().await.map(Arc::new),
                };
                match (&last, &error) {
                    (Some(_), _) => tracing::warn!(
                        code = error.code(),
                        "Bigin's fields cannot be read, so the ones read last are used: {error}"
                    ),
                    (None, CallError::Service(service_error))
                        if service_error.kind == ServiceErrorKind::Unauthorized
                            && lacks_permission(&service_error.code) =>
                    {
                        tracing::warn!(code = %service_error.code, "Bigin's fields cannot be read, so leads are sent as they are: {service_error}");
                    }
                    (None, _) => return Err(error),
                }
                last
            }
        };
        *cached = Some(Cached {
            fields: fields.clone(),
            read_at: now,
        });
        Ok(OrgRead { fields, answered })
    }

    /// Reads them before the first lead needs them, so that it does not wait, and so that wrong credentials show at once.
    /// A process that is started again and again asks no service that wants to be left alone.
    ///
    /// # Errors
    /// The store's. Bigin's trouble is recorded.
    pub async fn read_org_at_start(&self) -> Result<(), StoreError> {
        let Some(breakers) = self.breakers_if_callable(&BIGIN_ANSWERED).await? else {
            return Ok(());
        };
        match self.org_fields(START_TIMEOUT).await {
            Ok(read) if read.answered => self.record_success(&breakers).await,
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::warn!(code = error.code(), "Bigin's fields cannot be read yet: {error}");
                self.record_failure(&breakers, Remote::Bigin, &error).await
            }
        }
    }

    async fn store_fields(&self, fields: &OrgFields) {
        let json = serde_json::to_vec(fields).unwrap_or_default();
        if let Err(error) = self.store.kv_put(KEPT, json).await {
            tracing::warn!("Bigin's fields could not be stored: {error}");
        }
    }

    async fn stored_fields(&self) -> Option<OrgFields> {
        let (json, _) = self.store.kv_get(KEPT).await.ok().flatten()?;
        serde_json::from_slice(&json).ok()
    }
}

/// The operator relies on the field, so nothing is sent without it: a lead without a unique value could get a second contact.
/// An answer that is incomplete is corrected by the next one.
fn no_lead_id_field(name: &str) -> CallError {
    let what = format!("Contacts have no writable unique field {name}, which BIGIN_LEAD_ID_FIELD names");
    let action = format!(
        "create {name} in Bigin as a single-line text field that allows no duplicate values, or unset BIGIN_LEAD_ID_FIELD and restart"
    );
    let error = ServiceError::new(Remote::Bigin, ServiceErrorKind::Unavailable, "lead_id_field", what);
    CallError::Service(error.with_action(action))
}

/// The organisation's fields, without which a lead cannot be rendered to be compared. Where they are not to be had, all
/// syncs are settled here.
pub(super) async fn read_org_fields(
    context: &Context,
    batch: &mut Batch<'_>,
    syncs: Vec<Claimed>,
) -> (Vec<Claimed>, Option<Arc<OrgFields>>) {
    let Some(deadline) = batch.deadline().await else {
        syncs.into_iter().for_each(|claimed| batch.release(claimed));
        return (Vec::new(), None);
    };
    match context.org_fields(deadline).await {
        Ok(read) => {
            if read.answered {
                batch.answered(&BIGIN_ANSWERED);
            }
            (syncs, read.fields)
        }
        Err(error) => {
            batch.call_failed(syncs, Remote::Bigin, error);
            (Vec::new(), None)
        }
    }
}

/// Whether the service takes no work for a while.
fn is_limited(error: &CallError) -> bool {
    use ServiceErrorKind::{CreditsUsedUp, RateLimited, TokenRateLimited};
    matches!(error, CallError::Service(error) if matches!(error.kind, RateLimited | TokenRateLimited | CreditsUsedUp))
}
