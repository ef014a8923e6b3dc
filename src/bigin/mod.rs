//! The client of Zoho Bigin: what bigin-sync asks of it, and nothing more.
//!
//! Every call holds one of [`BiginSettings::max_concurrency`] permits, carries the shared access token, and is over by its
//! deadline: the deadline covers the wait for a permit and for a token as well, and the HTTP request gets what is left.
//! Nothing is sent once less than half is left: Bigin may still carry out a call that was given up, after what follows it.

mod answer;
mod coql;
mod fields;
mod item;
pub mod oauth;
mod organisation;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Url};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::clock::SharedClock;
use crate::config::BiginSettings;
use crate::domain::batch_size::MAX_BATCH;
use crate::domain::failure::{CallError, ItemError, Remote, ServiceError, ServiceErrorKind};
use crate::domain::lead::ContactId;
use crate::domain::record::{Action, OrgFields, Record};
use crate::http_client::{Answer, Call, Calls, Deadline, Operation};

pub use coql::{Bare, Found};
pub use item::{SCOPE_MISMATCH, lacks_permission};
pub use organisation::{NewTag, Organisation, organisation};
pub use token::{TokenVault, VaultError};

use token::{Token, Tokens};

/// Covers upsert, update and add_tags (official docs, upsert-records and add-tags-records).
const CONTACTS_SCOPE: &str = "ZohoBigin.modules.contacts.ALL";
const FIELDS_SCOPE: &str = "ZohoBigin.settings.fields.READ";

/// A contact that took a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upserted {
    pub contact: ContactId,
    /// Whether it is new.
    pub action: Action,
}

/// What became of each record of a call, in the order asked.
pub type Results<T> = Vec<Result<T, ItemError>>;

/// The client. Cheap to share behind an `Arc`.
pub struct Bigin {
    http: Client,
    calls: Calls,
    clock: SharedClock,
    api_domain: Option<Url>,
    tags: String,
    permits: Semaphore,
    tokens: Tokens,
    credits: AtomicU32,
}

/// Records that one credit writes, and contacts that one credit tags (official docs, api-limits: at most ten credits for a
/// hundred records, or for the tags of five hundred; anything else costs one a call).
const WRITTEN_PER_CREDIT: usize = 10;
const TAGGED_PER_CREDIT: usize = 50;

/// Bigin's workflows run on what the API writes only where they are asked for by name (docs of Zoho CRM, insert-records).
const TRIGGER: [&str; 1] = ["workflow"];

#[derive(Serialize)]
struct UpsertBody<'a> {
    data: &'a [&'a Record],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    duplicate_check_fields: &'a [&'a str],
    trigger: [&'static str; 1],
}

#[derive(Serialize)]
struct UpdateBody<'a> {
    data: &'a [ContactUpdate<'a>],
    trigger: [&'static str; 1],
}

#[derive(Serialize)]
struct ContactUpdate<'a> {
    id: &'a ContactId,
    #[serde(flatten)]
    record: &'a Record,
}

impl Bigin {
    /// `http` comes from [`crate::http_client::client`]; `vault` is the second level of the token cache.
    pub fn new(
        settings: BiginSettings,
        http: Client,
        calls: Calls,
        clock: SharedClock,
        vault: Arc<dyn TokenVault>,
    ) -> Self {
        Self {
            api_domain: settings.api_domain.clone(),
            tags: settings.tags.join(","),
            permits: Semaphore::new(settings.max_concurrency.clamp(1, Semaphore::MAX_PERMITS)),
            tokens: Tokens::new(settings, http.clone(), calls.clone(), SharedClock::clone(&clock), vault),
            credits: AtomicU32::new(0),
            http,
            calls,
            clock,
        }
    }

    /// The credits that calls have cost since this was last asked for: an estimate by the docs, since no answer says it.
    pub fn take_credits(&self) -> u32 {
        self.credits.swap(0, Ordering::Relaxed)
    }

    /// Credits that were taken and could not be recorded.
    pub fn give_back_credits(&self, credits: u32) {
        self.credits.fetch_add(credits, Ordering::Relaxed);
    }

    /// Reads what fields the organisation's Contacts have: `GET /bigin/v2/settings/fields?module=Contacts` (recorded live
    /// traffic 2026-10-09).
    ///
    /// # Errors
    /// [`CallError`]; a missing scope is [`ServiceErrorKind::Unauthorized`] with the code `OAUTH_SCOPE_MISMATCH`.
    pub async fn fields(&self, deadline: Duration) -> Result<OrgFields, CallError> {
        let answer = self
            .ask(deadline, call(Operation::Fields, 0), 1, |base| {
                let url = format!("{base}/bigin/v2/settings/fields");
                self.http.get(url).query(&[("module", "Contacts")])
            })
            .await?;
        let fields = answer::body(&answer, FIELDS_SCOPE)?.and_then(fields::parse);
        fields.ok_or_else(|| CallError::unreadable("Bigin's answer names no fields of Contacts"))
    }

