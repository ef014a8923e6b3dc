//! What will happen in one run, drawn from its seed and nothing else, as lists that can be made shorter.

use std::fmt::Write as _;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use super::cast::Cast;
use super::world::DENIED;

/// Limit of an answer of Sanity with leads, in bytes, as the client is set in these runs.
pub const MAX_ANSWER: usize = 64 * 1024;
/// A lead that can be read, if not together with others, and one that cannot.
pub const LARGE: usize = 40_000;
pub const TOO_LARGE: usize = 90_000;

/// Everything happens within this time; then the services are well again.
pub const SCENE: u64 = 15 * MINUTE;

/// Dice of their own, so that the rest of a plan is what it was before there were these draws.
const MORE: u64 = 0x0d80_95ed;

pub const SECOND: u64 = 1_000;
pub const MINUTE: u64 = 60 * SECOND;

/// One run. Times are milliseconds since its start.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Draws the leads, the latencies and the jitter.
    pub seed: u64,
    pub profile: Profile,
    pub acts: Vec<(u64, Act)>,
    /// The nth call of an operation, from 0, meets a fault.
    pub faults: Vec<(Op, usize, Fault)>,
    /// The process dies at its nth checkpoint since the start, from 0, and starts again after this long.
    pub deaths: Vec<(usize, u64)>,
}

/// What lasts from the beginning to the end.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// `BIGIN_LEAD_ID_FIELD` is set, so that every lead has a unique value.
    pub lead_id_field: bool,
    /// Emails and numbers may be corrected.
    pub corrections: bool,
    /// One lead makes every upsert it is in end in 500.
    pub poison: bool,
    /// One lead makes every upsert it is in hang.
    pub hang: bool,
    /// Bigin says of one lead's contact that it is not there, where a call names it by its id.
    pub contradicts: bool,
    /// Size of one lead, in bytes.
    pub large: usize,
    /// A call takes up to this long, in milliseconds.
    pub latency: u64,
    /// Each record of a write to Bigin takes this long, in milliseconds.
    pub per_record: u64,
    /// A transaction takes up to this long, in milliseconds.
    pub disk: u64,
    /// How many webhooks Sanity delivers at once. It has one request at a time for each webhook; two that are set up have two.
    pub deliveries: usize,
    /// What `excludeContent` is answered with: see `WithoutContent`.
    pub without_content: u8,
    /// Zero where no insert can be applied late. Else no two leads have one phone number and no email: the look-up of the
    /// one would not find the contact of the other yet, and `docs/RELIABILITY.md` names that as not covered.
    pub late_inserts: Duration,
}

/// Something that people or the services do.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    Request(usize),
    RequestByPerson(usize),
    Withdraw(usize),
    Delete(usize),
    Unpublish(usize),
    Edit(usize, Value),
    Spoil(usize),
    Mend(usize),
    Draft(usize),
    PublishDraft(usize),
    PublishStale(usize),
    Version(usize),
    Duplicate(usize),
    DeleteContact(usize),
    MergeContact(usize),
    LoseWebhook,
    RepeatWebhook,
    OldWebhookAgain,
    Reorder(bool),
    BiginDown(bool),
    SanityDown(bool),
    NoCredits(bool),
    NoScope(Op, bool),
    DropTokens,
    Denied(usize, bool),
    Unmentioned(usize, bool),
    PauseAll(bool),
    CheckNow,
    Retry(usize),
    Cancel(usize),
}

/// What is asked of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    Grant,
    Upsert,
    Update,
    AddTags,
    Fields,
    Coql,
    Doc,
    Mutate,
    Query,
    /// `ALERT_URL`.
    Alert,
    Other,
}

