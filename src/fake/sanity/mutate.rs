//! Mutations: what a transaction may consist of, and what each does to the documents.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::document::{Document, stamp};
use super::ids::{generate, is_legal};

/// Fields the Content Lake keeps itself.
const IMMUTABLE: [&str; 4] = ["_id", "_type", "_rev", "_createdAt"];

/// One mutation of a transaction (official docs, mutations).
pub(super) enum Mutation {
    Create(Document),
    CreateOrReplace(Document),
    CreateIfNotExists(Document),
    Delete(String),
    Patch(Box<Patch>),
}

/// Changes to a document that exists, in the order they are applied.
#[derive(Default)]
pub(super) struct Patch {
    pub(super) id: String,
    pub(super) if_revision: Option<String>,
    pub(super) set: Document,
    pub(super) set_if_missing: Document,
    pub(super) unset: Vec<String>,
    pub(super) inc: Document,
    pub(super) dec: Document,
}

/// What a mutation did.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Create,
    Update,
    Delete,
    None,
}

impl Operation {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::None => "none",
        }
    }
}

/// What one mutation of a transaction did.
pub(super) struct MutationResult {
    pub(super) id: String,
    pub(super) operation: Operation,
    pub(super) document: Option<Document>,
}

/// Why a transaction was not committed.
#[derive(Debug)]
pub(super) enum MutateError {
    /// The request is not one: HTTP 400.
    Malformed(String),
    /// A mutation failed, and with it all others: HTTP 409. The first that fails is named, and no other (assumption).
    Failed { index: usize, item: ItemError },
    /// The transaction id was used before: HTTP 409 (source of @sanity/sdk 3.12.0).
    AlreadyCommitted(String),
}

/// Why a mutation failed.
#[derive(Debug)]
pub(super) struct ItemError {
    kind: &'static str,
    description: String,
    details: Document,
}

impl ItemError {
    fn new(kind: &'static str, description: String) -> Self {
        Self {
            kind,
            description,
            details: Document::new(),
        }
    }

    fn with(mut self, key: &str, value: &str) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }

    /// The shape is that of sanity-io/gradient#424.
    fn missing(id: &str) -> Self {
        let description = format!("The document with the ID \"{id}\" was not found");
        Self::new("documentNotFoundError", description).with("id", id)
    }

    pub(super) fn at(self, index: usize) -> MutateError {
        MutateError::Failed { index, item: self }
    }
}

impl MutateError {
    /// The HTTP status and body that answer it.
    pub(super) fn answer(&self) -> (u16, Value) {
        match self {
            Self::Malformed(why) => {
                let error = json!({"type": "mutationParseError", "description": why});
                (400, json!({ "error": error }))
            }
            Self::Failed { index, item } => {
                let mut error = item.details.clone();
                error.insert("type".to_owned(), item.kind.into());
                error.insert("description".to_owned(), item.description.as_str().into());
                let description = format!("The mutation(s) failed: {}", item.description);
                let items = json!([{"index": index, "error": error}]);
                (
                    409,
                    json!({"error": {"type": "mutationError", "description": description, "items": items}}),
                )
            }
            Self::AlreadyCommitted(id) => {
                let description = format!("Transaction with ID \"{id}\" already exists");
                (
                    409,
                    json!({"error": {"type": "transactionAlreadyExistsError", "description": description}}),
                )
            }
        }
    }
}

impl std::fmt::Display for MutateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(why) => f.write_str(why),
            Self::Failed { item, .. } => f.write_str(&item.description),
            Self::AlreadyCommitted(id) => write!(f, "transaction {id} already exists"),
        }
    }
}

impl Mutation {
    /// Reads one element of `mutations`. Selecting documents by query, `insert`, `diffMatchPatch` and paths into a field are
    /// refused: the service needs none of them.
    pub(super) fn parse(value: Value) -> Result<Self, MutateError> {
        let malformed = || MutateError::Malformed("a mutation is an object with one key".to_owned());
        let Value::Object(object) = value else {
            return Err(malformed());
        };
        let mut entries = object.into_iter();
        let (Some((kind, Value::Object(body))), None) = (entries.next(), entries.next()) else {
            return Err(malformed());
        };
        match kind.as_str() {
            "create" => Ok(Self::Create(body)),
            "createOrReplace" => Ok(Self::CreateOrReplace(identified(body)?)),
            "createIfNotExists" => Ok(Self::CreateIfNotExists(identified(body)?)),
            "delete" => match body.get("id").and_then(Value::as_str) {
                Some(id) if body.len() == 1 => Ok(Self::Delete(id.to_owned())),
                _ => Err(MutateError::Malformed("delete wants an id and nothing else".to_owned())),
            },
            "patch" => Patch::parse(body).map(Box::new).map(Self::Patch),
            _ => Err(MutateError::Malformed(format!("unknown mutation \"{kind}\""))),
        }
    }
}