    /// Makes or updates one contact per record: `POST /bigin/v2/Contacts/upsert` (official docs, upsert-records).
    ///
    /// At most [`MAX_BATCH`] records. `duplicate_check` names fields in the order of the check; only unique fields may be
    /// listed, and Bigin checks other unique fields all the same. One result per record, in order.
    ///
    /// # Errors
    /// [`CallError`]. After [`CallError::Ambiguous`] any of the records may have been written.
    pub async fn upsert(
        &self,
        records: &[&Record],
        duplicate_check: &[&str],
        deadline: Duration,
    ) -> Result<Results<Upserted>, CallError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        within_batch(records.len())?;
        let body = UpsertBody {
            data: records,
            duplicate_check_fields: duplicate_check,
            trigger: TRIGGER,
        };
        let credits = records.len().div_ceil(WRITTEN_PER_CREDIT);
        let answer = self
            .ask(deadline, call(Operation::Upsert, records.len()), credits, |base| {
                let url = format!("{base}/bigin/v2/Contacts/upsert");
                self.http.post(url).json(&body)
            })
            .await?;
        let results = answer::items(&answer, CONTACTS_SCOPE, records.len())?
            .iter()
            .map(|item| upserted(item, item::judge(item, answer.status, false)))
            .collect::<Result<_, _>>()?;
        item::unless_service_refused(results)
    }

    /// Updates contacts by id: `PUT /bigin/v2/Contacts` (official docs, update-records). At most [`MAX_BATCH`]. One result per
    /// record, in order; [`ItemError::ContactGone`] where there is no contact of that id (any more).
    ///
    /// # Errors
    /// [`CallError`], as for [`Bigin::upsert`].
    pub async fn update(
        &self,
        records: &[(&ContactId, &Record)],
        deadline: Duration,
    ) -> Result<Results<Upserted>, CallError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        within_batch(records.len())?;
        let data: Vec<_> = records
            .iter()
            .map(|&(id, record)| ContactUpdate { id, record })
            .collect();
        let body = UpdateBody {
            data: &data,
            trigger: TRIGGER,
        };
        let credits = records.len().div_ceil(WRITTEN_PER_CREDIT);
        let answer = self
            .ask(deadline, call(Operation::Update, records.len()), credits, |base| {
                let url = format!("{base}/bigin/v2/Contacts");
                self.http.put(url).json(&body)
            })
            .await?;
        let contacts: Vec<&ContactId> = records.iter().map(|(contact, _)| *contact).collect();
        let items = answer::items(&answer, CONTACTS_SCOPE, records.len())?;
        let items = item::in_order_of(&contacts, items)?;
        let results = items.iter().zip(contacts).map(|(item, contact)| {
            item::judge(item, answer.status, true).map(|_| Upserted {
                contact: contact.clone(),
                action: Action::Update,
            })
        });
        item::unless_service_refused(results.collect())
    }

    /// Adds the configured tags to contacts that keep those they have: `POST /bigin/v1/Contacts/actions/add_tags` with
    /// everything in the query string (official docs of v1, add-tags-records; v2 does not document its parameters).
    ///
    /// At most [`MAX_BATCH`] contacts, of which the same may be named more than once. One result per contact, in order: results
    /// are matched by the id they name, and by their order where they name none. [`ItemError::ContactGone`] where there is no such
    /// contact. Adding a tag twice does no harm.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn add_tags(&self, contacts: &[ContactId], deadline: Duration) -> Result<Results<()>, CallError> {
        if contacts.is_empty() {
            return Ok(Vec::new());
        }
        within_batch(contacts.len())?;
        let mut distinct: Vec<&ContactId> = contacts.iter().collect();
        distinct.sort();
        distinct.dedup();
        let ids: Vec<&str> = distinct.iter().map(|id| id.as_str()).collect();
        let query = [
            ("ids", ids.join(",")),
            ("tag_names", self.tags.clone()),
            ("over_write", "false".to_owned()),
        ];
        let credits = distinct.len().div_ceil(TAGGED_PER_CREDIT);
        let answer = self
            .ask(deadline, call(Operation::AddTags, distinct.len()), credits, |base| {
                let url = format!("{base}/bigin/v1/Contacts/actions/add_tags");
                // There is no body, and some servers refuse a POST that does not say so.
                self.http.post(url).query(&query).header("content-length", "0")
            })
            .await?;
        let items = answer::items(&answer, CONTACTS_SCOPE, distinct.len())?;
        let items = item::in_order_of(&distinct, items)?;
        let judged = items
            .iter()
            .map(|item| item::judge(item, answer.status, true).map(|_| ()));
        let judged = item::unless_service_refused(judged.collect())?;
        let result = |contact: &ContactId| {
            let place = distinct.binary_search(&contact).unwrap_or_default();
            judged[place].clone()
        };
        Ok(contacts.iter().map(result).collect())
    }

    /// Sends a request, which costs so many credits, with the shared token. A refused token is replaced, and the call repeated,
    /// once: Bigin does nothing for a token it refuses.
    async fn ask(
        &self,
        within: Duration,
        call: Call,
        credits: usize,
        request: impl Fn(&str) -> RequestBuilder + Send + Sync,
    ) -> Result<Answer, CallError> {
        let deadline = Deadline::new(&self.clock, within);
        let _permit = self.permit(&deadline).await?;
        let token = self.token(&deadline, within).await?;
        let answer = self.send((call, credits), &token, &deadline, &request).await?;
        if !is_token_refused(&answer) {
            return Ok(answer);
        }
        self.tokens.discard(&token).await;
        let token = self.token(&deadline, within).await?;
        let answer = self.send((call, credits), &token, &deadline, &request).await?;
        if is_token_refused(&answer) {
            // The token stays: the next call gives it one more chance before it is replaced, which costs one grant per
            // probe and not two.
            return Err(answer::token_refused());
        }
        Ok(answer)
    }

    /// The shared token, where half of the time within which the call is to be over is left for it. A call with less would
    /// run out of a time that others have used: the wrong service would be blamed, and Bigin might do the work after the
    /// deadline, a tag after the next upsert of its contact.
    async fn token(&self, deadline: &Deadline, within: Duration) -> Result<Arc<Token>, CallError> {
        let is_late = || deadline.left() < within / 2;
        if is_late() {
            return Err(answer::slow_answer());
        }
        let token = self.tokens.get(deadline.left()).await?;
        if is_late() {
            return Err(answer::slow_grant());
        }
        Ok(token)
    }

    async fn send(
        &self,
        (call, credits): (Call, usize),
        token: &Token,
        deadline: &Deadline,
        request: &(impl Fn(&str) -> RequestBuilder + Sync),
    ) -> Result<Answer, CallError> {
        let authorization = format!("Zoho-oauthtoken {}", token.access_token.expose_secret());
        let base = self.api_domain.as_ref().unwrap_or(&token.api_domain);
        let request = request(crate::http_client::base_text(base)).header("authorization", authorization);
        let answer = self.calls.send_by(call, request, deadline, answer::label).await;
        // A call whose answer is lost, or comes too late, has cost them too.
        let costs_nothing = match &answer {
            Ok(answer) => is_token_refused(answer),
            Err(error) => matches!(error, CallError::Service(_)),
        };
        if !costs_nothing {
            let credits = u32::try_from(credits).unwrap_or(u32::MAX);
            self.credits.fetch_add(credits, Ordering::Relaxed);
        }
        answer
    }

    async fn permit(&self, deadline: &Deadline) -> Result<SemaphorePermit<'_>, CallError> {
        match tokio::time::timeout(deadline.left(), self.permits.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            // All permits were held for a whole deadline by calls that Bigin did not answer.
            _ => Err(CallError::Service(ServiceError::new(
                Remote::Bigin,
                ServiceErrorKind::Unavailable,
                "busy",
                "Bigin has answered none of the calls that may run at once",
            ))),
        }
    }
}