/// What befalls a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// It takes this long, and the work is done in the middle.
    Slow(u64),
    /// It is never answered, and nothing is done.
    Hang,
    /// It is never answered, and the work is done after this long.
    Late(u64),
    /// There is no connection.
    Unreachable,
    /// The connection is lost before the work is done, or after.
    LostBefore,
    LostAfter,
    Status(u16),
    Html(u16),
    /// With this `Retry-After`, in seconds.
    RateLimited(Option<u64>),
    /// With this `Retry-After`, as the date in so many seconds.
    RateLimitedUntil(u64),
    /// The work is done, and the answer is JSON of another shape.
    WrongShape(u8),
    /// The work is done, and the answer says nothing of the last record.
    Partial,
    /// The last of several records is refused, and the results of the first and the last have changed places.
    Swapped,
    /// The last of several records is refused, and in the place of its result is that of the first once more.
    WrongRecord,
    /// The work is done, and the answer is larger than any may be.
    Oversize,
    /// The token is refused.
    TokenRefused,
    /// One record, or all of them, are refused with this code.
    Record(&'static str),
    EveryRecord(&'static str),
    /// The whole call is refused for its content.
    Body,
    /// Credits are used up.
    NoCredits,
    /// Zoho's accounts server throttles, or refuses.
    Throttled,
    TokenError(&'static str),
    /// Sanity's contention.
    Conflict,
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        // In some runs nothing goes wrong but what lasts, so that it shows what one lead costs the others.
        let is_quiet = dice.chance(0.2);
        let mut profile = dice.profile(is_quiet);
        let mut more = Dice::new(seed ^ MORE);
        if is_quiet && more.chance(0.25) {
            profile.per_record = more.between(500, 6 * SECOND);
            profile.late_inserts = Duration::from_secs(1);
        } else if is_quiet && more.chance(0.6) {
            // Only there does it show what it costs the others.
            profile.hang = true;
        } else if !is_quiet && more.chance(0.15) {
            // A step of several calls takes longer than its lease.
            profile.latency = 28 * SECOND;
        }
        let leads = Cast::of(&mut Dice::new(seed), &profile).leads.len();
        let rush = dice.up_to(MINUTE);
        let mut acts = Vec::new();
        for lead in 0..leads {
            // Many ask at the same moment, as they do after an import.
            let at = if dice.chance(0.5) { rush } else { dice.up_to(SCENE / 2) };
            acts.push((at, Act::Request(lead)));
        }
        for _ in 0..dice.between(2, 12) {
            let at = dice.up_to(SCENE);
            acts.extend(dice.human(&profile, leads, at));
        }
        for _ in 0..if is_quiet { 0 } else { dice.up_to(3) } {
            let at = dice.up_to(SCENE - 3 * MINUTE);
            let lasting = dice.between(5 * SECOND, 3 * MINUTE);
            let (on, off) = dice.switch(leads);
            acts.extend([(at, on), (at + lasting, off)]);
        }
        if !is_quiet {
            acts.extend(more.drops(leads));
        }
        acts.sort_by_key(|(at, _)| *at);
        let faults = if is_quiet { Vec::new() } else { dice.faults() };
        let mut deaths: Vec<(usize, u64)> = Vec::new();
        for _ in 0..if is_quiet { 0 } else { dice.up_to(3) } {
            let down_for = if dice.chance(0.3) {
                dice.up_to(5 * MINUTE)
            } else {
                dice.up_to(10 * SECOND)
            };
            // Half of the runs have more than 640 checkpoints.
            let within = dice.one_of(&[400, 800, 2_000]);
            deaths.push((dice.index(within), down_for));
        }
        deaths.sort_unstable();
        deaths.dedup_by_key(|(at, _)| *at);
        profile.deliveries = more.one_of(&[1, 1, 1, 2]);
        Self {
            seed,
            profile,
            acts,
            faults,
            deaths,
        }
    }

    /// Whether nothing goes wrong but what lasts.
    pub fn is_quiet(&self) -> bool {
        let is_switch = |act: &Act| {
            matches!(
                act,
                Act::BiginDown(_)
                    | Act::SanityDown(_)
                    | Act::NoCredits(_)
                    | Act::NoScope(..)
                    | Act::DropTokens
                    | Act::Denied(..)
                    | Act::Unmentioned(..)
                    | Act::PauseAll(_)
            )
        };
        self.faults.is_empty() && self.deaths.is_empty() && !self.acts.iter().any(|(_, act)| is_switch(act))
    }

    /// Whether an insert may be applied after the program has given up its call.
    pub fn has_late_inserts(&self) -> bool {
        let is_late = |(op, _, fault): &(Op, usize, Fault)| *op == Op::Upsert && matches!(fault, Fault::Late(_));
        self.profile.per_record > 0 || self.faults.iter().any(is_late)
    }

    pub fn cast(&self) -> Cast {
        let mut cast = Cast::of(&mut Dice::new(self.seed), &self.profile);
        if self.profile.contradicts {
            let is_plain = |lead: &&mut Value| lead["address"].as_str().is_some_and(|address| address.contains("Lane"));
            if let Some(lead) = cast.leads.iter_mut().find(is_plain) {
                lead["address"] = DENIED.into();
                if lead["emailAddress"].is_null() {
                    // Of two contacts with one number, the one that Bigin denies would rightly be left behind.
                    lead["phoneNumber"] = "07700 900777".into();
                }
            }
        }
        cast
    }

    /// The plan as a test that plays it.
    pub fn to_test(&self) -> String {
        let mut text = format!("#[test]\nfn seed_{}() {{\n    holds(&Plan {{\n", self.seed);
        let profile = format!("{:?}", self.profile)
            .replace("late_inserts: 0ns", "late_inserts: Duration::ZERO")
            .replace("late_inserts: 1s", "late_inserts: Duration::from_secs(1)");
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "        seed: {},\n        profile: {profile},\n        acts: vec![\n",
            self.seed
        );
        for (at, act) in &self.acts {
            let act = match act {
                Act::Edit(lead, fields) => format!("Edit({lead}, serde_json::json!({fields}))"),
                act => format!("{act:?}").replace("NoScope(", "NoScope(Op::"),
            };
            let _ = writeln!(text, "            ({at}, Act::{act}),");
        }
        let _ = writeln!(text, "        ],\n        faults: vec![");
        for (op, nth, fault) in &self.faults {
            let _ = writeln!(text, "            (Op::{op:?}, {nth}, Fault::{fault:?}),");
        }
        let _ = write!(
            text,
            "        ],\n        deaths: vec!{:?},\n    }});\n}}\n",
            self.deaths
        );
        text
    }
}

