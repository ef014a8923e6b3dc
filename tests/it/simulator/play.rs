//! Plays a schedule: people, faults and kills around the real program, until all is mended and at rest.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bigin_sync::clock::{Clock as _, SystemClock};
use bigin_sync::domain::lead::REQUESTED;
use bigin_sync::fake::bigin::CallKind;
use bigin_sync::fake::sanity::{Message, MessageState, Model as Lake};
use bigin_sync::store::Ledger;
use rusqlite::Connection;
use serde_json::json;
use tokio::time::Instant;

use super::cast::{HANGS, POISON};
use super::people::{People, lead_id};
use super::plan::{Act, Kill, Plan, When};
use crate::process::{Process, Stage};
use crate::world::{ADMIN_TOKEN, answer, client};

/// The delay of these runs: long enough that kills, edits and withdrawals fall into it.
pub const TAG_DELAY: Duration = Duration::from_millis(400);

/// After this long a lead that is still on its way will never come to its end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longer than the two seconds that a call may take.
const HANG: Duration = Duration::from_millis(2_200);

/// How long a kill waits for its moment.
const MOMENT: Duration = Duration::from_millis(1_600);

/// Answers that were on their way when all was mended have come by then.
const LATE: Duration = Duration::from_millis(300);

/// A throttled token endpoint is left alone for ten minutes; a run does not wait for them.
const LONG_PAUSE: Duration = Duration::from_secs(60);

/// What happened.
pub struct Played {
    pub stage: Stage,
    pub people: People,
    /// What was seen how often: acts, moments of kills with the states of the syncs.
    pub seen: BTreeMap<String, usize>,
    pub kills: usize,
    pub ledger: Ledger,
    pub answers: String,
    /// Calls to the token endpoint while it had asked for silence.
    pub disturbed: usize,
}

struct Player<'a> {
    plan: &'a Plan,
    stage: Stage,
    process: Option<Process>,
    /// When a killed program starts again.
    starts_at: Instant,
    people: People,
    seen: BTreeMap<String, usize>,
    kills: usize,
    disturbed: usize,
}

/// Plays a plan to its end.
pub async fn play(plan: &Plan) -> Played {
    let stage = set(plan).await;
    let mut player = Player {
        plan,
        process: Some(stage.serve().await),
        stage,
        starts_at: Instant::now(),
        people: People::default(),
        seen: BTreeMap::new(),
        kills: 0,
        disturbed: 0,
    };
    for (what, is_so) in plan.profile.lasting() {
        if is_so {
            player.saw(what);
        }
    }
    let began = Instant::now();
    for (at, act) in &plan.acts {
        player.deliver_until(began + Duration::from_millis(*at)).await;
        player.act(act).await;
    }
    player.mend().await;
    let (ledger, answers) = player.rest().await;
    player.process.take().unwrap().stop().await;
    Played {
        stage: player.stage,
        people: player.people,
        seen: player.seen,
        kills: player.kills,
        ledger,
        answers,
        disturbed: player.disturbed,
    }
}

/// A port that the program keeps over its lives, and that nobody is given who asks the system for any: else the webhooks for
/// a program that has been killed would reach the next one to be started, of another seed.
fn own_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 12_000 + u16::try_from(std::process::id() % 80).unwrap() * 200;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed) % 200;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

async fn set(plan: &Plan) -> Stage {
    let mut stage = Stage::new().await;
    let mut settings = vec![
        ("LISTEN_ADDR", format!("127.0.0.1:{}", own_port())),
        ("TAG_DELAY", format!("{}ms", TAG_DELAY.as_millis())),
        ("RETRY_BASE_DELAY", "20ms".to_owned()),
        ("RETRY_MAX_DELAY", "300ms".to_owned()),
        ("AMBIGUITY_DELAY", "1s".to_owned()),
        ("RECONCILE_INTERVAL", "250ms".to_owned()),
        ("RECONCILE_MIN_AGE", "700ms".to_owned()),
    ];
    if plan.profile.lead_id_field {
        settings.push(("BIGIN_LEAD_ID_FIELD", "Lead_Id".to_owned()));
    }
    let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value));
    stage.env.extend(settings);
    let mut lake = stage.sanity.model();
    lake.query_lag = plan.profile.query_lag;
    for lead in &plan.cast.leads {
        lake.seed(lead.clone()).unwrap();
    }
    drop(lake);
    let mut crm = stage.bigin.model();
    if plan.profile.lead_id_field {
        crm.add_field("Lead_Id", "Lead id", "text", 120, true);
    }
    for contact in &plan.cast.contacts {
        let fields = contact.as_object().unwrap().clone();
        crm.add_contact(fields.into_iter().collect());
    }
    drop(crm);
    quiet(&stage, plan);
    let mut crm = stage.bigin.model();
    crm.switches.poison = plan.cast.poisonous.map(|_| POISON.to_owned());
    crm.switches.per_record = plan.profile.per_record;
    crm.switches.late_inserts = plan.profile.late_inserts;
    if plan.profile.hang {
        crm.switches.hangs.insert(HANGS.to_owned(), HANG);
    }
    drop(crm);
    stage
}