fn call(operation: Operation, of: usize) -> Call {
    Call { operation, of }
}

fn is_token_refused(answer: &Answer) -> bool {
    answer::judge(answer, "") == answer::Verdict::TokenRefused
}

fn within_batch(records: usize) -> Result<(), CallError> {
    if records <= MAX_BATCH {
        return Ok(());
    }
    let what = format!("{records} records in one call, and Bigin accepts {MAX_BATCH}");
    Err(answer::rejected(&what, "TOO_MANY_RECORDS".to_owned()))
}

/// Reads the contact of an accepted record. `action` stands beside `details`, not in it (recorded live traffic 2026-10-09).
///
/// A record that was accepted and has no id makes the outcome of the whole call unknown: it is not known which contact it is.
fn upserted(item: &Value, judged: Result<&Value, ItemError>) -> Result<Result<Upserted, ItemError>, CallError> {
    let details = match judged {
        Ok(details) => details,
        Err(error) => return Ok(Err(error)),
    };
    let Some(contact) = item::contact_id(details) else {
        return Err(CallError::unreadable(
            "Bigin accepted a record and did not name its contact",
        ));
    };
    let said = item
        .get("action")
        .or_else(|| details.get("action"))
        .and_then(Value::as_str);
    let added = item.get("message").and_then(Value::as_str) == Some("record added");
    let action = match said.and_then(Action::from_label) {
        Some(action) => action,
        None if added => Action::Insert,
        None => Action::Update,
    };
    Ok(Ok(Upserted { contact, action }))
}
