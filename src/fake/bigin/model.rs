//! What the fake holds: contacts, fields, tags, tokens, switches, and a journal of what was asked and what was changed.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::accounts::Accounts;
use super::fault::Fault;
use super::fields::{self, FieldMeta, Unique};
use super::options::Switches;
use super::request_log::{Call, CallKind, Change};
use crate::clock::{SharedClock, after};

/// The field that Bigin itself takes for a duplicate check (official docs, upsert-records).
pub(super) const SYSTEM_CHECK: &str = "Email";

/// Ids are text of nineteen digits, and neighbours: a client that takes one for a double confuses them.
const FIRST_ID: u64 = 7_618_134_000_000_646_043;

/// The credits of a call are free again after this long (official docs, api-limits).
const CREDIT_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// The state of one Bigin organisation and of the accounts server. Tests read and change it directly.
pub struct Model {
    /// How it behaves.
    pub switches: Switches,
    /// Every call in the order of arrival.
    pub calls: Vec<Call>,
    /// Everything that happened to contacts through calls, in order; only ever added to.
    pub changes: Vec<Change>,
    /// The faults that have struck, in order.
    pub struck: Vec<(CallKind, Fault)>,
    /// The `api_domain` that token answers name; the fake's own address unless a test changes it.
    pub api_domain: String,
    pub(super) clock: SharedClock,
    pub(super) accounts: Accounts,
    /// The fields of Contacts. Whether one is unique is changed by [`Model::set_unique`] only.
    pub fields: Vec<FieldMeta>,
    /// Tags of the module: name → id.
    pub(super) tags: BTreeMap<String, String>,
    contacts: BTreeMap<String, Contact>,
    /// Values of unique fields: (field, compared form) → live contacts.
    index: HashMap<(String, String), BTreeSet<String>>,
    faults: Vec<(CallKind, Fault, usize)>,
    spent: VecDeque<(Timestamp, u32)>,
    spent_total: u32,
    pub(super) active: usize,
    last_id: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Contact {
    /// What has been written: API name → value, never null.
    pub fields: BTreeMap<String, Value>,
    /// Names of its tags, in the order they were added.
    pub tags: Vec<String>,
    /// When it was inserted.
    pub created_at: Timestamp,
    /// When it was last written or tagged.
    pub modified_at: Timestamp,
    /// In the recycle bin, or merged.
    pub deleted: bool,
    /// The contact it was merged into.
    pub merged_into: Option<String>,
}

impl Contact {
    pub fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field).and_then(Value::as_str)
    }
}

impl Model {
    pub(super) fn new(clock: SharedClock, api_domain: String) -> Self {
        Self {
            switches: Switches::default(),
            calls: Vec::new(),
            changes: Vec::new(),
            struck: Vec::new(),
            api_domain,
            clock,
            accounts: Accounts::new(),
            fields: fields::recorded(),
            tags: BTreeMap::new(),
            contacts: BTreeMap::new(),
            index: HashMap::new(),
            faults: Vec::new(),
            spent: VecDeque::new(),
            spent_total: 0,
            active: 0,
            last_id: FIRST_ID,
        }
    }

    /// The contacts that are neither deleted nor merged, in the order they came to be.
    pub fn contacts(&self) -> impl Iterator<Item = (&str, &Contact)> {
        let all = self.contacts.iter().map(|(id, contact)| (id.as_str(), contact));
        all.filter(|(_, contact)| !contact.deleted)
    }

    /// A contact by id, deleted or not.
    pub fn contact(&self, id: &str) -> Option<&Contact> {
        self.contacts.get(id)
    }

    /// The oldest live contact with this email, in any case.
    pub fn contact_by_email(&self, email: &str) -> Option<(&str, &Contact)> {
        let email = email.to_lowercase();
        let has_it = |contact: &Contact| contact.text("Email").is_some_and(|own| own.to_lowercase() == email);
        self.contacts().find(|(_, contact)| has_it(contact))
    }

    /// Adds a contact as if a person had typed it into Bigin: unchecked, and not in the history. Returns its id.
    pub fn add_contact(&mut self, fields: BTreeMap<String, Value>) -> String {
        let now = self.clock.now();
        let id = self.next_id();
        let contact = Contact {
            fields: BTreeMap::new(),
            tags: Vec::new(),
            created_at: now,
            modified_at: now,
            deleted: false,
            merged_into: None,
        };
        self.contacts.insert(id.clone(), contact);
        self.write(&id, fields);
        id
    }

    /// Gives a contact a tag as if a person had: not in the history.
    pub fn tag_by_hand(&mut self, contact: &str, name: &str) {
        self.make_tag(name);
        if let Some(contact) = self.contacts.get_mut(contact) {
            contact.tags.push(name.to_owned());
        }
    }

    /// Makes a tag as if a person had, and returns its id.
    pub fn make_tag(&mut self, name: &str) -> String {
        let id = self.next_id();
        self.tags.insert(name.to_owned(), id.clone());
        id
    }

    /// The names of all tags of Contacts.
    pub fn tag_names(&self) -> Vec<String> {
        self.tags.keys().cloned().collect()
    }

    /// Deletes a contact.
    pub fn delete_contact(&mut self, id: &str) {
        self.unlist(id);
        if let Some(contact) = self.contacts.get_mut(id) {
            contact.deleted = true;
        }
    }

    /// Merges a contact into another: its id is gone, and leads nowhere.
    pub fn merge_contact(&mut self, from: &str, into: &str) {
        self.delete_contact(from);
        if let Some(contact) = self.contacts.get_mut(from) {
            contact.merged_into = Some(into.to_owned());
        }
    }