/// All services are well.
fn quiet(stage: &Stage, plan: &Plan) {
    let profile = &plan.profile;
    let mut crm = stage.bigin.model();
    crm.clear_faults();
    crm.switches = Default::default();
    crm.switches.mixed_status = profile.mixed_status;
    crm.switches.all_failed_status = profile.all_failed_status;
    crm.switches.throttle_status = profile.throttle_status;
    crm.switches.tags_as_objects = profile.tags_as_objects;
    drop(crm);
    let mut lake = stage.sanity.model();
    lake.faults.clear();
    lake.down = false;
    lake.latency = Duration::ZERO;
    lake.webhooks.reorder = false;
}

impl Player<'_> {
    /// Sanity delivers its webhooks until it is time for the next act, and a program that was killed starts again.
    async fn deliver_until(&mut self, at: Instant) {
        loop {
            self.stage.sanity.deliver_due().await;
            let now = Instant::now();
            if self.process.is_none() && now >= self.starts_at {
                self.start().await;
            }
            if now >= at {
                return;
            }
            tokio::time::sleep((at - now).min(Duration::from_millis(15))).await;
        }
    }

    fn saw(&mut self, what: &str) {
        *self.seen.entry(what.to_owned()).or_default() += 1;
    }

    async fn act(&mut self, act: &Act) {
        match act {
            Act::Kill(kill) => self.kill(kill).await,
            Act::Stop => {
                if let Some(process) = self.process.take() {
                    process.stop().await;
                    self.saw("stop");
                    self.start().await;
                }
            }
            Act::RequestByPerson(lead) => self.request_by_person(*lead).await,
            Act::Bigin(..)
            | Act::Sanity(..)
            | Act::BiginDown(_)
            | Act::SanityDown(_)
            | Act::NoCredits(_)
            | Act::Crowded(_)
            | Act::NoScope(..)
            | Act::DropTokens
            | Act::Latency(_) => self.trouble(act),
            Act::LoseWebhook | Act::RepeatWebhook | Act::OldWebhookAgain | Act::LateWebhooks | Act::Reorder(_) => {
                self.webhooks(act)
            }
            _ => {
                let done = self
                    .people
                    .act(act, &mut self.stage.sanity.model(), &mut self.stage.bigin.model());
                if let Some(what) = done {
                    self.saw(what);
                }
            }
        }
    }

    fn trouble(&mut self, act: &Act) {
        let mut crm = self.stage.bigin.model();
        let mut lake = self.stage.sanity.model();
        let what = match act {
            Act::Bigin(kind, fault) => {
                crm.fail_next(*kind, fault.clone(), 1);
                return;
            }
            Act::Sanity(kind, fault) => {
                lake.faults.fail_next(*kind, fault.clone(), 1);
                return;
            }
            Act::BiginDown(down) => {
                crm.switches.down = *down;
                "Bigin is down"
            }
            Act::SanityDown(down) => {
                lake.down = *down;
                "Sanity is down"
            }
            Act::NoCredits(none) => {
                crm.switches.credit_limit = if *none { 0 } else { 50_250 };
                "no credits"
            }
            Act::Crowded(crowded) => {
                crm.switches.concurrency_limit = if *crowded { 0 } else { 10 };
                "crowded"
            }
            Act::NoScope(kind, true) => {
                crm.switches.missing_scopes.insert(*kind);
                "a scope is missing"
            }
            Act::NoScope(kind, false) => {
                crm.switches.missing_scopes.remove(kind);
                return;
            }
            Act::DropTokens => {
                crm.invalidate_access_tokens();
                "tokens are dropped"
            }
            Act::Latency(milliseconds) => {
                let latency = Duration::from_millis(*milliseconds);
                crm.switches.latency = latency;
                lake.latency = latency;
                "latency"
            }
            _ => return,
        };
        drop((crm, lake));
        self.saw(what);
    }

    fn webhooks(&mut self, act: &Act) {
        let mut lake = self.stage.sanity.model();
        let webhooks = &mut lake.webhooks;
        let what = match act {
            Act::LoseWebhook => {
                webhooks.lose_next(1);
                "a webhook is lost"
            }
            Act::RepeatWebhook => {
                webhooks.repeat_next(1);
                "a webhook is repeated"
            }
            Act::OldWebhookAgain => {
                let mut messages = webhooks.messages.iter_mut();
                let Some(old) = messages.find(|message| message.state == MessageState::Success) else {
                    return;
                };
                old.state = MessageState::Queued;
                "an old webhook comes again"
            }
            // As if half a minute had passed.
            Act::LateWebhooks => {
                let failed = |message: &&mut Message| message.state == MessageState::Queued && message.failures > 0;
                let mut late = 0;
                for message in webhooks.messages.iter_mut().filter(failed) {
                    message.due = message.transaction_time;
                    late += 1;
                }
                if late == 0 {
                    return;
                }
                "failed webhooks come again"
            }
            Act::Reorder(on) => {
                webhooks.reorder = *on;
                "webhooks out of order"
            }
            _ => return,
        };
        drop(lake);
        self.saw(what);
    }
}

