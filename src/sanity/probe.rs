//! What is asked to find out whether all is set up: the latest leads, and whether the token may write.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Sanity, answer};
use crate::domain::failure::CallError;
use crate::domain::lead::LeadId;
use crate::http_client::{Answer, Deadline, Operation};

/// A field that no lead has, so that taking it away changes nothing even if it were done.
const NO_FIELD: &str = "biginSyncDoctor";

impl Sanity {
    /// The ids of the published leads that were changed last, at most `limit`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn latest(&self, limit: usize, deadline: Duration) -> Result<Vec<LeadId>, CallError> {
        let query = format!("*[_type == $type] | order(_updatedAt desc) [0...{limit}] {{_id}}");
        let ids = self.ids(&query, deadline).await?.unwrap_or_default();
        Ok(ids.iter().filter_map(|id| LeadId::parse(id).ok()).collect())
    }

    /// Makes a document.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn make_lead(&self, document: &Value, deadline: Duration) -> Result<(), CallError> {
        self.mutate(&[], json!({ "create": document }), deadline).await
    }

    /// Whether the token may write leads: a mutation with `dryRun=true`, which is checked and not carried out (Sanity's docs,
    /// HTTP mutations). It is of `lead` where there is one to try it on.
    ///
    /// # Errors
    /// [`CallError`], as for a write that is carried out.
    pub async fn try_write(&self, lead: Option<&LeadId>, deadline: Duration) -> Result<(), CallError> {
        let mutation = match lead {
            Some(lead) => json!({ "patch": { "id": lead, "unset": [NO_FIELD] } }),
            None => json!({ "createIfNotExists": { "_id": "bigin-sync-doctor", "_type": self.lead_type } }),
        };
        self.mutate(&[("dryRun", "true")], mutation, deadline).await
    }

    async fn mutate(&self, query: &[(&str, &str)], mutation: Value, deadline: Duration) -> Result<(), CallError> {
        let body = json!({ "mutations": [mutation] });
        let url = format!("{}/mutate/{}", self.base, self.dataset);
        let request = self.http.post(url).query(query).json(&body);
        let deadline = Deadline::new(&self.clock, deadline);
        let label = |answer: &Answer| answer::label(answer, &self.dataset);
        let answer = self.send(Operation::Mutate, 1, request, &deadline, label).await?;
        answer::judge(&answer, &self.dataset).map(|_| ())
    }
}
