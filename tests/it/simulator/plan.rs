//! What will happen in one run, drawn from its seed and nothing else: the same seed gives the same schedule.

use std::time::Duration;

use bigin_sync::fake::bigin::{CallKind, Fault};
use bigin_sync::fake::sanity::{Fault as SanityFault, Kind, RetryAfter};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use super::cast::Cast;
use super::fleet::Crash;
use super::line;

/// Everything happens within this time; then all is mended, and the service gets as long as it needs.
const SCENE: u64 = 3_500;

/// The same with replicas, whose work waits for leases that were lost.
const SCENE_OF_REPLICAS: u64 = 7_000;

/// Replicas of a run on a PostgreSQL server.
const REPLICAS: usize = 3;

/// Milliseconds after which a lease of these runs (3 s) is over.
pub const PAST_LEASE: u64 = 3_200;

/// A lead that can be read, if not together with many others, and one that cannot.
pub const LARGE: usize = 3_000_000;
pub const TOO_LARGE: usize = 9_000_000;

/// A whole run.
#[derive(Debug)]
pub struct Plan {
    pub seed: u64,
    pub replicas: usize,
    pub profile: Profile,
    pub cast: Cast,
    /// When, in milliseconds, and what; in this order.
    pub acts: Vec<(u64, Act)>,
}

/// What holds from the beginning to the end.
#[derive(Debug, Clone)]
pub struct Profile {
    /// `BIGIN_LEAD_ID_FIELD` is set, so that every lead has a unique value.
    pub lead_id_field: bool,
    /// No upsert comes to an unclear end: nothing is killed, and no reply is lost.
    pub calm: bool,
    /// Emails and numbers may be corrected. Without a lead's id in Bigin, a correction between an upsert whose reply was
    /// lost and the next try hides the contact that it made; see `docs/RELIABILITY.md`.
    pub corrections: bool,
    /// Some answers take longer than a call may.
    pub slow: bool,
    /// One lead makes every call it is in end in 500.
    pub poison: bool,
    /// One lead makes every call to Bigin that it is in hang for longer than a call may take.
    pub hang: bool,
    /// What each record of a call to Bigin takes; all of them together less than a call may, since what is applied later than
    /// that may come after a tag (`docs/RELIABILITY.md`).
    pub per_record: Duration,
    /// Inserts without a unique value are applied this long after they were sent, mostly after the deadline.
    pub late_inserts: Duration,
    /// One lead is of this size, in bytes.
    pub large: usize,
    /// How the fake answers where the sources disagree.
    pub mixed_status: u16,
    pub all_failed_status: u16,
    pub throttle_status: u16,
    pub tags_as_objects: bool,
    pub query_lag: Duration,
}

impl Profile {
    /// What lasts from the beginning to the end.
    pub fn lasting(&self) -> [(&'static str, bool); 5] {
        [
            ("a lead hangs", self.hang),
            ("slow per record", !self.per_record.is_zero()),
            ("late inserts", !self.late_inserts.is_zero()),
            ("a large lead", self.large == LARGE),
            ("a lead that is too large", self.large == TOO_LARGE),
        ]
    }
}

/// Something that people, the network or the services do.
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
    LateWebhooks,
    /// So many webhooks for leads that are not there any more: the WAL grows until it is carried over into the database.
    Flood(usize),
    Reorder(bool),
    Bigin(CallKind, Fault),
    Sanity(Kind, SanityFault),
    BiginDown(bool),
    SanityDown(bool),
    NoCredits(bool),
    Crowded(bool),
    NoScope(CallKind, bool),
    DropTokens,
    Latency(u64),
    Kill(Kill),
    Stop(usize),
    Freeze(Freeze),
    Line(usize, line::Fault),
    LineWell(usize),
    Crash(Outage),
}

/// An end of the server, and the time until it starts again.
#[derive(Debug, Clone, PartialEq)]
pub struct Outage {
    pub how: Crash,
    pub when: When,
    pub lasting: u64,
}

/// A SIGSTOP, and the time until the SIGCONT.
#[derive(Debug, Clone, PartialEq)]
pub struct Freeze {
    pub replica: usize,
    pub when: When,
    pub lasting: u64,
}

/// A SIGKILL, and the time until the next start.
#[derive(Debug, Clone, PartialEq)]
pub struct Kill {
    pub replicas: Vec<usize>,
    pub when: When,
    pub then_after: u64,
    pub down_for: u64,
}

/// The moment of a kill.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    Now,
    Bigin(CallKind),
    Sanity(Kind),
    Webhook,
}

impl When {
    fn held(self) -> Option<Act> {
        const HELD: Duration = Duration::from_millis(100);
        match self {
            Self::Bigin(kind) => Some(Act::Bigin(kind, Fault::Hang(HELD))),
            Self::Sanity(kind) => Some(Act::Sanity(kind, SanityFault::Hang(HELD))),
            Self::Now | Self::Webhook => None,
        }
    }
}

