//! The demo's leads, all fictional: nine for a case each, and any number of others.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::domain::lead::NOT_SENT;
use crate::fake::{bigin, sanity};

/// A lead as it is in Sanity at the start.
pub(super) struct Lead {
    pub(super) id: String,
    pub(super) name: String,
    /// At most 21 characters, for a column of the report.
    pub(super) case: &'static str,
    document: Value,
}

/// The IDs of the leads with a case.
pub(super) const NEW: &str = "lead-new";
pub(super) const KNOWN: &str = "lead-known";
pub(super) const PHONE: &str = "lead-phone";
pub(super) const TWIN: &str = "lead-twin";
pub(super) const EDITED: &str = "lead-edited";
pub(super) const TWICE: &str = "lead-twice";
pub(super) const BAD: &str = "lead-bad";
pub(super) const LOST: &str = "lead-lost";
pub(super) const DOWN: &str = "lead-down";

struct NamedLead {
    id: &'static str,
    name: (&'static str, &'static str),
    email: &'static str,
    phone: &'static str,
    case: &'static str,
}

/// In the order of the report.
const NAMED: [NamedLead; 9] = [
    NamedLead {
        id: NEW,
        name: ("Elowen", "Quillfeather"),
        email: "elowen.quillfeather@example.org",
        phone: "07700 900001",
        case: "new in Bigin",
    },
    NamedLead {
        id: KNOWN,
        name: ("Torquil", "Brackenbury"),
        email: "torquil.brackenbury@example.org",
        phone: "07700 900002",
        case: "email is in Bigin",
    },
    NamedLead {
        id: PHONE,
        name: ("Isolde", "Fennimore"),
        email: "",
        phone: "+44 (0)7700 900-003",
        case: "no email, known phone",
    },
    NamedLead {
        id: TWIN,
        name: ("Ellie", "Quillfeather"),
        email: "Elowen.Quillfeather@Example.org",
        phone: "07700 900001",
        case: "same email as another",
    },
    NamedLead {
        id: EDITED,
        name: ("Peregrine", "Ashdown"),
        email: "peregrine.ashdown@example.org",
        phone: "07700 900005",
        case: "edited during sync",
    },
    NamedLead {
        id: TWICE,
        name: ("Marigold", "Thistlewood"),
        email: "marigold.thistlewood@example.org",
        phone: "07700 900006",
        case: "requested repeatedly",
    },
    NamedLead {
        id: BAD,
        name: ("Barnaby", "Wrenshaw"),
        email: "barnaby.wrenshaw@example,org",
        phone: "07700 900007",
        case: "invalid email, fixed",
    },
    NamedLead {
        id: LOST,
        name: ("Ottoline", "Marchbank"),
        email: "ottoline.marchbank@example.org",
        phone: "07700 900008",
        case: "webhook is lost",
    },
    NamedLead {
        id: DOWN,
        name: ("Thaddeus", "Larkspur"),
        email: "thaddeus.larkspur@example.org",
        phone: "07700 900009",
        case: "requested while down",
    },
];

/// The later email of the bad lead, and the later message of the edited one.
pub(super) const FIXED_EMAIL: &str = "barnaby.wrenshaw@example.org";
const NEW_MESSAGE: &str = "Pistachio would be better than turquoise, and please come by bicycle";

/// Words that occur in no text but a conversation.
const QUESTION: &str = "Would a turquoise roof suit the greenhouse?";
const ANSWER: &str = "Only if the marmalade stays dry";

pub(super) struct Leads {
    pub(super) named: Vec<Lead>,
    pub(super) others: Vec<Lead>,
}

