//! The world of a run: both services, the time, and what is under way between them and the program. It outlives the
//! program's processes. Everything in it happens on one thread, in an order that follows from the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bigin_sync::clock::{Clock, SharedClock, after, until};
use bigin_sync::domain::failure::TransportError;
use bigin_sync::domain::lead::REQUESTED;
use bigin_sync::domain::phone;
use bigin_sync::fake::Answered;
use bigin_sync::fake::bigin::{CallKind, Change, FakeBigin};
use bigin_sync::fake::sanity::{FakeSanity, Kind};
use bigin_sync::fake::{bigin, sanity};
use bigin_sync::http_client::{Delivered, Transport};
use bigin_sync::store::Step;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Request, StatusCode};
use serde_json::Value;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::cast::{Cast, HANGS, POISON};
use super::people::People;
use super::plan::{Act, Dice, Fault, MAX_ANSWER, Op, Plan, SECOND};

/// The leads whose upsert Bigin may apply late have this long for it (`AMBIGUITY_DELAY` of these runs).
pub const AMBIGUITY_DELAY: Duration = Duration::from_secs(120);

/// An insert is applied this late at most.
const LATEST_INSERT: Duration = Duration::from_secs(119);

/// What the lead has in its address whose contact Bigin denies.
pub const DENIED: &str = "Persimmon Parade";

/// Virtual time: that of tokio's paused clock, carried on from one runtime to the next.
pub struct VirtualClock(Mutex<(Timestamp, Option<Instant>)>);

impl VirtualClock {
    fn new() -> Self {
        Self(Mutex::new(("2026-11-22T10:00:00Z".parse().unwrap(), None)))
    }

    /// From now on the time is carried on by the runtime that this is called in.
    pub fn begin(&self) {
        self.0.lock().unwrap().1 = Some(Instant::now());
    }

    /// The runtime ends.
    pub fn end(&self) {
        let now = self.now();
        *self.0.lock().unwrap() = (now, None);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let (at, since) = *self.0.lock().unwrap();
        since.map_or(at, |since| after(at, Instant::now().duration_since(since)))
    }

    fn not_before(&self, floor: Timestamp) {
        assert!(floor <= self.now(), "the time of the store is never ahead");
    }

    fn wall(&self) -> Timestamp {
        self.now()
    }
}

type Reply = Result<Delivered, TransportError>;

enum Effect {
    /// A service does the work of a request.
    Apply(Box<Call>),
    /// The program gets its answer.
    Reply(usize, Op, oneshot::Sender<Reply>, Reply),
}

struct Call {
    number: usize,
    /// How often the process had died when it was sent.
    life: usize,
    op: Op,
    request: Request,
    fault: Option<Fault>,
    /// Whether the fault is not of the plan, but of the profile.
    lasts: bool,
    /// How long after it was sent the service does its work.
    applied_after: Duration,
    /// Between the work and the answer; `None` is never.
    answer_after: Option<Duration>,
    answer: oneshot::Sender<Reply>,
}

pub struct World {
    pub clock: Arc<VirtualClock>,
    pub plan: Plan,
    pub cast: Cast,
    pub bigin: FakeBigin,
    pub sanity: FakeSanity,
    pub people: People,
    pub trace: String,
    /// What was seen how often.
    pub seen: BTreeMap<String, usize>,
    /// The faults are over.
    pub is_calm: bool,
    /// The process dies: nothing that it does counts any more.
    pub is_dying: bool,
    pub deaths: usize,
    pub checkpoints: usize,
    /// The greatest numbers of calls to each service under way at once, by the program's account.
    pub most_in_flight: BTreeMap<&'static str, usize>,
    /// The most records of one write.
    pub most_together: usize,
    /// Leads that were in a call which blames all of its leads, or none: their ids or addresses.
    pub blamed: BTreeSet<String>,
    /// Changes that were applied after their callers' deadline, but for inserts: nobody can keep what Bigin does then from
    /// coming after a tag, or from being one that is early. A deadline that the program makes too short is its own fault.
    pub late_changes: Vec<usize>,
    pub dropped_tokens: usize,
    /// Answers with leads that were larger than the program reads.
    pub too_large: usize,
    /// What the program has sent to `ALERT_URL`.
    pub posted: Vec<u8>,
    /// What operators and Sanity have been answered, up to a limit.
    pub answers: String,
    /// Requests for a token while the accounts server wanted to be left alone, and how often it said that it was asked too often
    /// because it was.
    pub too_soon: usize,
    pub throttles: usize,
    /// Writes that were begun while credits were used up and one had been refused for that.
    pub in_vain: usize,
    /// Those of more than one lead.
    pub crowds: usize,
    /// Such writes that were begun while another was under way.
    pub pairs: usize,
    writes: usize,
    /// Since when the accounts server wants to be left alone, and how often the process had died by then.
    quiet_since: Option<(Timestamp, usize)>,
    refused_since: Option<Timestamp>,
    /// Until when a service wants no call, and how often the process had died when it said so.
    pub not_before: BTreeMap<&'static str, (Timestamp, usize)>,
    /// Calls before that, and how often a service has asked for it.
    pub too_early: usize,
    pub put_off: usize,
    /// Leads whose sync an operator has cancelled, and when that was answered.
    pub cancelled: BTreeMap<String, Timestamp>,
    /// Cancellations that are not answered yet, and when the process last died before it answered one: then nobody knows whose
    /// sync it was.
    pub cancelling: usize,
    pub cancel_lost_at: Option<Timestamp>,
    /// Leads that a person asks for through the API, without an answer yet. Where the process dies, the request may be stored.
    pub requesting: Vec<usize>,
    /// Webhooks that are on their way.
    pub delivering: usize,
    in_flight: BTreeMap<&'static str, usize>,
    /// Calls that nobody waits for any more, though the process that has sent them lived on.
    over: BTreeSet<usize>,
    dice: Dice,
    counts: BTreeMap<Op, usize>,
    calls: usize,
    effects: BTreeMap<(Timestamp, u64), Effect>,
    sequence: u64,
    /// Of those who will never be answered: were they dropped, their callers would learn of it.
    unanswered: Vec<oneshot::Sender<Reply>>,
}