impl Plan {
    /// A run of one process on a file.
    pub fn of(seed: u64) -> Self {
        Self::with(seed, 1, 0)
    }

    /// The same, with a process that ends more than once.
    pub fn of_power_cuts(seed: u64) -> Self {
        Self::with(seed, 1, 2)
    }

    /// A run of replicas on a server.
    pub fn of_replicas(seed: u64) -> Self {
        Self::with(seed, REPLICAS, 0)
    }

    fn with(seed: u64, replicas: usize, least_kills: u64) -> Self {
        let mut dice = Dice::of(seed);
        // What befalls replicas can leave any upsert without a recorded end, and so can a kill.
        let may_be_calm = replicas == 1 && least_kills == 0;
        let mut profile = dice.profile(may_be_calm);
        if replicas > 1 {
            // Three replicas without optimisation would spend their time on its bytes.
            profile.large = 0;
        }
        let cast = Cast::of(&mut dice, &profile);
        let scene = if replicas > 1 { SCENE_OF_REPLICAS } else { SCENE };
        let mut acts = Vec::new();
        let rush = dice.up_to(scene / 3);
        for lead in 0..cast.leads.len() {
            // Many ask at the same moment, as they do after an import.
            let at = if dice.chance(0.5) { rush } else { dice.up_to(scene / 2) };
            acts.push((at, Act::Request(lead)));
        }
        for _ in 0..dice.between(6, 24) {
            let at = dice.up_to(scene);
            acts.extend(dice.human(&profile, cast.leads.len(), at));
        }
        // Corrected, and corrected back by a stale draft, such an email is another contact's by then.
        acts.retain(|(_, act)| !matches!(act, Act::Edit(lead, edit) if edit.get("emailAddress").is_some() && cast.is_known(*lead)));
        for _ in 0..dice.between(3, 14) {
            let at = dice.up_to(scene);
            let fault = dice.fault(&profile);
            if matches!(fault, Act::Bigin(CallKind::Token, _)) {
                // Else nobody would ask for a token.
                acts.push((at, Act::DropTokens));
            }
            acts.push((at, fault));
        }
        for _ in 0..dice.up_to(4) {
            let at = dice.up_to(scene - 600);
            let lasting = dice.between(50, 600);
            let (on, off) = dice.switch(&profile);
            acts.extend([(at, on), (at + lasting, off)]);
        }
        for _ in 0..if profile.calm {
            0
        } else {
            dice.between(least_kills, if replicas > 1 { 3 } else { 4 })
        } {
            let at = dice.between(100, scene);
            let kill = dice.kill(replicas);
            // So that the call is still under way when the program dies.
            acts.extend(kill.when.held().map(|fault| (at, fault)));
            acts.push((at, Act::Kill(kill)));
            acts.push((at + dice.up_to(1_500), Act::LateWebhooks));
        }
        if dice.chance(0.2) {
            acts.push((dice.between(100, scene), Act::Stop(dice.index(replicas))));
        }
        if least_kills > 0 {
            let webhooks = dice.between(100, 200);
            acts.push((dice.up_to(scene / 2), Act::Flood(usize::try_from(webhooks).unwrap())));
        }
        if replicas > 1 {
            acts.extend(dice.troubles_of_replicas(replicas, scene));
        }
        acts.sort_by_key(|(at, _)| *at);
        Self {
            seed,
            replicas,
            profile,
            cast,
            acts,
        }
    }
}

/// Draws.
pub struct Dice(StdRng);

