//! The leads of a run and the contacts that were in Bigin before, all invented.

use serde_json::{Value, json};

use super::plan::{Dice, Profile};

/// Names that nothing else is called, so that a look for them finds no other thing.
const FIRST: [&str; 5] = ["Clementine", "Evander", "Rosalind", "Lysander", "Philippa"];
const SECOND: [&str; 5] = [
    "Hollingberry",
    "Penhaligon",
    "Summerscale",
    "Gathercole",
    "Winterbourne",
];

/// What the lead that Bigin chokes on has in its address.
pub const POISON: &str = "Kumquat Court";

/// What the lead that makes Bigin hang has in its address.
pub const HANGS: &str = "Mangosteen Mews";

/// Texts that must be in nothing the service writes.
pub const PRIVATE: [&str; 12] = [
    "@example.org",
    "@example,org",
    "7700900",
    "7700 900",
    "7700901",
    "7700 901",
    "Exampleton",
    "Draft-on-Sea",
    "Invented Lane",
    "turquoise",
    POISON,
    HANGS,
];

/// Who is there at the beginning.
#[derive(Debug)]
pub struct Cast {
    /// Documents, none of them requested yet.
    pub leads: Vec<Value>,
    /// Contacts that people have typed into Bigin.
    pub contacts: Vec<Value>,
    /// The lead that every call with it dies of.
    pub poisonous: Option<usize>,
}

impl Cast {
    pub fn of(dice: &mut Dice, profile: &Profile) -> Self {
        let mut cast = Self {
            leads: Vec::new(),
            contacts: Vec::new(),
            poisonous: None,
        };
        for _ in 0..dice.between(4, 14) {
            let lead = cast.lead(dice, profile);
            cast.leads.push(lead);
        }
        if profile.poison {
            let lead = dice.index(cast.leads.len());
            cast.leads[lead]["address"] = POISON.into();
            cast.poisonous = Some(lead);
        }
        if profile.hang {
            let lead = dice.index(cast.leads.len());
            // A lead with both would be poison.
            cast.leads[lead]["address"] = HANGS.into();
            cast.poisonous = cast.poisonous.filter(|poisonous| *poisonous != lead);
        }
        if profile.large > 0 {
            let lead = dice.index(cast.leads.len());
            cast.leads[lead]["notes"] = "n".repeat(profile.large).into();
        }
        cast
    }

    fn lead(&mut self, dice: &mut Dice, profile: &Profile) -> Value {
        let number = self.leads.len();
        let (first, second) = (dice.one_of(&FIRST), dice.one_of(&SECOND));
        let email = format!("{first}.{number}@example.org").to_lowercase();
        let phone = format!("07700 900{number:03}");
        let mut lead = json!({
            "_id": format!("lead-{number:02}"),
            "_type": "dbrLead",
            "firstName": first,
            "secondName": second,
            "phoneNumber": phone,
            "emailAddress": email,
            "address": format!("{number} Invented Lane"),
            "crmStatus": "NOT_SENT",
            "conversationHistory": [
                { "timestamp": "2026-11-20T09:15:00Z", "from": "lead", "message": "Would a turquoise roof do?" },
            ],
        });
        let other = (number > 0).then(|| self.leads[dice.index(number)].clone());
        match (dice.up_to(13), other) {
            (0, Some(other)) if other.get("emailAddress").is_some() => {
                lead["emailAddress"] = other["emailAddress"].clone()
            }
            // Not beside late inserts: the look-up of the one would not find the contact of the other yet.
            (1, Some(other)) if other.get("phoneNumber").is_some() && profile.late_inserts.is_zero() => {
                without(&mut lead, "emailAddress");
                lead["phoneNumber"] = other["phoneNumber"].clone();
            }
            (2 | 3, _) => without(&mut lead, "emailAddress"),
            (4, _) => self.know(json!({ "Last_Name": "Known", "Email": email.to_uppercase() })),
            (5, _) => {
                without(&mut lead, "emailAddress");
                self.know(json!({ "Last_Name": "Known", "Phone": format!("+44 7700 900{number:03}") }));
            }
            // Its email matches one contact, and its phone another.
            (6, _) => {
                self.know(json!({ "Last_Name": "Known", "Email": email }));
                self.know(json!({ "Last_Name": "Other", "Phone": format!("07700900{number:03}") }));
            }
            (7, _) => lead["emailAddress"] = email.replace('.', ",").into(),
            (8, _) => lead["firstName"] = first.repeat(5).into(),
            (9, _) => {
                without(&mut lead, "emailAddress");
                without(&mut lead, "phoneNumber");
            }
            _ => {}
        }
        lead
    }

    /// Whether a contact that is no lead's has the email of a lead.
    pub fn is_known(&self, lead: usize) -> bool {
        let email = |record: &Value, field: &str| Some(record.get(field)?.as_str()?.to_lowercase());
        let wanted = email(&self.leads[lead], "emailAddress");
        wanted.is_some() && self.contacts.iter().any(|contact| email(contact, "Email") == wanted)
    }

    fn know(&mut self, contact: Value) {
        self.contacts.push(contact);
    }
}

fn without(lead: &mut Value, field: &str) {
    lead.as_object_mut().unwrap().remove(field);
}

/// Names of people, to be found in nothing the service writes.
pub fn names() -> impl Iterator<Item = &'static str> {
    FIRST.into_iter().chain(SECOND)
}