fn identified(body: Document) -> Result<Document, MutateError> {
    if body.get("_id").is_some_and(Value::is_string) {
        Ok(body)
    } else {
        Err(MutateError::Malformed("the document has no _id".to_owned()))
    }
}

impl Patch {
    fn parse(body: Document) -> Result<Self, MutateError> {
        let malformed = |what: &str| MutateError::Malformed(format!("patch: {what}"));
        let mut patch = Self::default();
        for (key, value) in body {
            match (key.as_str(), value) {
                ("id", Value::String(id)) => patch.id = id,
                ("ifRevisionID", Value::String(rev)) => patch.if_revision = Some(rev),
                ("set", Value::Object(fields)) => patch.set = fields,
                ("setIfMissing", Value::Object(fields)) => patch.set_if_missing = fields,
                ("inc", Value::Object(fields)) => patch.inc = fields,
                ("dec", Value::Object(fields)) => patch.dec = fields,
                ("unset", Value::Array(fields)) => {
                    let fields = fields.into_iter().map(|field| match field {
                        Value::String(field) => Ok(field),
                        _ => Err(malformed("unset wants names of fields")),
                    });
                    patch.unset = fields.collect::<Result<_, _>>()?;
                }
                _ => return Err(malformed(&format!("\"{key}\" is unknown, or of the wrong type"))),
            }
        }
        if patch.id.is_empty() {
            return Err(malformed("there is no id"));
        }
        if let Some(field) = patch.fields().find(|field| !is_plain(field)) {
            return Err(malformed(&format!("\"{field}\" is not a field that can be changed")));
        }
        Ok(patch)
    }

    fn fields(&self) -> impl Iterator<Item = &str> {
        let maps = [&self.set, &self.set_if_missing, &self.inc, &self.dec];
        let in_maps = maps.into_iter().flat_map(Document::keys);
        in_maps.chain(&self.unset).map(String::as_str)
    }

    fn apply(self, document: &mut Document) -> Result<(), ItemError> {
        document.extend(self.set);
        for (field, value) in self.set_if_missing {
            if document.get(&field).is_none_or(Value::is_null) {
                document.insert(field, value);
            }
        }
        for field in &self.unset {
            document.remove(field);
        }
        let down = self
            .dec
            .into_iter()
            .map(|(field, by)| (field, by.as_f64().map(|by| -by)));
        let up = self.inc.into_iter().map(|(field, by)| (field, by.as_f64()));
        for (field, by) in up.chain(down) {
            let sum = by
                .zip(document.get(&field).and_then(Value::as_f64))
                .map(|(by, old)| by + old);
            let Some(sum) = sum else {
                return Err(ItemError::new("mutationError", format!("\"{field}\" is not a number")));
            };
            document.insert(field, number(sum));
        }
        Ok(())
    }
}

/// Whole numbers without a fraction, as JSON written by Go has them.
fn number(value: f64) -> Value {
    serde_json::from_str(&format!("{value}")).unwrap_or(Value::Null)
}

fn is_plain(field: &str) -> bool {
    let letters = field.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
    letters && !field.is_empty() && !IMMUTABLE.contains(&field)
}

/// The documents as a transaction in the making sees them.
pub(super) struct Workspace<'a> {
    base: &'a BTreeMap<String, Document>,
    changed: BTreeMap<String, Option<Document>>,
    rev: &'a str,
    stamp: String,
    issued: &'a mut u64,
}

impl<'a> Workspace<'a> {
    /// `rev` becomes the `_rev`, and `at` (in whole seconds, as the real one has it) the `_updatedAt` of all that is written.
    pub(super) fn new(base: &'a BTreeMap<String, Document>, rev: &'a str, at: Timestamp, issued: &'a mut u64) -> Self {
        Self {
            base,
            changed: BTreeMap::new(),
            rev,
            stamp: stamp(at),
            issued,
        }
    }