/// The world as its parts share it.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<World>>, pub Arc<Notify>);

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// Passes a checkpoint: whether the process lives on.
    pub fn checkpoint(&self, what: &'static str) -> bool {
        let lives = self.lock().checkpoint(what, None);
        if !lives {
            self.1.notify_one();
        }
        lives
    }
}

impl World {
    pub fn of(plan: &Plan) -> Shared {
        let clock = Arc::new(VirtualClock::new());
        let shared: SharedClock = Arc::clone(&clock) as _;
        let world = Self {
            bigin: FakeBigin::without_socket(Arc::clone(&shared)),
            sanity: FakeSanity::without_socket(shared),
            clock,
            cast: plan.cast(),
            plan: plan.clone(),
            people: People::new(plan.has_late_inserts()),
            trace: String::new(),
            seen: BTreeMap::new(),
            is_calm: false,
            is_dying: false,
            deaths: 0,
            checkpoints: 0,
            most_in_flight: BTreeMap::new(),
            most_together: 0,
            blamed: BTreeSet::new(),
            late_changes: Vec::new(),
            dropped_tokens: 0,
            too_large: 0,
            posted: Vec::new(),
            answers: String::new(),
            too_soon: 0,
            throttles: 0,
            in_vain: 0,
            crowds: 0,
            pairs: 0,
            writes: 0,
            quiet_since: None,
            refused_since: None,
            not_before: BTreeMap::new(),
            too_early: 0,
            put_off: 0,
            cancelled: BTreeMap::new(),
            cancelling: 0,
            requesting: Vec::new(),
            cancel_lost_at: None,
            delivering: 0,
            in_flight: BTreeMap::new(),
            over: BTreeSet::new(),
            dice: Dice::new(plan.seed.wrapping_mul(31)),
            counts: BTreeMap::new(),
            calls: 0,
            effects: BTreeMap::new(),
            sequence: 0,
            unanswered: Vec::new(),
        };
        Shared(Arc::new(Mutex::new(world)), Arc::new(Notify::new()))
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn log(&mut self, line: &str) {
        let now = self.now();
        // Writing to a String cannot fail.
        let _ = writeln!(self.trace, "{now:.3} {line}");
    }

    pub fn saw(&mut self, what: &str) {
        *self.seen.entry(what.to_owned()).or_default() += 1;
    }

    fn checkpoint(&mut self, what: &'static str, op: Option<Op>) -> bool {
        if self.is_dying {
            return false;
        }
        let number = self.checkpoints;
        self.checkpoints += 1;
        if !self.is_calm && self.plan.deaths.iter().any(|(at, _)| *at == number) {
            self.is_dying = true;
            self.deaths += 1;
            self.log(&format!("the process dies: {what} {op:?}"));
            let op = op.map(|op| format!(" {op:?}")).unwrap_or_default();
            self.saw(&format!("death at {what}{op}"));
        }
        !self.is_dying
    }

    /// The process is gone: nobody waits for its answers.
    pub fn bury(&mut self) {
        self.unanswered.clear();
        if std::mem::take(&mut self.cancelling) > 0 {
            self.cancel_lost_at = Some(self.now());
        }
        for lead in std::mem::take(&mut self.requesting) {
            self.people
                .asked_by_person(&super::people::lead_id(lead), &self.sanity.model());
        }
        self.is_dying = false;
    }

    /// Calls to one service.
    pub fn calls_to(&self, wanted: &str) -> usize {
        let counts = self.counts.iter().filter(|(op, _)| service(**op) == wanted);
        counts.map(|(_, count)| count).sum()
    }

    pub fn answered(&mut self, answer: &str) {
        if self.answers.len() < MAX_ANSWERS {
            self.answers.push_str(answer);
            self.answers.push('\n');
        }
    }

    pub fn may_deliver(&self) -> bool {
        self.delivering < self.plan.profile.deliveries
    }

    /// When something is due.
    pub fn next_effect(&self) -> Option<Timestamp> {
        self.effects.first_key_value().map(|((at, _), _)| *at)
    }

    /// Does what is due.
    pub fn apply_due(&mut self) {
        let now = self.now();
        while let Some(entry) = self.effects.first_entry()
            && entry.key().0 <= now
        {
            match entry.remove() {
                Effect::Apply(call) => self.apply(*call),
                Effect::Reply(number, op, answer, reply) => {
                    let what = match &reply {
                        Ok(reply) => format!("{} {} B", reply.status.as_u16(), reply.body.len()),
                        Err(none) => none.to_string(),
                    };
                    self.log(&format!("{op:?} #{number} answered: {what}"));
                    if self.checkpoint("answer", Some(op)) {
                        // The caller may have given up, and hears of nothing.
                        if !answer.is_closed() {
                            self.told(op, &reply);
                        }
                        let _ = answer.send(reply);
                    } else {
                        self.unanswered.push(answer);
                    }
                }
            }
        }
    }

    /// What the program learns from an answer, and has to heed.
    fn told(&mut self, op: Op, reply: &Reply) {
        let Ok(reply) = reply else { return };
        if op == Op::Grant && contains(&reply.body, THROTTLED) {
            self.quiet_since = Some((self.now(), self.deaths));
        } else if op == Op::Grant && contains(&reply.body, "access_token") {
            self.quiet_since = None;
        }
        let wait = reply.headers.get("retry-after").and_then(|wait| wait.to_str().ok());
        let until = wait.and_then(|wait| match wait.parse() {
            Ok(seconds) => Some(after(self.now(), Duration::from_secs(seconds))),
            Err(_) => Some(jiff::fmt::rfc2822::parse(wait).ok()?.timestamp()),
        });
        if let (StatusCode::TOO_MANY_REQUESTS, Some(until)) = (reply.status, until) {
            self.not_before.insert(service(op), (until, self.deaths));
            self.put_off += 1;
        }
        if is_write(op) && reply.status == StatusCode::TOO_MANY_REQUESTS && self.has_no_credits() {
            self.refused_since.get_or_insert(self.clock.now());
            self.saw("no credits for a write");
        }
    }

    fn has_no_credits(&self) -> bool {
        self.bigin.model().switches.credit_limit == 0
    }

    fn schedule(&mut self, wait: Duration, effect: Effect) {
        self.sequence += 1;
        let at = after(self.now(), wait);
        self.effects.insert((at, self.sequence), effect);
    }

    /// The program sends a request, which gets a number if it leaves.
    fn send(&mut self, request: Request, answer: oneshot::Sender<Reply>) -> Option<usize> {
        if self.is_dying || !self.checkpoint("call", Some(op(&request))) {
            self.unanswered.push(answer);
            return None;
        }
        let number = self.calls;
        self.calls += 1;
        self.arrive(number, request, answer);
        Some(number)
    }

    /// A request has left the program.
    fn arrive(&mut self, number: usize, request: Request, answer: oneshot::Sender<Reply>) {
        let op = op(&request);
        let count = self.counts.entry(op).or_default();
        let nth = *count;
        *count += 1;
        let records = records(&request);
        if matches!(op, Op::Upsert | Op::Update) {
            self.most_together = records.max(self.most_together);
        }
        let lasting = self.lasting_fault(op, &request).filter(|_| !self.is_calm);
        let lasts = lasting.is_some();
        let fault = lasting.or_else(|| self.planned_fault(op, nth).filter(|_| !self.is_calm));
        self.log(&format!("{op:?} #{number} of {records}: {fault:?}"));
        if let Some(fault) = fault.as_ref().filter(|fault| is_of_the_way(fault)) {
            self.met(op, fault, lasts);
        }
        if matches!((op, &fault), (_, Some(Fault::Body)) | (Op::Doc, Some(Fault::Oversize))) {
            let leads = self.leads_of(op, &request);
            self.blamed.extend(leads);
        }
        // What a process was told in its last moments is lost with it.
        if op == Op::Grant
            && let Some((since, life)) = self.quiet_since
            && life == self.deaths
            && QUIET.contains(&until(since, self.now()))
        {
            self.too_soon += 1;
        }
        let not_before = self.not_before.get(service(op));
        if not_before.is_some_and(|(until, life)| *life == self.deaths && self.now() < *until) {
            self.too_early += 1;
        }
        if !self.has_no_credits() {
            self.refused_since = None;
        }
        if is_write(op) && self.refused_since.is_some() {
            self.in_vain += 1;
            self.crowds += usize::from(records > 1);
            self.pairs += usize::from(self.writes > 1);
        }
        // A grant has less time than other calls; one that takes longer may be asked for again, like one that is lost.
        let latency = match op {
            Op::Grant => self.plan.profile.latency.min(12 * SECOND),
            _ => self.plan.profile.latency,
        };
        let latency = Duration::from_millis(1 + self.dice.up_to(latency));
        let per_record = match op {
            op if is_write(op) && !self.is_calm => self.plan.profile.per_record * records as u64,
            _ => 0,
        };
        let (mut apply_after, mut answer_after) = (latency / 2, Some(latency / 2));
        apply_after += Duration::from_millis(per_record);
        match fault {
            Some(Fault::Slow(wait)) => {
                apply_after += Duration::from_millis(wait / 2);
                answer_after = Some(latency / 2 + Duration::from_millis(wait / 2));
            }
            Some(Fault::Late(wait)) => {
                apply_after = Duration::from_millis(wait);
                answer_after = None;
            }
            Some(Fault::Hang) => {
                self.unanswered.push(answer);
                return;
            }
            Some(Fault::Unreachable) => {
                return self.schedule(latency, Effect::Reply(number, op, answer, Err(TransportError::Connect)));
            }
            Some(Fault::LostBefore) => {
                return self.schedule(latency, Effect::Reply(number, op, answer, Err(TransportError::Lost)));
            }
            _ => {}
        }
        if op == Op::Upsert && has_no_unique_value(&request) {
            // How late Bigin may be is a setting; RELIABILITY names what is later as not covered.
            apply_after = apply_after.min(LATEST_INSERT);
        }
        let call = Call {
            number,
            life: self.deaths,
            op,
            applied_after: apply_after,
            request,
            fault,
            lasts,
            answer_after,
            answer,
        };
        self.schedule(apply_after, Effect::Apply(Box::new(call)));
    }

    /// What befalls a call for what is in it.
    fn lasting_fault(&self, op: Op, request: &Request) -> Option<Fault> {
        let body = body(request);
        if op == Op::Upsert && self.plan.profile.hang && contains(body, HANGS) {
            return Some(Fault::Hang);
        }
        if op == Op::Upsert && self.cast.poisonous.is_some() && contains(body, POISON) {
            return Some(Fault::Status(500));
        }
        None
    }

    /// What the plan has for a call.
    fn planned_fault(&self, op: Op, nth: usize) -> Option<Fault> {
        let planned = self.plan.faults.iter();
        let mut planned = planned.filter(|(of, at, _)| *of == op && *at == nth);
        planned.next().map(|(_, _, fault)| fault.clone())
    }

    /// What lasts counts once for a run: it is one thing, and happens to call after call.
    fn saw_lasting(&mut self, what: &str) {
        self.seen.insert(what.to_owned(), 1);
    }

    /// A fault has changed what was done or answered.
    fn met(&mut self, op: Op, fault: &Fault, lasts: bool) {
        let fault = format!("{fault:?}");
        let kind = fault.split(['(', ' ']).next().unwrap_or_default();
        if lasts {
            self.saw_lasting(&format!("{op:?} lasting {kind}"));
        } else {
            self.saw(&format!("{op:?} {kind}"));
        }
    }

    fn apply(&mut self, call: Call) {
        let Call {
            number,
            life,
            op,
            request,
            fault,
            lasts,
            applied_after,
            answer_after,
            answer,
        } = call;
        self.log(&format!("{op:?} #{number} applied"));
        let is_over = self.over.contains(&number);
        let is_late = applied_after > DEADLINE || (is_over && applied_after > SHORTEST_DEADLINE);
        let changes = self.bigin.model().changes.len();
        let (done, is_refused) = self.work(op, &request, fault.as_ref());
        let (done, is_spoilt) = done.map_or((None, false), |done| {
            let (done, is_spoilt) = spoilt(done, fault.as_ref(), &request);
            (Some(done), is_spoilt)
        });
        if let Some(fault) = &fault
            && (is_refused || is_spoilt || (*fault == Fault::LostAfter && done.is_some()))
        {
            self.met(op, fault, lasts);
        }
        let is_late = |change: &Change| match change {
            Change::Upserted {
                action: bigin::Action::Insert,
                ..
            } => false,
            // The next process waits with the lead that the tag was for, and not with others of the same contact.
            Change::Tagged { contact, .. } if life < self.deaths => is_late || self.is_shared(contact),
            _ => is_late,
        };
        let new: Vec<Change> = self.bigin.model().changes.iter().skip(changes).cloned().collect();
        let late = new.iter().enumerate().filter(|(_, change)| is_late(change));
        let late: Vec<usize> = late.map(|(place, _)| changes + place).collect();
        self.late_changes.extend(late);
        let lives = self.checkpoint("work", Some(op));
        let Some(answer_after) = answer_after.filter(|_| lives) else {
            self.unanswered.push(answer);
            return;
        };
        let reply = match (&fault, done) {
            (Some(Fault::LostAfter), _) | (_, None) => Err(TransportError::Lost),
            (_, Some(done)) => Ok(delivered(done)),
        };
        let is_too_large = |reply: &Delivered| op == Op::Doc && reply.body.len() > MAX_ANSWER;
        self.too_large += usize::from(reply.as_ref().is_ok_and(is_too_large));
        let is_throttled = |reply: &Delivered| op == Op::Grant && contains(&reply.body, THROTTLED);
        self.throttles += usize::from(fault != Some(Fault::Throttled) && reply.as_ref().is_ok_and(is_throttled));
        self.schedule(answer_after, Effect::Reply(number, op, answer, reply));
    }

    /// A service's answer, and whether it is that of a fault.
    fn work(&mut self, op: Op, request: &Request, fault: Option<&Fault>) -> (Option<Answered>, bool) {
        if op == Op::Alert {
            self.posted.extend_from_slice(body(request));
            let answered = alert_answer(fault);
            let is_refused = answered.status != 200;
            self.saw(if is_refused {
                "an alert is refused"
            } else {
                "an alert is sent"
            });
            return (Some(answered), is_refused);
        }
        if matches!(op, Op::Doc | Op::Mutate | Op::Query) {
            let fault = fault.and_then(sanity_fault);
            let has_fault = fault.is_some();
            if let Some(fault) = fault {
                self.sanity.model().faults.fail_next(sanity_kind(op), fault, 1);
            }
            let answered = self.sanity.answer(request);
            let is_refused = has_fault && answered.is_some();
            return (answered, is_refused);
        }
        let fault = match (fault, records(request)) {
            // So that it matters which record a result is about.
            (Some(Fault::Swapped | Fault::WrongRecord), records @ 2..) => Some(bigin::Fault::RecordError {
                nth: records - 1,
                code: "RECORD_LOCKED".to_owned(),
                field: None,
            }),
            (fault, _) => fault.and_then(bigin_fault),
        };
        let has_fault = fault.is_some();
        if let Some(fault) = fault {
            self.bigin.model().fail_next(bigin_kind(op), fault, 1);
        } else if self.plan.profile.contradicts
            && matches!(op, Op::Update | Op::AddTags)
            && !self.is_calm
            && let Some(nth) = self.denied_record(request)
        {
            let fault = bigin::Fault::RecordError {
                nth,
                code: "RECORD_NOT_FOUND".to_owned(),
                field: None,
            };
            self.bigin.model().fail_next(bigin_kind(op), fault, 1);
            self.saw_lasting("a contact is denied");
        }
        let answered = self.bigin.answer(request);
        let mut model = self.bigin.model();
        let is_refused = has_fault && model.faults_left() == 0;
        model.clear_faults();
        drop(model);
        (answered, is_refused)
    }

    /// Whether more than one lead has this contact, or would be matched to it.
    fn is_shared(&self, contact: &str) -> bool {
        let (crm, lake) = (self.bigin.model(), self.sanity.model());
        let Some(fields) = crm.contact(contact) else {
            return false;
        };
        let number = |text: &str| phone::canonical(text, "GB").unwrap_or_default();
        let has = |name: &str| fields.text(name).unwrap_or_default();
        let leads = lake.documents().filter(|lead| {
            let says = |field: &str| super::people::text(lead, field);
            let is_alike = |value: &str, own: &str| !value.is_empty() && value.eq_ignore_ascii_case(own);
            !says("_id").contains('.')
                && (says("biginContactId") == contact
                    || is_alike(says("emailAddress"), has("Email"))
                    || is_alike(&number(says("phoneNumber")), &number(has("Phone"))))
        });
        leads.count() > 1
    }

    /// The leads that a request is about: the ids of those that are read, and the addresses of those that are sent or tagged.
    fn leads_of(&self, op: Op, request: &Request) -> Vec<String> {
        if op == Op::Doc {
            let ids = request.url().path().rsplit('/').next().unwrap_or_default();
            return ids
                .split(',')
                .map(|id| super::judge::published(id).to_owned())
                .collect();
        }
        let body: Value = serde_json::from_slice(body(request)).unwrap_or_default();
        let records = body.get("data").and_then(Value::as_array).into_iter().flatten();
        let sent = records.filter_map(|record| record.get("Mailing_Street")?.as_str().map(str::to_owned));
        let model = self.bigin.model();
        let named = contacts(request).into_iter();
        let named = named.filter_map(|id| model.contact(&id)?.text("Mailing_Street").map(str::to_owned));
        sent.chain(named).collect()
    }

    /// The place in the request of the contact that Bigin denies.
    fn denied_record(&self, request: &Request) -> Option<usize> {
        let model = self.bigin.model();
        contacts(request).iter().position(|id| {
            let contact = model.contact(id);
            contact.is_some_and(|contact| {
                contact
                    .text("Mailing_Street")
                    .is_some_and(|street| street.contains(DENIED))
            })
        })
    }

    /// People or the services do something that needs no running program; whether it was that.
    pub fn act(&mut self, act: &Act) -> bool {
        let what = match act {
            Act::BiginDown(down) => {
                self.bigin.model().switches.down = *down;
                "Bigin is down"
            }
            Act::SanityDown(down) => {
                self.sanity.model().down = *down;
                "Sanity is down"
            }
            Act::NoCredits(none) => {
                self.bigin.model().switches.credit_limit = if *none { 0 } else { 50_250 };
                "no credits"
            }
            Act::NoScope(op, missing) => {
                let mut model = self.bigin.model();
                let scopes = &mut model.switches.missing_scopes;
                match missing {
                    true => scopes.insert(bigin_kind(*op)),
                    false => scopes.remove(&bigin_kind(*op)),
                };
                "a scope is missing"
            }
            Act::DropTokens => {
                self.bigin.model().invalidate_access_tokens();
                self.dropped_tokens += 1;
                "tokens are dropped"
            }
            Act::Denied(lead, is_so) => {
                let id = super::people::lead_id(*lead);
                let mut model = self.sanity.model();
                match is_so {
                    true => model.doc.denied.insert(id),
                    false => model.doc.denied.remove(&id),
                };
                "a lead may not be read"
            }
            Act::Unmentioned(lead, is_so) => {
                let id = super::people::lead_id(*lead);
                let mut model = self.sanity.model();
                match is_so {
                    true => model.doc.unmentioned.insert(id),
                    false => model.doc.unmentioned.remove(&id),
                };
                "a lead is not mentioned"
            }
            Act::LoseWebhook => {
                self.sanity.model().webhooks.lose_next(1);
                "a webhook is lost"
            }
            Act::RepeatWebhook => {
                self.sanity.model().webhooks.repeat_next(1);
                "a webhook is repeated"
            }
            Act::OldWebhookAgain => {
                let mut model = self.sanity.model();
                let mut messages = model.webhooks.messages.iter_mut();
                if let Some(old) = messages.find(|message| message.state == sanity::MessageState::Success) {
                    old.state = sanity::MessageState::Queued;
                }
                "an old webhook comes again"
            }
            Act::Reorder(on) => {
                self.sanity.model().webhooks.reorder = *on;
                "webhooks out of order"
            }
            Act::RequestByPerson(_) | Act::PauseAll(_) | Act::CheckNow | Act::Retry(_) | Act::Cancel(_) => {
                return false;
            }
            _ => {
                let done = self.people.act(act, &mut self.sanity.model(), &mut self.bigin.model());
                done.unwrap_or("nothing")
            }
        };
        self.log(&format!("{act:?}: {what}"));
        self.saw(what);
        true
    }

    /// How long a transaction's step takes.
    pub fn disk(&mut self, step: Step) -> Duration {
        match step {
            Step::Begin => Duration::from_millis(self.dice.up_to(self.plan.profile.disk)),
            Step::Committed => Duration::ZERO,
        }
    }

    /// Whether an operator may have cancelled a sync of a lead.
    pub fn was_cancelled(&self, lead: &str) -> bool {
        self.cancel_lost_at.is_some() || self.cancelled.contains_key(lead)
    }

    /// Whether an operator may have cancelled the last sync of a lead: the lead goes on saying what it says.
    pub fn may_be_cancelled(&self, lead: &str, lake: &sanity::Model) -> bool {
        let at = self.cancelled.get(lead).copied().max(self.cancel_lost_at);
        let is_requested = |document: &Option<sanity::Document>| {
            let status = document
                .as_ref()
                .map(|document| super::people::text(document, "crmStatus"));
            status == Some(REQUESTED)
        };
        at.is_some_and(|at| {
            let later = lake.transactions.iter().filter(|transaction| transaction.at > at);
            let mut changes = later.flat_map(|transaction| &transaction.documents);
            !changes.any(|change| change.id == lead && is_requested(&change.after) && !is_requested(&change.before))
        })
    }

    /// An operator has got an answer.
    pub fn operator(&mut self, act: &Act, what: &str, status: u16, answer: Option<&Value>) {
        self.cancelling -= usize::from(matches!(act, Act::Cancel(_)));
        if let Act::RequestByPerson(lead) = act {
            let at = self.requesting.iter().position(|requesting| requesting == lead);
            self.requesting.remove(at.unwrap());
        }
        if !matches!(status, 200..=299) {
            return;
        }
        self.saw(what);
        if matches!(act, Act::CheckNow) {
            // An operator may call a service before it wants to be called, and its answer counts.
            self.not_before.clear();
        }
        let lead = answer.and_then(|answer| answer.get("leadId")?.as_str().map(str::to_owned));
        match (act, lead) {
            (Act::RequestByPerson(lead), _) => {
                let id = super::people::lead_id(*lead);
                self.people.asked_by_person(&id, &self.sanity.model());
            }
            (Act::Retry(_), Some(lead)) => self.people.asked_by_person(&lead, &self.sanity.model()),
            (Act::Cancel(_), Some(lead)) => {
                self.cancelled.insert(lead, self.clock.now());
            }
            _ => {}
        }
    }

    /// Whether no published lead still waits to be sent.
    pub fn has_no_request(&self) -> bool {
        let lake = self.sanity.model();
        let mut leads = lake.documents();
        !leads.any(|lead| {
            let id = lead["_id"].as_str().unwrap_or_default();
            !id.contains('.')
                && lead.get("crmStatus").is_some_and(|status| status == REQUESTED)
                && !self.may_be_cancelled(id, &lake)
        })
    }

    /// The services are well.
    pub fn calm(&mut self) {
        self.is_calm = true;
        self.log("all services are well");
        let mut crm = self.bigin.model();
        crm.switches.down = false;
        crm.switches.credit_limit = 50_250;
        crm.switches.missing_scopes.clear();
        let mut lake = self.sanity.model();
        lake.down = false;
        lake.webhooks.reorder = false;
        lake.doc.denied.clear();
        lake.doc.unmentioned.clear();
    }
}

/// Bytes of answers that are kept.
const MAX_ANSWERS: usize = 1 << 20;

/// What the accounts server says to whoever asks too often.
const THROTTLED: &str = "Access Denied";

/// How long after that it is left alone: not before the steps under way have ended, which may still ask.
const QUIET: Range<Duration> = Duration::from_secs(60)..Duration::from_secs(10 * 60);

/// Whose answer to one call holds for the others.
fn service(op: Op) -> &'static str {
    match op {
        Op::Doc | Op::Mutate | Op::Query => "Sanity",
        Op::Grant => "the accounts server",
        Op::Alert => "ALERT_URL",
        Op::Other => "others",
        _ => "Bigin",
    }
}

