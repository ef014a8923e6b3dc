//! The leads of the demo, all invented: nine with a story each, and as many as are asked for that have none.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::fake::{bigin, sanity};

/// A lead as it is in Sanity before anything happens.
pub(super) struct Lead {
    pub(super) id: String,
    pub(super) name: String,
    /// A few words, for a column.
    pub(super) story: &'static str,
    document: Value,
}

/// The leads with a story.
pub(super) const NEW: &str = "lead-new";
pub(super) const KNOWN: &str = "lead-known";
pub(super) const PHONE: &str = "lead-phone";
pub(super) const TWIN: &str = "lead-twin";
pub(super) const EDITED: &str = "lead-edited";
pub(super) const TWICE: &str = "lead-twice";
pub(super) const BAD: &str = "lead-bad";
pub(super) const LOST: &str = "lead-lost";
pub(super) const DOWN: &str = "lead-down";

struct Part {
    id: &'static str,
    name: (&'static str, &'static str),
    email: &'static str,
    phone: &'static str,
    story: &'static str,
}

/// In the order they are shown.
const PARTS: [Part; 9] = [
    Part {
        id: NEW,
        name: ("Elowen", "Quillfeather"),
        email: "elowen.quillfeather@example.org",
        phone: "07700 900001",
        story: "new to Bigin",
    },
    Part {
        id: KNOWN,
        name: ("Torquil", "Brackenbury"),
        email: "torquil.brackenbury@example.org",
        phone: "07700 900002",
        story: "Bigin knows the email",
    },
    Part {
        id: PHONE,
        name: ("Isolde", "Fennimore"),
        email: "",
        phone: "+44 (0)7700 900-003",
        story: "no email, known by phone",
    },
    Part {
        id: TWIN,
        name: ("Ellie", "Quillfeather"),
        email: "Elowen.Quillfeather@Example.org",
        phone: "07700 900001",
        story: "a second lead, same email",
    },
    Part {
        id: EDITED,
        name: ("Peregrine", "Ashdown"),
        email: "peregrine.ashdown@example.org",
        phone: "07700 900005",
        story: "edited on the way",
    },
    Part {
        id: TWICE,
        name: ("Marigold", "Thistlewood"),
        email: "marigold.thistlewood@example.org",
        phone: "07700 900006",
        story: "asked for again and again",
    },
    Part {
        id: BAD,
        name: ("Barnaby", "Wrenshaw"),
        email: "barnaby.wrenshaw@example,org",
        phone: "07700 900007",
        story: "bad email, then mended",
    },
    Part {
        id: LOST,
        name: ("Ottoline", "Marchbank"),
        email: "ottoline.marchbank@example.org",
        phone: "07700 900008",
        story: "its webhook is lost",
    },
    Part {
        id: DOWN,
        name: ("Thaddeus", "Larkspur"),
        email: "thaddeus.larkspur@example.org",
        phone: "07700 900009",
        story: "asked for while it is dead",
    },
];

/// What the mended lead says, and what the edited one is told.
pub(super) const MENDED_EMAIL: &str = "barnaby.wrenshaw@example.org";
const NEW_MESSAGE: &str = "Pistachio would be better than turquoise, and please come by bicycle";

/// What every lead talks about: words that nothing but a conversation contains.
const QUESTION: &str = "Would a turquoise roof suit the greenhouse?";
const ANSWER: &str = "Only if the marmalade stays dry";

/// All leads.
pub(super) struct Cast {
    /// Those with a story.
    pub(super) told: Vec<Lead>,
    /// Those without.
    pub(super) crowd: Vec<Lead>,
}

impl Cast {
    /// The nine, and a crowd of this many.
    pub(super) fn new(crowd: usize) -> Self {
        Self {
            told: PARTS.iter().map(told).collect(),
            crowd: (0..crowd).map(one_of_many).collect(),
        }
    }

    /// Everybody.
    pub(super) fn all(&self) -> impl Iterator<Item = &Lead> {
        self.told.iter().chain(&self.crowd)
    }

    /// Puts the leads into Sanity as if they had long been there.
    pub(super) fn settle(&self, lake: &mut sanity::Model) -> Result<(), sanity::Impossible> {
        self.all()
            .try_for_each(|lead| lake.seed(lead.document.clone()).map(drop))
    }
}

fn told(part: &Part) -> Lead {
    let Part {
        id,
        name,
        email,
        phone,
        story,
    } = *part;
    lead(id.to_owned(), name, email, phone, story)
}

/// Enough names that a crowd is one; surnames that nothing else is called.
fn one_of_many(number: usize) -> Lead {
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
    lead(format!("lead-crowd-{:03}", number + 1), name, &email, &phone, CROWD)
}

fn lead(id: String, name: (&str, &str), email: &str, phone: &str, story: &'static str) -> Lead {
    let mut document = json!({
        "_id": id,
        "firstName": name.0,
        "secondName": name.1,
        "phoneNumber": phone,
        "address": "1 Invented Lane",
        "city": "Exampleton",
        "postcode": "EX1 1EX",
        "contactStatus": "HOT",
        "crmStatus": "NOT_SENT",
        "conversationHistory": conversation(false),
    });
    if !email.is_empty() {
        document["emailAddress"] = email.into();
    }
    let name = format!("{} {}", name.0, name.1);
    Lead {
        id,
        name,
        story,
        document,
    }
}

/// The conversation, with the message that comes in on the way or without it.
pub(super) fn conversation(longer: bool) -> Value {
    let mut messages = vec![
        json!({"timestamp": "2026-11-20T09:15:00Z", "from": "ai", "message": QUESTION}),
        json!({"timestamp": "2026-11-20T09:16:30Z", "from": "lead", "message": ANSWER}),
    ];
    if longer {
        messages.push(json!({"timestamp": "2026-11-20T09:17:10Z", "from": "lead", "message": NEW_MESSAGE}));
    }
    Value::Array(messages)
}

/// The crowd's story.
pub(super) const CROWD: &str = "a crowd, all at once";

/// What the crowd is called, beside those who have a name.
pub(super) fn others(count: usize) -> String {
    format!("{count} other{}", if count == 1 { "" } else { "s" })
}

/// The two contacts that people have typed into Bigin long ago.
pub(super) fn settle_contacts(crm: &mut bigin::Model) {
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

/// Texts that must not be in anything the service writes: names, and what is in all addresses, numbers and messages.
pub(super) fn private_texts(cast: &Cast) -> Vec<String> {
    let names = cast.all().flat_map(|lead| lead.name.split(' '));
    let patterns = ["@example.org", "@example,org", "7700900", "7700 900", "Invented Lane"];
    let words = ["turquoise", "marmalade", "pistachio"];
    let all = names.chain(patterns).chain(words).map(str::to_owned);
    let distinct: std::collections::BTreeSet<String> = all.collect();
    distinct.into_iter().collect()
}