impl Player<'_> {
    async fn request_by_person(&mut self, lead: usize) {
        let Some(process) = &self.process else { return };
        let id = lead_id(lead);
        let request = client()
            .post(format!("{}/api/syncs", process.url))
            .bearer_auth(ADMIN_TOKEN)
            .json(&json!({ "leadId": id }));
        let (status, _) = answer(request).await;
        if matches!(status, 200..=299) {
            self.people.asked_by_person(&id, &self.stage.sanity.model());
            self.saw("a person asks");
        }
    }

    async fn start(&mut self) {
        self.process = Some(self.stage.serve().await);
    }

    /// Kills the program at its moment, and notes what it was doing.
    async fn kill(&mut self, kill: &Kill) {
        if self.process.is_none() {
            return;
        }
        let before = self.count(kill.when);
        let begun = Instant::now();
        while kill.when != When::Now && self.count(kill.when) == before && begun.elapsed() < MOMENT {
            tokio::select! {
                _ = self.stage.sanity.deliver_due() => {}
                () = tokio::time::sleep(MOMENT) => {}
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(kill.then_after)).await;
        self.process.take().unwrap().kill();
        self.kills += 1;
        for what in states_at_kill(&self.database()) {
            self.saw(&what);
        }
        self.starts_at = Instant::now() + Duration::from_millis(kill.down_for);
    }

    fn count(&self, when: When) -> usize {
        match when {
            When::Now => 0,
            When::Bigin(kind) => self.stage.bigin.model().count(kind),
            When::Sanity(kind) => self.stage.sanity.model().calls_of(kind),
            When::Webhook => self.stage.sanity.model().deliveries.len(),
        }
    }

    fn database(&self) -> Connection {
        Connection::open(self.stage.folder.path().join("bigin-sync.db")).unwrap()
    }

    /// Everything works again. Where the token endpoint has asked for ten minutes of silence, they pass while the program
    /// is down, after a look that it has kept silent.
    async fn mend(&mut self) {
        quiet(&self.stage, self.plan);
        // What was under way when all was mended may still fail.
        let late = if self.plan.profile.hang { HANG + LATE } else { LATE };
        self.deliver_until(self.starts_at.max(Instant::now() + late)).await;
        let paused = "SELECT count(*) FROM breaker WHERE remote = 'token' AND until > ?1";
        let far = SystemClock::new().now() + LONG_PAUSE;
        let silent: i64 = self
            .database()
            .query_row(paused, [far.as_microsecond()], |row| row.get(0))
            .unwrap();
        if silent == 0 {
            return;
        }
        let before = self.stage.bigin.model().count(CallKind::Token);
        self.deliver_until(Instant::now() + Duration::from_millis(500)).await;
        self.disturbed = self.stage.bigin.model().count(CallKind::Token) - before;
        self.process.take().unwrap().kill();
        let pass = "UPDATE breaker SET until = 0 WHERE remote = 'token'";
        self.database().execute(pass, []).unwrap();
        self.database().execute("UPDATE token_grant SET at = 0", []).unwrap();
        self.saw("ten minutes of silence");
        self.start().await;
    }

    /// Waits until no lead is on its way any more; the ledger, and whatever the program says to those who ask.
    async fn rest(&mut self) -> (Ledger, String) {
        let process = self.process.as_ref().unwrap();
        let stage = &self.stage;
        let ask = async |path: &str| {
            answer(client().get(format!("{}{path}", process.url)).bearer_auth(ADMIN_TOKEN))
                .await
                .1
        };
        let begun = Instant::now();
        let health = loop {
            stage.sanity.deliver_due().await;
            let health = ask("/api/health").await;
            let is_over = health["ledger"]["in_progress"] == 0 && !asks_still(&stage.sanity.model());
            if is_over || begun.elapsed() > PATIENCE {
                break health;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        };
        let mut answers = health.to_string();
        for path in ["/livez", "/readyz", "/api/syncs?limit=200"] {
            answers.push_str(&ask(path).await.to_string());
        }
        (serde_json::from_value(health["ledger"].clone()).unwrap(), answers)
    }
}

/// Whether a published lead still waits to be sent.
fn asks_still(lake: &Lake) -> bool {
    let mut leads = lake.documents();
    leads.any(|lead| {
        let is_published = lead["_id"].as_str().is_some_and(|id| !id.contains('.'));
        is_published && lead.get("crmStatus").is_some_and(|status| status == REQUESTED)
    })
}

/// The states that a killed process left behind, each once, and whether a worker had them in hand.
fn states_at_kill(database: &Connection) -> Vec<String> {
    let sql = "SELECT DISTINCT state, lease IS NOT NULL FROM sync WHERE finished_at IS NULL";
    let mut states = database.prepare(sql).unwrap();
    let states = states
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?)))
        .unwrap();
    let named = states.map(|state| match state.unwrap() {
        (state, true) => format!("killed while {state} and in hand"),
        (state, false) => format!("killed while {state}"),
    });
    named.collect()
}
