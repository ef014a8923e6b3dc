//! What editors do in Sanity Studio, one transaction each. Webhooks are queued for them as the hook's filter has it.

use serde_json::{Map, Value};

use super::document::Document;
use super::ids::draft_of;
use super::model::{By, Model, Order};
use super::mutate::{MutateError, Mutation, Patch};
use super::project::{LEAD_TYPE, REQUESTED};

/// An edit that Studio could not have made, like one of a document that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Impossible(String);

impl From<MutateError> for Impossible {
    fn from(error: MutateError) -> Self {
        Self(error.to_string())
    }
}

/// Each returns the new `_rev`.
impl Model {
    /// Publishes a document: creates it, or replaces it wholesale. Without `_type` it is a lead.
    pub fn publish(&mut self, document: Value) -> Result<String, Impossible> {
        let Value::Object(mut document) = document else {
            return Err(Impossible("a document is an object".to_owned()));
        };
        document.entry("_type").or_insert_with(|| LEAD_TYPE.into());
        self.studio(vec![Mutation::CreateOrReplace(document)])
    }

    /// Publishes a document without a word to the webhook, as if it had been there before the webhook was.
    pub fn seed(&mut self, document: Value) -> Result<String, Impossible> {
        let quiet = std::mem::replace(&mut self.webhooks.quiet, true);
        let rev = self.publish(document);
        self.webhooks.quiet = quiet;
        rev
    }

    /// Sets fields of a published document; `null` unsets one. Its draft, if there is one, stays as it is.
    pub fn edit(&mut self, id: &str, fields: Value) -> Result<String, Impossible> {
        let patch = changes(id, fields)?;
        self.studio(vec![patch])
    }

    /// Presses "Send to CRM".
    pub fn request(&mut self, id: &str) -> Result<String, Impossible> {
        self.edit(id, serde_json::json!({ "crmStatus": REQUESTED }))
    }

    /// Edits without publishing: the draft begins as a full copy of the published document (source of sanity 6.19.0).
    pub fn edit_draft(&mut self, id: &str, fields: Value) -> Result<String, Impossible> {
        let draft = draft_of(id);
        let start = match self.document(id) {
            Some(published) => renamed(published, &draft),
            None => Map::from_iter([
                ("_id".to_owned(), draft.as_str().into()),
                ("_type".to_owned(), LEAD_TYPE.into()),
            ]),
        };
        let patch = changes(&draft, fields)?;
        self.studio(vec![Mutation::CreateIfNotExists(start), patch])
    }

    /// Publishes a draft: it replaces the published document wholesale and is gone (source of sanity 6.19.0).
    pub fn publish_draft(&mut self, id: &str) -> Result<String, Impossible> {
        let draft = draft_of(id);
        let published = renamed(self.existing(&draft)?, id);
        self.studio(vec![Mutation::CreateOrReplace(published), Mutation::Delete(draft)])
    }

    /// Studio's "Duplicate": a draft of a new document with every field of the old one, those of the CRM included (source
    /// of sanity 6.19.0). [`Model::publish_draft`] publishes it.
    pub fn duplicate(&mut self, id: &str, new_id: &str) -> Result<String, Impossible> {
        let mut copy = renamed(self.existing(id)?, &draft_of(new_id));
        copy.remove("_createdAt");
        self.studio(vec![Mutation::Create(copy)])
    }

    /// Takes a published document back: it becomes a draft, unless there is one already.
    pub fn unpublish(&mut self, id: &str) -> Result<String, Impossible> {
        let draft = renamed(self.existing(id)?, &draft_of(id));
        let delete = Mutation::Delete(id.to_owned());
        self.studio(vec![Mutation::CreateIfNotExists(draft), delete])
    }

    /// Deletes a document and its draft.
    pub fn delete(&mut self, id: &str) -> Result<String, Impossible> {
        let draft = Mutation::Delete(draft_of(id));
        self.studio(vec![Mutation::Delete(id.to_owned()), draft])
    }

    /// Adds a published document to a release: a full copy, `versions.<release>.<id>`.
    pub fn make_version(&mut self, release: &str, id: &str) -> Result<String, Impossible> {
        let copy = renamed(self.existing(id)?, &format!("versions.{release}.{id}"));
        self.studio(vec![Mutation::Create(copy)])
    }

    fn existing(&self, id: &str) -> Result<&Document, Impossible> {
        self.document(id)
            .ok_or_else(|| Impossible(format!("there is no document {id}")))
    }

    fn studio(&mut self, mutations: Vec<Mutation>) -> Result<String, Impossible> {
        let order = Order {
            id: None,
            by: By::Studio,
            mutations,
            dry_run: false,
            indexed: false,
        };
        Ok(self.transact(order)?.id)
    }
}

fn renamed(document: &Document, id: &str) -> Document {
    let mut copy = document.clone();
    copy.insert("_id".to_owned(), id.into());
    copy
}

fn changes(id: &str, fields: Value) -> Result<Mutation, Impossible> {
    let Value::Object(fields) = fields else {
        return Err(Impossible("fields are an object".to_owned()));
    };
    let (unset, set): (Document, Document) = fields.into_iter().partition(|(_, value)| value.is_null());
    Ok(Mutation::Patch(Box::new(Patch {
        id: id.to_owned(),
        set,
        unset: unset.into_iter().map(|(field, _)| field).collect(),
        ..Patch::default()
    })))
}