fn is_write(op: Op) -> bool {
    matches!(op, Op::Upsert | Op::Update | Op::AddTags)
}

/// A call of the program is given up after this long at the latest, and not before half of it, whatever has been waited for
/// before it was sent.
const DEADLINE: Duration = Duration::from_secs(30);
const SHORTEST_DEADLINE: Duration = Duration::from_secs(15);

/// The program's way out.
pub struct Wire(pub Shared);

impl Transport for Wire {
    fn send(&self, request: Request) -> BoxFuture<'static, Reply> {
        let shared = self.0.clone();
        Box::pin(async move {
            let (answer, reply) = oneshot::channel();
            let mut under_way = UnderWay::begin(&shared, op(&request));
            under_way.number = shared.lock().send(request, answer);
            shared.1.notify_one();
            reply.await.unwrap_or(Err(TransportError::Lost))
        })
    }
}

/// A call that the program waits for.
struct UnderWay {
    world: Shared,
    op: Op,
    number: Option<usize>,
}

impl UnderWay {
    fn begin(shared: &Shared, op: Op) -> Self {
        let mut world = shared.lock();
        let in_flight = world.in_flight.entry(service(op)).or_default();
        *in_flight += 1;
        let in_flight = *in_flight;
        world.writes += usize::from(is_write(op));
        let most = world.most_in_flight.entry(service(op)).or_default();
        *most = in_flight.max(*most);
        Self {
            world: shared.clone(),
            op,
            number: None,
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut world = self.world.lock();
        *world.in_flight.entry(service(self.op)).or_default() -= 1;
        world.writes -= usize::from(is_write(self.op));
        if !world.is_dying {
            world.over.extend(self.number);
        }
    }
}

fn op(request: &Request) -> Op {
    let path = request.url().path();
    let method = request.method().as_str();
    match path {
        _ if request.url().host_str() == Some("alerts.example.org") => Op::Alert,
        "/oauth/v2/token" => Op::Grant,
        _ if path.ends_with("/Contacts/upsert") => Op::Upsert,
        _ if path.ends_with("/add_tags") => Op::AddTags,
        _ if path.contains("/Contacts") && method == "PUT" => Op::Update,
        _ if path.ends_with("/settings/fields") => Op::Fields,
        _ if path.ends_with("/coql") => Op::Coql,
        _ if path.contains("/data/doc/") => Op::Doc,
        _ if path.contains("/data/mutate/") => Op::Mutate,
        _ if path.contains("/data/query/") => Op::Query,
        _ => Op::Other,
    }
}

fn body(request: &Request) -> &[u8] {
    request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default()
}

fn contains(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The contacts that a request names by their ids.
fn contacts(request: &Request) -> Vec<String> {
    if op(request) == Op::AddTags {
        let ids = request.url().query_pairs().find(|(name, _)| name == "ids");
        return ids
            .map(|(_, ids)| ids.split(',').map(str::to_owned).collect())
            .unwrap_or_default();
    }
    let body: Value = serde_json::from_slice(body(request)).unwrap_or_default();
    let records = body.get("data").and_then(Value::as_array);
    let ids = records
        .into_iter()
        .flatten()
        .filter_map(|record| record.get("id")?.as_str());
    ids.map(str::to_owned).collect()
}

fn records(request: &Request) -> usize {
    let of_body = |name: &str| {
        let body: Value = serde_json::from_slice(body(request)).ok()?;
        Some(body.get(name)?.as_array()?.len())
    };
    match op(request) {
        Op::Upsert | Op::Update => of_body("data").unwrap_or(0),
        Op::AddTags => contacts(request).len(),
        Op::Mutate => of_body("mutations").unwrap_or(0),
        Op::Doc => request.url().path().split(',').count(),
        _ => 0,
    }
}

/// Whether one of an upsert's records can be found by nothing that is unique.
fn has_no_unique_value(request: &Request) -> bool {
    let Ok(body) = serde_json::from_slice::<Value>(body(request)) else {
        return false;
    };
    let records = body.get("data").and_then(Value::as_array);
    records
        .into_iter()
        .flatten()
        .any(|record| record.get("Email").is_none() && record.get("Lead_Id").is_none())
}

fn bigin_kind(op: Op) -> CallKind {
    match op {
        Op::Grant => CallKind::Token,
        Op::Upsert => CallKind::Upsert,
        Op::Update => CallKind::Update,
        Op::AddTags => CallKind::AddTags,
        Op::Fields => CallKind::Fields,
        Op::Coql => CallKind::Coql,
        Op::Doc | Op::Mutate | Op::Query | Op::Alert | Op::Other => CallKind::Other,
    }
}

fn sanity_kind(op: Op) -> Kind {
    match op {
        Op::Mutate => Kind::Mutate,
        Op::Query => Kind::Query,
        _ => Kind::Doc,
    }
}

fn bigin_fault(fault: &Fault) -> Option<bigin::Fault> {
    Some(match fault {
        Fault::Status(status) => bigin::Fault::Status(*status),
        Fault::Html(status) => bigin::Fault::Html(*status),
        Fault::RateLimited(wait) => bigin::Fault::RateLimited { retry_after: *wait },
        Fault::TokenRefused => bigin::Fault::BodyError {
            status: 401,
            code: "INVALID_TOKEN".to_owned(),
            message: "invalid oauth token".to_owned(),
        },
        Fault::NoCredits => bigin::Fault::BodyError {
            status: 429,
            code: "LIMIT_EXCEEDED".to_owned(),
            message: "The limit is exceeded".to_owned(),
        },
        Fault::Body => bigin::Fault::BodyError {
            status: 400,
            code: "INVALID_DATA".to_owned(),
            message: "invalid data".to_owned(),
        },
        Fault::Record(code) => bigin::Fault::RecordError {
            nth: 0,
            code: (*code).to_owned(),
            field: None,
        },
        Fault::EveryRecord(code) => bigin::Fault::EveryRecord((*code).to_owned()),
        Fault::Throttled => bigin::Fault::TokenThrottled,
        Fault::TokenError(error) => bigin::Fault::TokenError((*error).to_owned()),
        _ => return None,
    })
}

fn sanity_fault(fault: &Fault) -> Option<sanity::Fault> {
    Some(match fault {
        Fault::Status(status) => sanity::Fault::Status(*status),
        Fault::Html(status) => sanity::Fault::Html(*status),
        Fault::RateLimited(wait) => sanity::Fault::RateLimited(wait.map(sanity::RetryAfter::Seconds)),
        Fault::RateLimitedUntil(wait) => {
            let date = sanity::RetryAfter::Date(Duration::from_secs(*wait));
            sanity::Fault::RateLimited(Some(date))
        }
        Fault::TokenRefused => sanity::Fault::Status(401),
        Fault::Conflict => sanity::Fault::Conflict,
        _ => return None,
    })
}

fn alert_answer(fault: Option<&Fault>) -> Answered {
    let mut answered = Answered {
        status: 200,
        headers: Vec::new(),
        body: b"{}".to_vec(),
    };
    match fault {
        Some(Fault::Status(status) | Fault::Html(status)) => answered.status = *status,
        Some(Fault::RateLimited(wait)) => {
            answered.status = 429;
            answered
                .headers
                .extend(wait.map(|wait| ("retry-after", wait.to_string())));
        }
        _ => {}
    }
    answered
}

/// Whether a fault changes what happens to a call whatever it says and is answered.
fn is_of_the_way(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Slow(_) | Fault::Hang | Fault::Late(_) | Fault::Unreachable | Fault::LostBefore
    )
}

/// The answer as it comes out of a faulty service, and whether it is another one.
fn spoilt(answered: Answered, fault: Option<&Fault>, request: &Request) -> (Answered, bool) {
    let Answered { status, headers, body } = answered;
    let spoilt = match fault {
        Some(Fault::WrongShape(0)) => b"[]".to_vec(),
        Some(Fault::WrongShape(1)) => body[..body.len() / 2].to_vec(),
        Some(Fault::WrongShape(2)) => b"{\"data\": {\"status\": 7}, \"documents\": \"none\", \"result\": 3}".to_vec(),
        Some(Fault::WrongShape(_)) => Vec::new(),
        Some(Fault::Oversize) => vec![b' '; 5 * 1024 * 1024],
        Some(Fault::Partial) => without_last(&body),
        Some(Fault::Swapped) => misplaced(&body, &contacts(request), true),
        Some(Fault::WrongRecord) => misplaced(&body, &contacts(request), false),
        _ => body.clone(),
    };
    let is_spoilt = spoilt != body;
    let body = spoilt;
    (Answered { status, headers, body }, is_spoilt)
}

/// The answer with the results of the first record and the last exchanged, both of which name their contacts then, or with the
/// first in the place of the last. A result without a name could only be taken by its place.
fn misplaced(body: &[u8], contacts: &[String], is_swapped: bool) -> Vec<u8> {
    let mut answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let results = answer.get_mut("data").and_then(Value::as_array_mut);
    match results.map(Vec::as_mut_slice) {
        Some([first, .., last]) if first.pointer("/details/id").is_some() => {
            if is_swapped {
                last["details"]["id"] = contacts.last().cloned().into();
                std::mem::swap(first, last);
            } else {
                *last = first.clone();
            }
        }
        _ => return body.to_vec(),
    }
    answer.to_string().into_bytes()
}

/// The answer without what it says of the last record, or of how long the token lasts.
fn without_last(body: &[u8]) -> Vec<u8> {
    let Ok(mut answer) = serde_json::from_slice::<Value>(body) else {
        return body.to_vec();
    };
    for name in ["data", "documents", "results", "result", "fields"] {
        if let Some(Value::Array(items)) = answer.get_mut(name) {
            items.pop();
        }
    }
    // A grant has no list.
    if let Some(grant) = answer.as_object_mut() {
        grant.remove("expires_in");
    }
    answer.to_string().into_bytes()
}

fn delivered(answered: Answered) -> Delivered {
    let Answered { status, headers, body } = answered;
    let headers: HeaderMap = headers
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::try_from(value).unwrap()))
        .collect();
    Delivered {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body,
    }
}
