//! What editors do to leads and colleagues to contacts, and what the leads must therefore say in the end.

use std::collections::{BTreeMap, BTreeSet};

use bigin_sync::domain::lead::REQUESTED;
use bigin_sync::fake::{bigin, sanity};
use sanity::Document;
use serde_json::{Value, json};

use super::plan::{Act, TOO_LARGE};

/// Who wanted what.
#[derive(Debug, Default)]
pub struct People {
    pub asked: BTreeMap<String, Asked>,
    /// Contacts that were deleted or merged away.
    pub removed: BTreeSet<String>,
    /// The first request of each lead, as a draft from that time still has it.
    stale: BTreeMap<String, Document>,
    duplicates: usize,
    /// Bigin may apply an insert late. Then no two leads have one phone number and no email, as in [`super::cast`].
    has_late_inserts: bool,
}

/// What was asked of a lead.
#[derive(Debug, Clone)]
pub struct Asked {
    pub wanted: Wanted,
    /// A person asked through the API, whatever the status says.
    pub is_manual: bool,
    /// Bigin had to refuse it at some time since the last request, or at the time of one.
    pub was_bad: bool,
    /// Bigin would have taken it at some time since the last request.
    pub was_good: bool,
}

/// What people last wanted.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// That it be sent.
    Sent,
    /// That its status be this.
    Status(String),
    /// That it be gone.
    Gone,
}

impl Asked {
    /// Whether a lead says in the end what was wanted of it: with `may_fail`, Bigin may also have refused it for something
    /// else than what it says.
    pub fn is_met_by(&self, status: Option<&str>, may_fail: bool) -> bool {
        let sent = Some("SENT");
        let failed = Some("FAILED");
        let by_result = match (self.was_bad, self.was_good) {
            (true, false) => status == failed,
            (false, _) if !may_fail => status == sent,
            _ => status == sent || status == failed,
        };
        match &self.wanted {
            Wanted::Gone => status.is_none(),
            Wanted::Sent => by_result,
            Wanted::Status(wanted) if wanted == "SENT" || wanted == "FAILED" || self.is_manual => {
                status == Some(wanted) || status == sent || status == failed
            }
            Wanted::Status(wanted) => status == Some(wanted),
        }
    }
}

pub fn lead_id(lead: usize) -> String {
    format!("lead-{lead:02}")
}

impl People {
    pub fn new(has_late_inserts: bool) -> Self {
        Self {
            has_late_inserts,
            ..Self::default()
        }
    }