    /// What each document that was touched has become.
    pub(super) fn finish(self) -> BTreeMap<String, Option<Document>> {
        self.changed
    }

    fn current(&self, id: &str) -> Option<&Document> {
        match self.changed.get(id) {
            Some(changed) => changed.as_ref(),
            None => self.base.get(id),
        }
    }

    /// Applies one mutation on top of those before it.
    pub(super) fn apply(&mut self, mutation: Mutation) -> Result<MutationResult, ItemError> {
        match mutation {
            Mutation::Create(document) => self.create(document),
            Mutation::CreateOrReplace(document) => self.write(document),
            Mutation::CreateIfNotExists(document) => {
                let id = id_of(&document);
                match self.current(id) {
                    Some(found) => Ok(result(id, Operation::None, Some(found))),
                    None => self.write(document),
                }
            }
            Mutation::Delete(id) => Ok(self.delete(id)),
            Mutation::Patch(patch) => self.patch(*patch),
        }
    }

    fn create(&mut self, mut document: Document) -> Result<MutationResult, ItemError> {
        let id = id_of(&document);
        if id.is_empty() || id.ends_with('.') {
            *self.issued += 1;
            let id = format!("{id}{}", generate(*self.issued));
            document.insert("_id".to_owned(), id.into());
        } else if self.current(id).is_some() {
            let description = format!("Document by ID \"{id}\" already exists");
            return Err(ItemError::new("documentAlreadyExistsError", description).with("id", id));
        }
        self.write(document)
    }

    fn write(&mut self, mut document: Document) -> Result<MutationResult, ItemError> {
        let id = id_of(&document).to_owned();
        if !is_legal(&id) {
            return Err(ItemError::new(
                "mutationError",
                "the document's _id is not legal".to_owned(),
            ));
        }
        if document.get("_type").and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(ItemError::new("mutationError", "the document has no _type".to_owned()));
        }
        let before = self.current(&id);
        let operation = if before.is_some() {
            Operation::Update
        } else {
            Operation::Create
        };
        let created = before.and_then(|before| before.get("_createdAt")).cloned();
        let created = created.unwrap_or_else(|| self.stamp.as_str().into());
        document.entry("_createdAt").or_insert(created);
        Ok(self.put(id, operation, document))
    }

    fn put(&mut self, id: String, operation: Operation, mut document: Document) -> MutationResult {
        document.insert("_rev".to_owned(), self.rev.into());
        document.insert("_updatedAt".to_owned(), self.stamp.as_str().into());
        let result = result(&id, operation, Some(&document));
        self.changed.insert(id, Some(document));
        result
    }

    /// Deleting what is not there succeeds (official docs, mutations).
    fn delete(&mut self, id: String) -> MutationResult {
        if self.current(&id).is_none() {
            return result(&id, Operation::None, None);
        }
        let result = result(&id, Operation::Delete, None);
        self.changed.insert(id, None);
        result
    }

    fn patch(&mut self, mut patch: Patch) -> Result<MutationResult, ItemError> {
        let id = std::mem::take(&mut patch.id);
        let mut document = self.current(&id).cloned().ok_or_else(|| ItemError::missing(&id))?;
        let rev = document.get("_rev").and_then(Value::as_str).unwrap_or_default();
        if let Some(expected) = patch.if_revision.as_deref().filter(|expected| *expected != rev) {
            let description =
                format!("Document \"{id}\" has unexpected revision ID (\"{rev}\"), expected \"{expected}\"");
            let error = ItemError::new("documentRevisionIDDoesNotMatchError", description);
            return Err(error
                .with("currentRevisionID", rev)
                .with("expectedRevisionID", expected));
        }
        patch.apply(&mut document)?;
        Ok(self.put(id, Operation::Update, document))
    }
}

fn result(id: &str, operation: Operation, document: Option<&Document>) -> MutationResult {
    MutationResult {
        id: id.to_owned(),
        operation,
        document: document.cloned(),
    }
}

fn id_of(document: &Document) -> &str {
    document.get("_id").and_then(Value::as_str).unwrap_or_default()
}
