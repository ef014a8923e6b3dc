//! What is known of a lead that is too large to be read: the few fields that decisions need, by a query.
//!
//! A query's index may lag behind the documents, so its revision is compared with that of `/data/doc`, where that tells it
//! without the content. Where it does not, a write on condition of an old revision fails and is tried again.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ReadError, Sanity, answer};
use crate::domain::failure::CallError;
use crate::domain::lead::{Lead, LeadId, LeadRead};
use crate::http_client::{Answer, Deadline, Operation};

/// All that [`Lead`] has.
const FIELDS: &str = "*[_id == $id]{_id, _type, _rev, _updatedAt, crmStatus, biginContactId, lastSyncedAt, crmError}";

impl Sanity {
    /// Reads a lead without its content. `None` where the query does not have it as it is now. That the query does not have it
    /// at all is no sign of a deletion: its published document is asked for then, which may be gone while a large draft is not.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn outline(&self, id: &LeadId, deadline: Duration) -> Result<Option<LeadRead>, CallError> {
        let deadline = Deadline::new(&self.clock, deadline);
        let body = json!({ "query": FIELDS, "params": { "id": id } });
        let url = format!("{}/query/{}", self.base, self.dataset);
        let request = self.http.post(url).json(&body);
        let request = request.query(&[("perspective", "published"), ("returnQuery", "false")]);
        let label = |answer: &Answer| answer::label(answer, &self.dataset);
        let answer = self.send(Operation::Query, 1, request, &deadline, label).await?;
        let found = answer::judge(&answer, &self.dataset)?.get("result");
        let found = found.and_then(Value::as_array);
        let found = found.ok_or_else(|| CallError::unreadable("Sanity's answer to a query has no result"))?;
        let lead = found.first().and_then(Value::as_object).and_then(Lead::from_document);
        let Some(lead) = lead.filter(|lead| lead.id == *id && lead.document_type == self.lead_type) else {
            let is_deleted = self.is_deleted(id, &deadline).await?;
            return Ok(is_deleted.then(LeadRead::default));
        };
        let revisions = match self.revisions(std::slice::from_ref(id), deadline.left()).await {
            Ok(revisions) => revisions,
            Err(ReadError::Failed {
                error: error @ CallError::Service(_),
                ..
            }) => return Err(error),
            // Without it its drafts and versions are not known either, and stay as they are.
            Err(_) => None,
        };
        let revision = revisions.and_then(|mut revisions| revisions.remove(id));
        match revision {
            Some(revision) if revision.rev != lead.rev => Ok(None),
            revision => Ok(Some(LeadRead {
                published: Some(lead),
                drafts_and_versions: revision
                    .map(|revision| revision.drafts_and_versions)
                    .unwrap_or_default(),
            })),
        }
    }
}