    /// Does it, unless it cannot be done; says what was done.
    pub fn act(&mut self, act: &Act, lake: &mut sanity::Model, crm: &mut bigin::Model) -> Option<&'static str> {
        let id = |lead: &usize| lead_id(*lead);
        match act {
            Act::Request(lead) => {
                let again = lake.text(&id(lead), "crmStatus") != Some("NOT_SENT");
                self.request(&id(lead), lake)?;
                Some(if again { "requested again" } else { "requested" })
            }
            Act::Withdraw(lead) => {
                lake.edit(&id(lead), json!({ "crmStatus": "NOT_SENT" })).ok()?;
                self.wants(&id(lead), Wanted::Status("NOT_SENT".to_owned()));
                Some("withdrawn")
            }
            Act::Delete(lead) => {
                lake.document(&id(lead))?;
                lake.delete(&id(lead)).ok()?;
                self.wants(&id(lead), Wanted::Gone);
                Some("deleted")
            }
            Act::Unpublish(lead) => {
                lake.unpublish(&id(lead)).ok()?;
                self.wants(&id(lead), Wanted::Gone);
                Some("unpublished")
            }
            Act::Edit(lead, fields) => self.edit(&id(lead), fields.clone(), lake).map(|()| "edited"),
            Act::Spoil(lead) => {
                let email = lake.text(&id(lead), "emailAddress")?.replace('.', ",");
                self.edit(&id(lead), json!({ "emailAddress": email }), lake)?;
                Some("spoilt")
            }
            Act::Mend(lead) => {
                let document = lake.document(&id(lead)).filter(|document| is_bad(document))?;
                let text = |field: &str| document.get(field).and_then(Value::as_str).unwrap_or_default();
                let email = text("emailAddress").replace(',', ".");
                let mut mended = json!({ "firstName": text("firstName").chars().take(9).collect::<String>() });
                if !email.is_empty() {
                    mended["emailAddress"] = email.into();
                }
                self.edit(&id(lead), mended, lake)?;
                Some("mended")
            }
            Act::Draft(lead) => {
                lake.document(&id(lead))?;
                lake.edit_draft(&id(lead), json!({ "city": "Draft-on-Sea" })).ok()?;
                Some("a draft is begun")
            }
            Act::PublishDraft(lead) => {
                let draft = lake.document(&format!("drafts.{}", id(lead)))?.clone();
                let before = lake.document(&id(lead)).map(status).unwrap_or_default();
                lake.publish_draft(&id(lead)).ok()?;
                self.published(&id(lead), &before, &draft);
                Some("a draft is published")
            }
            Act::PublishStale(lead) => {
                let before = status(lake.document(&id(lead))?);
                let stale = self.stale.get(&id(lead))?.clone();
                lake.publish(Value::Object(stale.clone())).ok()?;
                self.published(&id(lead), &before, &stale);
                Some("a stale draft is published")
            }
            Act::Version(lead) => {
                lake.make_version("r2026", &id(lead)).ok()?;
                Some("a version is made")
            }
            Act::Duplicate(lead) => {
                self.duplicates += 1;
                let copy = format!("{}-copy-{}", id(lead), self.duplicates);
                lake.duplicate(&id(lead), &copy).ok()?;
                let has = |field: &str| lake.text(&id(lead), field).is_some_and(|text| !text.is_empty());
                if self.has_late_inserts && has("phoneNumber") && !has("emailAddress") {
                    // Corrections of numbers end in 100 and more.
                    let phone = format!("07700 901{:03}", self.duplicates);
                    lake.edit_draft(&copy, json!({ "phoneNumber": phone })).ok()?;
                }
                lake.publish_draft(&copy).ok()?;
                self.request(&copy, lake)?;
                Some("duplicated")
            }
            Act::DeleteContact(lead) => {
                let contact = lake.text(&id(lead), "biginContactId")?.to_owned();
                crm.contacts().find(|(id, _)| *id == contact)?;
                crm.delete_contact(&contact);
                self.without_contact(&contact, lake);
                Some("a contact is deleted")
            }
            Act::MergeContact(lead) => {
                let contact = lake.text(&id(lead), "biginContactId")?.to_owned();
                crm.contacts().find(|(id, _)| *id == contact)?;
                let into = crm
                    .contacts()
                    .map(|(id, _)| id.to_owned())
                    .find(|other| *other != contact)?;
                crm.merge_contact(&contact, &into);
                self.without_contact(&contact, lake);
                Some("a contact is merged")
            }
            _ => None,
        }
    }

    /// A person has asked through the API.
    pub fn asked_by_person(&mut self, id: &str, lake: &sanity::Model) {
        let bad = lake.document(id).is_some_and(is_bad);
        let asked = self.of(id);
        asked.is_manual = true;
        asked.was_bad |= bad;
        asked.was_good |= !bad;
    }

    fn of(&mut self, id: &str) -> &mut Asked {
        self.asked.entry(id.to_owned()).or_insert_with(|| Asked {
            wanted: Wanted::Status("NOT_SENT".to_owned()),
            is_manual: false,
            was_bad: false,
            was_good: false,
        })
    }

    fn wants(&mut self, id: &str, wanted: Wanted) {
        self.of(id).wanted = wanted;
    }

    fn request(&mut self, id: &str, lake: &mut sanity::Model) -> Option<()> {
        let before = status(lake.document(id)?);
        lake.request(id).ok()?;
        let document = lake.document(id)?.clone();
        self.stale.entry(id.to_owned()).or_insert_with(|| document.clone());
        self.published(id, &before, &document);
        Some(())
    }

    /// By an editor's will the lead says this now, and had this status before.
    fn published(&mut self, id: &str, before: &str, document: &Document) {
        let now = status(document);
        let bad = is_bad(document);
        let asked = self.of(id);
        if now == REQUESTED && before != REQUESTED {
            // Whatever was asked before, this is to be answered with what it says now.
            (asked.was_bad, asked.was_good) = (bad, !bad);
        } else {
            asked.was_bad |= bad;
            asked.was_good |= !bad;
        }
        asked.wanted = match now == REQUESTED {
            true => Wanted::Sent,
            false => Wanted::Status(now),
        };
    }

    fn edit(&mut self, id: &str, fields: Value, lake: &mut sanity::Model) -> Option<()> {
        lake.edit(id, fields).ok()?;
        let bad = is_bad(lake.document(id)?);
        let asked = self.of(id);
        asked.was_bad |= bad;
        asked.was_good |= !bad;
        Some(())
    }

    /// Whoever takes a contact away asks for its leads again.
    fn without_contact(&mut self, contact: &str, lake: &mut sanity::Model) {
        self.removed.insert(contact.to_owned());
        let names_it = |lead: &&Document| {
            let is_published = lead["_id"].as_str().is_some_and(|id| !id.contains('.'));
            is_published && lead.get("biginContactId").is_some_and(|named| named == contact)
        };
        let leads: Vec<String> = lake
            .documents()
            .filter(names_it)
            .filter_map(|lead| lead["_id"].as_str().map(str::to_owned))
            .collect();
        for lead in leads {
            self.request(&lead, lake);
        }
    }
}

fn status(lead: &Document) -> String {
    let status = lead.get("crmStatus").and_then(Value::as_str);
    status.unwrap_or_default().to_owned()
}

/// Leads that had an email which another lead had at some time: Bigin may refuse the one for the other's sake.
pub fn rivals(transactions: &[sanity::Transaction]) -> BTreeSet<String> {
    let mut holders: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for change in transactions.iter().flat_map(|transaction| &transaction.documents) {
        if let Some(after) = &change.after {
            let id = change.id.rsplit('.').next().unwrap_or_default();
            holders.entry(text(after, "emailAddress")).or_default().insert(id);
        }
    }
    holders.remove("");
    let shared = holders.into_values().filter(|leads| leads.len() > 1).flatten();
    shared.map(str::to_owned).collect()
}

/// The text of a field, empty where there is none.
pub fn text<'a>(document: &'a Document, field: &str) -> &'a str {
    document.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Whether Bigin has to refuse a lead.
pub fn is_bad(lead: &Document) -> bool {
    let text = |field: &str| lead.get(field).and_then(Value::as_str).unwrap_or_default();
    text("emailAddress").contains(',') || text("firstName").len() > 40 || text("notes").len() >= TOO_LARGE
}