/// Draws.
pub struct Dice(StdRng);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    pub fn chance(&mut self, chance: f64) -> bool {
        self.0.random_bool(chance)
    }

    /// From `least` to `most`, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        self.0.random_range(least..=most)
    }

    pub fn up_to(&mut self, most: u64) -> u64 {
        self.between(0, most)
    }

    pub fn index(&mut self, len: usize) -> usize {
        self.0.random_range(0..len)
    }

    pub fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all.choose(&mut self.0).unwrap().clone()
    }

    fn profile(&mut self, is_quiet: bool) -> Profile {
        let lead_id_field = self.chance(0.4);
        let per_record = if self.chance(0.1) {
            self.between(500, 6 * SECOND)
        } else {
            0
        };
        let is_prompt = is_quiet && per_record == 0;
        Profile {
            lead_id_field,
            corrections: lead_id_field,
            poison: self.chance(0.12),
            hang: self.chance(0.2),
            contradicts: self.chance(0.12),
            large: match self.up_to(14) {
                0 => LARGE,
                1 => TOO_LARGE,
                _ => 0,
            },
            latency: self.one_of(&[0, 20, 200, 200, 2 * SECOND]),
            per_record,
            disk: self.one_of(&[0, 0, 5, 500]),
            deliveries: 1,
            without_content: self.one_of(&[0, 1, 2]),
            late_inserts: if is_prompt {
                Duration::ZERO
            } else {
                Duration::from_secs(1)
            },
        }
    }

    /// Something that people do, and what they do about it later.
    fn human(&mut self, profile: &Profile, leads: usize, at: u64) -> Vec<(u64, Act)> {
        let lead = self.index(leads);
        let number = self.between(100, 999);
        let later = at + self.between(SECOND, 4 * MINUTE);
        let acts = match self.up_to(23) {
            0..=2 => vec![Act::Request(lead)],
            3 => vec![Act::RequestByPerson(lead)],
            4 => vec![Act::Withdraw(lead)],
            5 => return vec![(at, Act::Withdraw(lead)), (later, Act::Request(lead))],
            6 => vec![self.one_of(&[Act::Delete(lead), Act::Unpublish(lead)])],
            7 | 8 => vec![Act::Edit(lead, json!({ "postcode": format!("EX{number} 1EX") }))],
            9 => vec![Act::Edit(lead, json!({ "city": format!("Exampleton {number}") }))],
            10 if profile.corrections => {
                let phone = format!("07700 901{number}");
                vec![Act::Edit(lead, json!({ "phoneNumber": phone }))]
            }
            11 | 12 => {
                return vec![
                    (at, Act::Spoil(lead)),
                    (later, Act::Mend(lead)),
                    (later, Act::Request(lead)),
                ];
            }
            13 => vec![Act::Mend(lead), Act::Request(lead)],
            14 => return vec![(at, Act::Draft(lead)), (later, Act::PublishDraft(lead))],
            15 => vec![Act::PublishStale(lead)],
            16 => vec![self.one_of(&[Act::Version(lead), Act::Draft(lead), Act::Duplicate(lead)])],
            17 | 18 => return vec![(later, self.one_of(&[Act::DeleteContact(lead), Act::MergeContact(lead)]))],
            19 => vec![Act::CheckNow],
            20 => vec![Act::Retry(lead)],
            21 => vec![Act::Cancel(lead)],
            _ => vec![self.one_of(&[Act::LoseWebhook, Act::RepeatWebhook, Act::OldWebhookAgain])],
        };
        acts.into_iter().map(|act| (at, act)).collect()
    }

    fn switch(&mut self, leads: usize) -> (Act, Act) {
        let lead = self.index(leads);
        match self.up_to(8) {
            0 => (Act::BiginDown(true), Act::BiginDown(false)),
            1 => (Act::SanityDown(true), Act::SanityDown(false)),
            2 => (Act::NoCredits(true), Act::NoCredits(false)),
            3 => (Act::Denied(lead, true), Act::Denied(lead, false)),
            4 => (Act::Unmentioned(lead, true), Act::Unmentioned(lead, false)),
            5 => {
                let op = self.one_of(&[Op::Upsert, Op::AddTags, Op::Coql, Op::Fields]);
                (Act::NoScope(op, true), Act::NoScope(op, false))
            }
            6 => (Act::Reorder(true), Act::Reorder(false)),
            7 => (Act::PauseAll(true), Act::PauseAll(false)),
            _ => (Act::DropTokens, Act::DropTokens),
        }
    }

    /// In some runs Bigin drops the token again and again, while there is always something to send.
    fn drops(&mut self, leads: usize) -> Vec<(u64, Act)> {
        let mut at = self.up_to(SCENE / 3);
        let mut acts = Vec::new();
        for _ in 0..if self.chance(0.06) { 14 } else { 0 } {
            acts.extend([(at, Act::DropTokens), (at + SECOND, Act::Request(self.index(leads)))]);
            at += self.between(20 * SECOND, 40 * SECOND);
        }
        acts
    }

    /// Faults of single calls: none, a few, or many.
    fn faults(&mut self) -> Vec<(Op, usize, Fault)> {
        let rate = self.one_of(&[0.0, 0.1, 0.1, 0.25, 0.5]);
        let mut faults = Vec::new();
        for (op, calls) in OPS {
            for nth in 0..calls {
                if self.chance(rate) {
                    faults.push((op, nth, self.fault(op)));
                }
            }
        }
        faults
    }

    fn fault(&mut self, op: Op) -> Fault {
        let slow = self.between(SECOND, 28 * SECOND);
        let late = self.between(SECOND, 4 * MINUTE);
        let wait = self.one_of(&[None, Some(1), Some(90), Some(600)]);
        let mut faults = vec![
            Fault::Slow(slow),
            Fault::Slow(slow),
            Fault::Hang,
            Fault::Late(late),
            Fault::LostBefore,
            Fault::LostAfter,
            Fault::LostAfter,
            Fault::Unreachable,
            Fault::Status(500),
            Fault::Html(502),
            Fault::WrongShape(self.one_of(&[0, 1, 2, 3])),
            Fault::Oversize,
        ];
        if op != Op::Coql {
            // A search that finds less than there is makes a second contact, and cannot be told from one that is right.
            faults.push(Fault::Partial);
        }
        let until = Fault::RateLimitedUntil(wait.unwrap_or(30));
        let code = self.one_of(&["RECORD_LOCKED", "INTERNAL_ERROR", "NO_PERMISSION"]);
        match op {
            Op::Grant => faults.extend([
                Fault::Throttled,
                Fault::TokenError("invalid_code"),
                Fault::TokenError("invalid_client"),
            ]),
            Op::Doc | Op::Query => faults.extend([Fault::RateLimited(wait), until, Fault::TokenRefused]),
            Op::Mutate => faults.extend([Fault::RateLimited(wait), until, Fault::Conflict, Fault::TokenRefused]),
            Op::Alert => faults.push(Fault::RateLimited(wait)),
            Op::Upsert | Op::Update | Op::AddTags => faults.extend([
                Fault::RateLimited(wait),
                Fault::TokenRefused,
                Fault::NoCredits,
                Fault::Record(code),
                Fault::EveryRecord(code),
                Fault::EveryRecord("LIMIT_EXCEEDED"),
                Fault::Body,
            ]),
            Op::Fields | Op::Coql | Op::Other => {
                faults.extend([Fault::RateLimited(wait), Fault::TokenRefused, Fault::NoCredits])
            }
        }
        if op == Op::Upsert {
            // What an upsert leaves behind is the hardest to be right about.
            faults.extend([Fault::Late(late), Fault::Late(late), Fault::Hang, Fault::LostAfter]);
        }
        if matches!(op, Op::Update | Op::AddTags) {
            // Contradicts what Bigin has said of the contact, or what it says next.
            faults.push(Fault::EveryRecord("RECORD_NOT_FOUND"));
            // Only there does the request name the contacts, so that the program can notice.
            faults.extend([Fault::Swapped, Fault::WrongRecord]);
        }
        self.one_of(&faults)
    }
}

/// How many calls of each operation may meet a fault.
const OPS: [(Op, usize); 10] = [
    (Op::Grant, 3),
    (Op::Upsert, 12),
    (Op::Update, 6),
    (Op::AddTags, 12),
    (Op::Fields, 3),
    (Op::Coql, 8),
    (Op::Doc, 20),
    (Op::Mutate, 12),
    (Op::Query, 6),
    (Op::Alert, 4),
];