impl Dice {
    pub fn of(seed: u64) -> Self {
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

    fn profile(&mut self, may_be_calm: bool) -> Profile {
        let lead_id_field = self.chance(0.4);
        let calm = may_be_calm && self.chance(0.2);
        Profile {
            lead_id_field,
            calm,
            corrections: lead_id_field || calm,
            slow: !calm && self.chance(0.25),
            poison: self.chance(0.15),
            hang: !calm && self.chance(0.15),
            per_record: match !calm && self.chance(0.15) {
                true => Duration::from_millis(self.between(20, 130)),
                false => Duration::ZERO,
            },
            late_inserts: match !calm && self.chance(0.15) {
                true => Duration::from_millis(self.between(1_500, 2_700)),
                false => Duration::ZERO,
            },
            large: match self.up_to(19) {
                0 => LARGE,
                1 => TOO_LARGE,
                _ => 0,
            },
            mixed_status: self.one_of(&[200, 202, 207]),
            all_failed_status: self.one_of(&[400, 202]),
            throttle_status: self.one_of(&[400, 200]),
            tags_as_objects: self.chance(0.5),
            query_lag: Duration::from_millis(self.up_to(300)),
        }
    }

    /// Something that people do, and what they do about it later.
    fn human(&mut self, profile: &Profile, leads: usize, at: u64) -> Vec<(u64, Act)> {
        let lead = self.index(leads);
        let number = self.between(100, 999);
        let later = at + self.between(50, 1_200);
        let acts = match self.up_to(19) {
            0..=2 => vec![Act::Request(lead)],
            3 => vec![Act::RequestByPerson(lead)],
            4 => vec![Act::Withdraw(lead)],
            5 => return vec![(at, Act::Withdraw(lead)), (later, Act::Request(lead))],
            6 => vec![self.one_of(&[Act::Delete(lead), Act::Unpublish(lead)])],
            7 | 8 => vec![Act::Edit(lead, json!({ "postcode": format!("EX{number} 1EX") }))],
            9 => vec![Act::Edit(lead, json!({ "city": format!("Exampleton {number}") }))],
            10 if profile.corrections => {
                let email = format!("corrected.{lead}.{number}@example.org");
                vec![Act::Edit(lead, json!({ "emailAddress": email }))]
            }
            11 if profile.corrections => {
                let phone = format!("07700 901{number}");
                vec![Act::Edit(lead, json!({ "phoneNumber": phone }))]
            }
            12 => {
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
            _ => vec![self.one_of(&[Act::LoseWebhook, Act::RepeatWebhook, Act::OldWebhookAgain])],
        };
        acts.into_iter().map(|act| (at, act)).collect()
    }

    fn fault(&mut self, profile: &Profile) -> Act {
        if self.chance(0.4) {
            let kind = self.one_of(&[Kind::Doc, Kind::Mutate, Kind::Mutate, Kind::Query]);
            return Act::Sanity(kind, self.one_of(&sanity_faults(profile, kind)));
        }
        let kinds = [
            CallKind::Token,
            CallKind::Upsert,
            CallKind::Upsert,
            CallKind::Update,
            CallKind::Update,
            CallKind::AddTags,
            CallKind::AddTags,
            CallKind::Fields,
            CallKind::Coql,
        ];
        let kind = self.one_of(&kinds);
        Act::Bigin(kind, self.one_of(&bigin_faults(profile, kind)))
    }

    fn switch(&mut self, profile: &Profile) -> (Act, Act) {
        match self.up_to(6) {
            0 => (Act::BiginDown(true), Act::BiginDown(false)),
            1 => (Act::SanityDown(true), Act::SanityDown(false)),
            2 => (Act::NoCredits(true), Act::NoCredits(false)),
            3 => (Act::Crowded(true), Act::Crowded(false)),
            4 => {
                let kind = self.one_of(&[CallKind::Upsert, CallKind::AddTags, CallKind::Coql, CallKind::Fields]);
                (Act::NoScope(kind, true), Act::NoScope(kind, false))
            }
            5 => (Act::Reorder(true), Act::Reorder(false)),
            _ if profile.calm => (Act::Latency(30), Act::Latency(0)),
            _ => (Act::DropTokens, Act::Latency(self.up_to(80))),
        }
    }

    fn kill(&mut self, replicas: usize) -> Kill {
        let when = self.when();
        Kill {
            replicas: match self.chance(0.25) {
                true => (0..replicas).collect(),
                false => vec![self.index(replicas)],
            },
            when,
            then_after: self.up_to(30),
            // A call that is under way takes up to the latency, and must not be applied in the next life.
            down_for: self.between(120, 900),
        }
    }

    fn when(&mut self) -> When {
        // The later a call comes in a lead's journey, the oftener something else is in its way when its kill is due.
        let moments = [
            When::Now,
            When::Bigin(CallKind::Token),
            When::Bigin(CallKind::Upsert),
            When::Bigin(CallKind::Update),
            When::Bigin(CallKind::AddTags),
            When::Bigin(CallKind::AddTags),
            When::Bigin(CallKind::AddTags),
            When::Sanity(Kind::Doc),
            When::Sanity(Kind::Mutate),
            When::Sanity(Kind::Mutate),
            When::Webhook,
        ];
        self.one_of(&moments)
    }

    /// What befalls replicas, the lines between them and the server, and the server.
    fn troubles_of_replicas(&mut self, replicas: usize, scene: u64) -> Vec<(u64, Act)> {
        let mut acts = Vec::new();
        for _ in 0..self.between(1, 5) {
            let at = self.up_to(scene);
            let replica = self.index(replicas);
            let fault = self.line_fault();
            acts.push((at, Act::Line(replica, fault)));
            let end = at + self.between(50, 2_500);
            match fault {
                line::Fault::Cut | line::Fault::AtCommit { .. } => continue,
                // What was held back arrives late, or never.
                line::Fault::Silent { .. } if self.chance(0.5) => {
                    acts.push((end, Act::Line(replica, line::Fault::Cut)))
                }
                _ => {}
            }
            acts.push((end, Act::LineWell(replica)));
        }
        for _ in 0..self.up_to(2) {
            let at = self.up_to(scene - 2_000);
            let freeze = Freeze {
                replica: self.index(replicas),
                when: self.when(),
                lasting: match self.chance(0.6) {
                    true => self.between(PAST_LEASE, 4_500),
                    false => self.between(100, 1_500),
                },
            };
            acts.extend(freeze.when.held().map(|fault| (at, fault)));
            acts.push((at, Act::Freeze(freeze)));
        }
        if self.chance(0.35) {
            let outage = Outage {
                how: self.one_of(&[Crash::Immediate, Crash::Kill]),
                // Mostly when something was just stored.
                when: if self.chance(0.6) { When::Webhook } else { self.when() },
                lasting: self.between(50, 1_200),
            };
            acts.push((self.between(100, scene / 2), Act::Crash(outage)));
        }
        acts.push((scene, Act::LateWebhooks));
        acts
    }

    fn line_fault(&mut self) -> line::Fault {
        let silent = |requests: bool, answers: bool| line::Fault::Silent { requests, answers };
        match self.up_to(9) {
            0 => line::Fault::Cut,
            1 => silent(true, false),
            2 => silent(false, true),
            3 => silent(true, true),
            4 => line::Fault::Slow(Duration::from_millis(self.between(5, 150))),
            5..=7 => line::Fault::AtCommit { carried_out: true },
            _ => line::Fault::AtCommit { carried_out: false },
        }
    }
}

/// What may befall a call to Bigin or to the accounts server.
pub fn bigin_faults(profile: &Profile, kind: CallKind) -> Vec<Fault> {
    let mut faults = vec![
        Fault::Status(500),
        Fault::Html(502),
        Fault::NoReply,
        Fault::RateLimited { retry_after: None },
        Fault::RateLimited { retry_after: Some(1) },
    ];
    let record_error = |code: &str| Fault::RecordError {
        nth: 0,
        code: code.to_owned(),
        field: None,
    };
    match kind {
        CallKind::Token => {
            faults.truncate(3);
            faults.extend([
                Fault::TokenError("invalid_code".to_owned()),
                Fault::TokenError("invalid_client".to_owned()),
                Fault::TokenThrottled,
            ]);
        }
        CallKind::Upsert | CallKind::Update | CallKind::AddTags => faults.extend([
            record_error("RECORD_LOCKED"),
            record_error("INTERNAL_ERROR"),
            Fault::RecordLocked,
            Fault::EveryRecord("NO_PERMISSION".to_owned()),
            Fault::BodyError {
                status: 400,
                code: "INVALID_DATA".to_owned(),
                message: "invalid data".to_owned(),
            },
        ]),
        _ => {}
    }
    if matches!(kind, CallKind::Update | CallKind::AddTags) {
        // Contradicts what Bigin has said of the contact, or what it says next.
        faults.push(Fault::EveryRecord("RECORD_NOT_FOUND".to_owned()));
    }
    if profile.calm {
        // The work is done late, and the service waits for it.
        faults.push(Fault::Stall(Duration::from_millis(200)));
        faults.retain(|fault| !matches!(fault, Fault::Status(_) | Fault::Html(_) | Fault::NoReply));
    } else {
        faults.extend([
            Fault::LostReply,
            Fault::LostReply,
            Fault::Hang(Duration::from_millis(150)),
        ]);
    }
    if profile.slow {
        faults.push(Fault::Hang(Duration::from_millis(2_600)));
    }
    faults
}

/// What may befall a call to Sanity.
pub fn sanity_faults(profile: &Profile, kind: Kind) -> Vec<SanityFault> {
    let mut faults = vec![
        SanityFault::Status(500),
        SanityFault::Status(401),
        SanityFault::Html(503),
        SanityFault::NoReply,
        SanityFault::LostReply,
        SanityFault::Hang(Duration::from_millis(100)),
        SanityFault::RateLimited(None),
        SanityFault::RateLimited(Some(RetryAfter::Seconds(1))),
        SanityFault::RateLimited(Some(RetryAfter::Date(Duration::from_secs(1)))),
    ];
    if kind == Kind::Mutate {
        faults.extend([SanityFault::Conflict, SanityFault::LostReply]);
    }
    if profile.slow {
        faults.push(SanityFault::Hang(Duration::from_millis(2_600)));
    }
    faults
}

#[test]
fn a_seed_gives_one_schedule_and_another_seed_another() {
    assert_eq!(Plan::of(7).acts, Plan::of(7).acts);
    assert_eq!(Plan::of(7).cast.leads, Plan::of(7).cast.leads);
    assert_ne!(Plan::of(7).acts, Plan::of(8).acts);
    assert_eq!(Plan::of_replicas(7).acts, Plan::of_replicas(7).acts);
}