impl Leads {
    pub(super) fn new(others: usize) -> Self {
        Self {
            named: NAMED.iter().map(named).collect(),
            others: (0..others).map(other).collect(),
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Lead> {
        self.named.iter().chain(&self.others)
    }

    /// Puts the leads into Sanity without webhooks.
    pub(super) fn seed(&self, lake: &mut sanity::Model) -> Result<(), sanity::Impossible> {
        self.all()
            .try_for_each(|lead| lake.seed(lead.document.clone()).map(drop))
    }
}

fn named(lead: &NamedLead) -> Lead {
    let id = lead.id.to_owned();
    self::lead(id, lead.name, lead.email, lead.phone, lead.case)
}

/// The surnames occur nowhere else, so that they can be searched for in what the service writes.
fn other(number: usize) -> Lead {
    const FIRST: [&str; 7] = [
        "Clementine",
        "Evander",
        "Rosalind",
        "Lysander",
        "Philippa",
        "Cosmo",
        "Araminta",
    ];
    const SECOND: [&str; 6] = [
        "Hollingberry",
        "Penhaligon",
        "Summerscale",
        "Tredwell",
        "Winterbourne",
        "Gathercole",
    ];
    let pick = |names: &[&'static str]| names.get(number % names.len()).copied().unwrap_or_default();
    let name = (pick(&FIRST), pick(&SECOND));
    let email = format!("{}.{}.{}@example.org", name.0, name.1, number + 1).to_lowercase();
    let phone = format!("07700 900{}", 100 + number);
    lead(format!("lead-crowd-{:03}", number + 1), name, &email, &phone, OTHERS)
}

fn lead(id: String, name: (&str, &str), email: &str, phone: &str, case: &'static str) -> Lead {
    let mut document = json!({
        "_id": id,
        "firstName": name.0,
        "secondName": name.1,
        "phoneNumber": phone,
        "address": "1 Invented Lane",
        "city": "Exampleton",
        "postcode": "EX1 1EX",
        "contactStatus": "HOT",
        "crmStatus": NOT_SENT,
        "conversationHistory": conversation(false),
    });
    if !email.is_empty() {
        document["emailAddress"] = email.into();
    }
    let name = format!("{} {}", name.0, name.1);
    Lead {
        id,
        name,
        case,
        document,
    }
}

/// The conversation; `edited` adds the later message.
pub(super) fn conversation(edited: bool) -> Value {
    let mut messages = vec![
        json!({"timestamp": "2026-11-20T09:15:00Z", "from": "ai", "message": QUESTION}),
        json!({"timestamp": "2026-11-20T09:16:30Z", "from": "lead", "message": ANSWER}),
    ];
    if edited {
        messages.push(json!({"timestamp": "2026-11-20T09:17:10Z", "from": "lead", "message": NEW_MESSAGE}));
    }
    Value::Array(messages)
}

/// The case of the other leads.
pub(super) const OTHERS: &str = "many at once";

/// A command that changes the first lead in Sanity as an editor does, in lines of at most 80 characters.
pub(super) fn curl_request(sanity: &sanity::FakeSanity, fields: &[(&str, &str)]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("\"{name}\":\"{value}\""))
        .collect();
    format!(
        "  curl -H 'Authorization: Bearer {}' \\
    -H 'Content-Type: application/json' \\
    -d '{{\"mutations\":[{{\"patch\":{{\"id\":\"{NEW}\",
         \"set\":{{{}}}}}}}]}}' \\
    {}/v2025-02-19/data/mutate/{}
",
        sanity.token(),
        fields.join(","),
        sanity.url(),
        sanity.dataset()
    )
}

/// Two contacts that were in Bigin before.
pub(super) fn seed_contacts(crm: &mut bigin::Model) {
    let contact = |fields: Value| match fields {
        Value::Object(fields) => fields.into_iter().collect(),
        _ => BTreeMap::new(),
    };
    crm.add_contact(contact(json!({
        "Last_Name": "Brackenbury",
        "Email": "Torquil.Brackenbury@EXAMPLE.org",
        "Title": "typed in by a colleague",
    })));
    crm.add_contact(contact(json!({"Last_Name": "Fennimore", "Phone": "07700900003"})));
}

/// Texts that the service must not write anywhere: names, and parts of all addresses, numbers and messages.
pub(super) fn private_texts(leads: &Leads) -> Vec<String> {
    let names = leads.all().flat_map(|lead| lead.name.split(' '));
    let patterns = ["@example.org", "@example,org", "7700900", "7700 900", "Invented Lane"];
    let words = ["turquoise", "marmalade", "pistachio"];
    let all = names.chain(patterns).chain(words).map(str::to_owned);
    let distinct: std::collections::BTreeSet<String> = all.collect();
    distinct.into_iter().collect()
}
