//! What the Content Lake holds, and the journals of what happened to it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::document::{Change, Document};
use super::fault::{Faults, Kind};
use super::ids::generate;
use super::mutate::{MutateError, Mutation, MutationResult, Workspace};
use super::options::DocSwitches;
use super::webhook::{Attempt, Webhooks};
use crate::clock::{SharedClock, after};

/// One dataset, with the switches that make it misbehave. Documents change through transactions only, so that the
/// history is complete.
pub struct Model {
    pub(super) clock: SharedClock,
    pub(super) documents: BTreeMap<String, Document>,
    pub(super) issued: u64,
    known: BTreeSet<String>,
    /// Every committed transaction, oldest first.
    pub transactions: Vec<Transaction>,
    /// Every attempt to deliver a webhook message, oldest first.
    pub deliveries: Vec<Attempt>,
    /// Every request to the API that was taken in, oldest first.
    pub calls: Vec<Call>,
    /// The webhook, its queue and its switches.
    pub webhooks: Webhooks,
    /// Faults that wait for their request.
    pub faults: Faults,
    /// What reads of documents do otherwise than they should.
    pub doc: DocSwitches,
    /// While set, every connection is cut before any work is done.
    pub down: bool,
    /// How long every answer takes, in real time.
    pub latency: Duration,
    /// How far queries lag behind: the query store shows the documents of that long ago (official docs, transactions:
    /// queries are eventually consistent). A mutation with `visibility=sync` waits for the query store, and so is seen at once.
    pub query_lag: Duration,
    /// Mutation requests allowed in any one second of the clock; more are answered 429. The real limit is 25 for an
    /// address (official docs, technical limits); none by default, because a test's clock stands still.
    pub mutation_limit: Option<usize>,
    /// The least wait that a 429 for too many mutations asks for.
    pub mutation_limit_wait: Duration,
}

/// The model, shared with the server's thread.
pub(super) struct Shared(Arc<Mutex<Model>>);

impl Shared {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self(Arc::new(Mutex::new(Model::new(clock))))
    }

    pub(super) fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who committed a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// An editor.
    Studio,
    /// A caller of the HTTP API.
    Api,
}

/// A committed transaction.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// Its id, which is the `_rev` of every document it wrote (so in the commits shown in sanity-io/gradient#414).
    pub id: String,
    /// When it was committed.
    pub at: Timestamp,
    /// Who committed it.
    pub by: By,
    /// What became of each document, by id.
    pub documents: Vec<Change>,
    /// Whether the query store took it in at once.
    pub indexed: bool,
}

/// A request to the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which part of the API.
    pub kind: Kind,
    /// When it came in.
    pub at: Timestamp,
    /// The status it was answered with; `None` where the connection was cut.
    pub status: Option<u16>,
    /// How many ids were asked for, or how many mutations sent.
    pub ids: usize,
}

/// What a caller asks to be committed.
pub(super) struct Order {
    pub(super) id: Option<String>,
    pub(super) by: By,
    pub(super) mutations: Vec<Mutation>,
    pub(super) dry_run: bool,
    pub(super) indexed: bool,
}

/// What was committed.
pub(super) struct Committed {
    pub(super) id: String,
    pub(super) results: Vec<MutationResult>,
}

impl Model {
    fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            documents: BTreeMap::new(),
            issued: 0,
            known: BTreeSet::new(),
            transactions: Vec::new(),
            deliveries: Vec::new(),
            calls: Vec::new(),
            webhooks: Webhooks::default(),
            faults: Faults::default(),
            doc: DocSwitches::default(),
            down: false,
            latency: Duration::ZERO,
            query_lag: Duration::ZERO,
            mutation_limit: None,
            mutation_limit_wait: Duration::from_secs(1),
        }
    }

    /// A document by its full id (`x`, `drafts.x`, `versions.r.x`).
    pub fn document(&self, id: &str) -> Option<&Document> {
        self.documents.get(id)
    }

    /// All documents, in the order of their ids.
    pub fn documents(&self) -> impl Iterator<Item = &Document> {
        self.documents.values()
    }

    /// A field of a document, where it is text.
    pub fn text(&self, id: &str, field: &str) -> Option<&str> {
        self.documents.get(id)?.get(field)?.as_str()
    }

    /// How many requests of a kind came in so far.
    pub fn calls_of(&self, kind: Kind) -> usize {
        self.calls.iter().filter(|call| call.kind == kind).count()
    }

    /// A fresh id of 22 letters and digits, as Sanity's transaction ids are; the same ones in every run.
    pub(super) fn issue(&mut self) -> String {
        self.issued += 1;
        generate(self.issued)
    }

    /// Applies all mutations of an order or none of them.
    pub(super) fn transact(&mut self, order: Order) -> Result<Committed, MutateError> {
        let id = match order.id {
            Some(id) if self.known.contains(&id) => return Err(MutateError::AlreadyCommitted(id)),
            Some(id) => id,
            None => self.issue(),
        };
        let at = self.clock.now();
        let mut workspace = Workspace::new(&self.documents, &id, at, &mut self.issued);
        let mut results = Vec::new();
        for (index, mutation) in order.mutations.into_iter().enumerate() {
            results.push(workspace.apply(mutation).map_err(|error| error.at(index))?);
        }
        let changed = workspace.finish();
        if !order.dry_run {
            self.commit(&id, at, order.by, order.indexed, changed);
        }
        Ok(Committed { id, results })
    }

    fn commit(&mut self, id: &str, at: Timestamp, by: By, indexed: bool, changed: BTreeMap<String, Option<Document>>) {
        let mut changes = Vec::new();
        for (document, after) in changed {
            let before = match &after {
                Some(after) => self.documents.insert(document.clone(), after.clone()),
                None => self.documents.remove(&document),
            };
            changes.push(Change {
                id: document,
                before,
                after,
            });
        }
        self.known.insert(id.to_owned());
        for change in &changes {
            let key = generate(self.issued + 1);
            if self.webhooks.notice(change, id, at, key) {
                self.issued += 1;
            }
        }
        self.transactions.push(Transaction {
            id: id.to_owned(),
            at,
            by,
            documents: changes,
            indexed,
        });
    }

    /// The documents as the query store has them.
    pub(super) fn indexed(&self) -> Cow<'_, BTreeMap<String, Document>> {
        let now = self.clock.now();
        let seen = |transaction: &Transaction| transaction.indexed || after(transaction.at, self.query_lag) <= now;
        let unseen = self
            .transactions
            .iter()
            .rev()
            .take_while(|transaction| !seen(transaction));
        let mut documents = Cow::Borrowed(&self.documents);
        for change in unseen.flat_map(|transaction| &transaction.documents) {
            let documents = documents.to_mut();
            match &change.before {
                Some(before) => documents.insert(change.id.clone(), before.clone()),
                None => documents.remove(&change.id),
            };
        }
        documents
    }

    /// Whether the limit of mutation requests a second is reached.
    pub(super) fn mutates_too_fast(&self) -> bool {
        let Some(limit) = self.mutation_limit else {
            return false;
        };
        let now = self.clock.now();
        let recent = |call: &&Call| after(call.at, Duration::from_secs(1)) > now;
        let calls = self.calls.iter().rev().take_while(recent);
        let taken = calls.filter(|call| call.kind == Kind::Mutate && call.status != Some(429));
        taken.count() >= limit
    }
}