    /// Switches "Do not allow duplicate values" of a field.
    pub fn set_unique(&mut self, api_name: &str, unique: bool) {
        let unique = if unique { Unique::IgnoringCase } else { Unique::No };
        if let Some(field) = self.fields.iter_mut().find(|field| field.api_name == api_name) {
            field.unique = unique;
        }
        self.index.clear();
        let live: Vec<String> = self.contacts().map(|(id, _)| id.to_owned()).collect();
        live.iter().for_each(|id| self.list(id));
    }

    /// Adds a custom field.
    pub fn add_field(&mut self, api_name: &str, label: &str, data_type: &str, length: usize, unique: bool) {
        self.fields.push(FieldMeta {
            api_name: api_name.to_owned(),
            label: label.to_owned(),
            data_type: data_type.to_owned(),
            length,
            mandatory: false,
            read_only: false,
            unique: Unique::No,
            custom: true,
        });
        self.set_unique(api_name, unique);
    }

    /// Removes a field from the metadata.
    pub fn remove_field(&mut self, api_name: &str) {
        self.fields.retain(|field| field.api_name != api_name);
    }

    /// Lets the next `times` calls of a kind meet a fault, after the faults set before. Only calls that would be carried
    /// out count: one with a bad token or over a limit uses up no fault.
    pub fn fail_next(&mut self, kind: CallKind, fault: Fault, times: usize) {
        self.faults.push((kind, fault, times));
    }

    /// Forgets the faults that have not struck yet.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// Faults that have not struck yet.
    pub fn faults_left(&self) -> usize {
        self.faults.iter().map(|(_, _, times)| times).sum()
    }

    /// API credits used in the last 24 hours.
    pub fn credits_used(&mut self) -> u32 {
        let now = self.clock.now();
        while self
            .spent
            .front()
            .is_some_and(|(at, _)| after(*at, CREDIT_WINDOW) <= now)
        {
            let credits = self.spent.pop_front().map_or(0, |(_, credits)| credits);
            self.spent_total = self.spent_total.saturating_sub(credits);
        }
        self.spent_total
    }

    /// Access tokens granted so far.
    pub fn grants(&self) -> usize {
        self.accounts.granted
    }

    /// The most API calls that were in flight at once.
    pub fn max_in_flight(&self) -> usize {
        self.calls.iter().map(|call| call.in_flight).max().unwrap_or(0)
    }

    /// API calls in flight now.
    pub fn in_flight(&self) -> usize {
        self.active
    }

    /// Calls of a kind so far.
    pub fn count(&self, kind: CallKind) -> usize {
        self.calls.iter().filter(|call| call.kind == kind).count()
    }

    pub(super) fn spend(&mut self, credits: u32) {
        if credits == 0 {
            return;
        }
        self.spent.push_back((self.clock.now(), credits));
        self.spent_total = self.spent_total.saturating_add(credits);
    }

    pub(super) fn take_fault(&mut self, kind: CallKind) -> Option<Fault> {
        self.faults.retain(|(_, _, times)| *times > 0);
        let (_, fault, times) = self.faults.iter_mut().find(|(of, ..)| *of == kind)?;
        *times -= 1;
        let fault = fault.clone();
        self.struck.push((kind, fault.clone()));
        Some(fault)
    }

    pub(super) fn next_id(&mut self) -> String {
        self.last_id += 1;
        self.last_id.to_string()
    }

    /// A field by its API name.
    pub fn field(&self, api_name: &str) -> Option<&FieldMeta> {
        self.fields.iter().find(|field| field.api_name == api_name)
    }

    /// A contact that is neither deleted nor merged.
    pub(super) fn live(&self, id: &str) -> Option<&Contact> {
        self.contacts.get(id).filter(|contact| !contact.deleted)
    }

    /// The live contacts that have this value in a unique field, oldest first.
    pub(super) fn holders(&self, field: &FieldMeta, value: &str) -> impl Iterator<Item = &str> {
        let key = (field.api_name.clone(), field.unique.key(value));
        self.index.get(&key).into_iter().flatten().map(String::as_str)
    }

    /// Writes fields of a contact; null clears.
    pub(super) fn write(&mut self, id: &str, fields: BTreeMap<String, Value>) {
        let now = self.clock.now();
        self.unlist(id);
        if let Some(contact) = self.contacts.get_mut(id) {
            contact.fields.extend(fields);
            contact.fields.retain(|_, value| !value.is_null());
            contact.modified_at = now;
        }
        self.list(id);
    }

    pub(super) fn set_tags(&mut self, id: &str, tags: Vec<String>) {
        let now = self.clock.now();
        for tag in &tags {
            if !self.tags.contains_key(tag) {
                let id = self.next_id();
                self.tags.insert(tag.clone(), id);
            }
        }
        if let Some(contact) = self.contacts.get_mut(id) {
            contact.tags = tags;
            contact.modified_at = now;
        }
    }

    fn unlist(&mut self, id: &str) {
        for key in self.keys(id) {
            if let Some(holders) = self.index.get_mut(&key) {
                holders.remove(id);
            }
        }
    }

    fn list(&mut self, id: &str) {
        for key in self.keys(id) {
            self.index.entry(key).or_default().insert(id.to_owned());
        }
    }

    /// What the index says of a contact.
    fn keys(&self, id: &str) -> Vec<(String, String)> {
        let Some(contact) = self.live(id) else {
            return Vec::new();
        };
        let unique = self.fields.iter().filter(|field| field.unique != Unique::No);
        unique
            .filter_map(|field| {
                let value = contact.text(&field.api_name)?;
                Some((field.api_name.clone(), field.unique.key(value)))
            })
            .collect()
    }
}
