//! Plays a schedule: people, faults and kills around the real program, until all is mended and at rest.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bigin_sync::clock::{Clock as _, SystemClock};
use bigin_sync::domain::lead::REQUESTED;
use bigin_sync::fake::bigin::CallKind;
use bigin_sync::fake::sanity::{Attempt, Message, MessageState, Model as Lake};
use bigin_sync::store::Ledger;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::cast::{HANGS, POISON};
use super::fleet::{Crash, Fleet, Ground};
use super::line;
use super::people::{People, lead_id};
use super::plan::{Act, Dice, Freeze, Kill, Outage, PAST_LEASE, Plan, When};
use super::power::Report;
use crate::process::Stage;
use crate::world::{ADMIN_TOKEN, client};

/// The delay of these runs: long enough that kills, edits and withdrawals fall into it.
pub const TAG_DELAY: Duration = Duration::from_millis(400);

/// After this long a lead that is still on its way will never come to its end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The same with replicas: what one held when it was stopped or cut off is taken up after its lease.
const PATIENCE_WITH_REPLICAS: Duration = Duration::from_secs(60);

/// How long Sanity, and a person, wait for a replica that may be cut off.
const NO_ANSWER: Duration = Duration::from_secs(2);

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
    pub stage: Arc<Stage>,
    pub people: People,
    /// What was seen how often: acts, moments of kills with the states of the syncs.
    pub seen: BTreeMap<String, usize>,
    pub kills: usize,
    /// What befell replicas, their lines and their server.
    pub troubles: usize,
    pub ledger: Ledger,
    pub answers: String,
    /// What was stored on a server.
    pub stored: String,
    pub power: Report,
    /// Calls to the token endpoint while it had asked for silence.
    pub disturbed: usize,
}

struct Player<'a> {
    plan: &'a Plan,
    stage: Arc<Stage>,
    fleet: Fleet<'a>,
    people: People,
    seen: BTreeMap<String, usize>,
    kills: usize,
    troubles: usize,
    disturbed: usize,
}

/// Plays a plan to its end, with this program instead of ours if there is one.
pub async fn play(plan: &Plan, ground: Ground<'_>, program: Option<&Path>) -> Played {
    let mut stage = set(plan).await;
    if let Some(program) = program {
        stage.program = program.to_owned();
    }
    let stage = Arc::new(stage);
    let mut player = Player {
        plan,
        fleet: Fleet::new(&stage, plan.replicas, ground, Dice::of(plan.seed)).await,
        stage: Arc::clone(&stage),
        people: People::new(!plan.profile.late_inserts.is_zero()),
        seen: BTreeMap::new(),
        kills: 0,
        troubles: 0,
        disturbed: 0,
    };
    for (what, is_so) in plan.profile.lasting() {
        if is_so {
            player.saw(what);
        }
    }
    let courier = Courier::start(&stage);
    let began = Instant::now();
    for (at, act) in &plan.acts {
        player.pass_until(began + Duration::from_millis(*at)).await;
        player.act(act).await;
    }
    player.mend().await;
    let (ledger, answers) = player.rest().await;
    courier.stop().await;
    player.count_troubles();
    let stored = player.fleet.stored();
    let power = player.fleet.end().await;
    Played {
        stage,
        people: player.people,
        seen: player.seen,
        kills: player.kills,
        troubles: player.troubles,
        ledger,
        answers,
        stored,
        power,
        disturbed: player.disturbed,
    }
}

/// Delivers Sanity's webhooks when they are due, whatever else happens.
struct Courier {
    task: JoinHandle<()>,
    is_over: Arc<AtomicBool>,
}

impl Courier {
    fn start(stage: &Arc<Stage>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (stage, ends) = (Arc::clone(stage), Arc::clone(&is_over));
        let task = tokio::spawn(async move {
            while !ends.load(Ordering::Relaxed) {
                stage.sanity.deliver_due().await;
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
        });
        Self { task, is_over }
    }

    /// After the delivery that is under way.
    async fn stop(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
    }
}

async fn set(plan: &Plan) -> Stage {
    let mut stage = Stage::new().await;
    let mut settings = vec![
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
    if plan.replicas > 1 {
        lake.webhooks.timeout = NO_ANSWER;
    }
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
    /// Until it is time for the next act. Meanwhile what has ended starts again.
    async fn pass_until(&mut self, at: Instant) {
        loop {
            self.fleet.tend(&self.stage).await;
            let now = Instant::now();
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
            Act::Stop(replica) => {
                if self.fleet.is_running(*replica) {
                    self.fleet.stop(&self.stage, *replica).await;
                    self.saw("stop");
                }
            }
            Act::Freeze(freeze) => self.freeze(freeze).await,
            Act::Line(replica, fault) => self.strike(*replica, *fault),
            Act::LineWell(replica) => self.fleet.line(*replica).heal(),
            Act::Crash(outage) => self.crash(outage).await,
            Act::RequestByPerson(lead) => self.request_by_person(*lead).await,
            Act::Flood(webhooks) => self.flood(*webhooks).await,
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
        let Some(url) = self.fleet.next_url() else { return };
        let id = lead_id(lead);
        let request = client()
            .post(format!("{url}/api/syncs"))
            .bearer_auth(ADMIN_TOKEN)
            .timeout(NO_ANSWER)
            .json(&json!({ "leadId": id }));
        let status = request.send().await.map(|answer| answer.status().as_u16());
        // Where replicas are cut off it may have been stored all the same.
        let is_unknown = self.plan.replicas > 1 && !matches!(status, Ok(200..=499));
        if matches!(status, Ok(200..=299)) || is_unknown {
            self.people.asked_by_person(&id, &self.stage.sanity.model());
            self.saw("a person asks");
        }
    }

    async fn flood(&mut self, webhooks: usize) {
        let Some(url) = self.fleet.next_url() else { return };
        let webhook = async |number: usize| {
            let lead = format!("nobody-{number}");
            let at = SystemClock::new().now();
            let answer = self.stage.webhook_to(&url, &lead, "r").await;
            // It counts like one of Sanity's.
            let attempt = Attempt {
                message: lead.clone(),
                document: lead,
                at,
                status: answer.as_ref().map(|(status, _)| *status),
                answer: answer.map(|(_, body)| body),
            };
            self.stage.sanity.model().deliveries.push(attempt);
        };
        let numbers = futures_util::stream::iter(0..webhooks);
        numbers.for_each_concurrent(4, webhook).await;
        self.saw("a flood of webhooks");
    }

    /// Waits for the moment, as long as it may take to come.
    async fn moment(&mut self, when: When) {
        let before = self.count(when);
        let begun = Instant::now();
        while when != When::Now && self.count(when) == before && begun.elapsed() < MOMENT {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Kills processes at their moment, and notes what they were doing.
    async fn kill(&mut self, kill: &Kill) {
        if !kill.replicas.iter().any(|replica| self.fleet.is_running(*replica)) {
            return;
        }
        self.moment(kill.when).await;
        tokio::time::sleep(Duration::from_millis(kill.then_after)).await;
        for replica in &kill.replicas {
            self.fleet.kill(*replica, Duration::from_millis(kill.down_for));
            self.kills += 1;
        }
        if kill.replicas.len() > 1 {
            self.saw("all replicas are killed");
        }
        // The states that they left behind, each once, and whether a worker had them in hand.
        let states = "SELECT DISTINCT state || CASE WHEN EXISTS (SELECT 1 FROM claim WHERE ' ' || syncs || ' ' LIKE '% ' || sync.id || ' %') THEN ' and in hand' ELSE '' END
            FROM sync WHERE finished_at IS NULL";
        for state in self.fleet.look(states) {
            self.saw(&format!("killed while {state}"));
        }
    }

    /// Stops a replica where it is, for a time.
    async fn freeze(&mut self, freeze: &Freeze) {
        self.moment(freeze.when).await;
        if !self.fleet.is_running(freeze.replica) {
            return;
        }
        self.fleet.freeze(freeze.replica, Duration::from_millis(freeze.lasting));
        self.troubles += 1;
        self.saw(match freeze.lasting {
            PAST_LEASE.. => "a replica is stopped past its lease",
            _ => "a replica is stopped",
        });
    }

    async fn crash(&mut self, outage: &Outage) {
        self.moment(outage.when).await;
        self.fleet.crash(outage.how, Duration::from_millis(outage.lasting));
        self.troubles += 1;
        self.saw(match outage.how {
            Crash::Immediate => "the server stops at once",
            Crash::Kill => "the server is killed",
        });
    }

    fn strike(&mut self, replica: usize, fault: line::Fault) {
        self.fleet.line(replica).strike(fault);
        self.troubles += 1;
        self.saw(match fault {
            line::Fault::Cut => "connections are cut",
            line::Fault::Silent { answers: false, .. } => "requests are swallowed",
            line::Fault::Silent { requests: false, .. } => "answers are swallowed",
            line::Fault::Silent { .. } => "everything is swallowed",
            line::Fault::Slow(_) => "a line is slow",
            // Seen where a commit meets it.
            line::Fault::AtCommit { .. } => return,
        });
    }

    fn count_troubles(&mut self) {
        let [lost, unknown] = self.fleet.struck_commits();
        let refused = |attempt: &&Attempt| matches!(attempt.status, Some(500..));
        let lake = self.stage.sanity.model();
        let refused = lake.deliveries.iter().filter(refused).count();
        let unanswered = lake
            .deliveries
            .iter()
            .filter(|attempt| attempt.status.is_none())
            .count();
        drop(lake);
        for (what, times) in [
            ("a commit is cut off", lost),
            ("a commit's answer is cut off", unknown),
            ("a webhook is to come again", refused),
            ("a webhook is not answered", unanswered),
            ("a start fails for want of the database", self.fleet.failed_starts),
        ] {
            if times > 0 {
                *self.seen.entry(what.to_owned()).or_default() += times;
            }
        }
    }

    fn count(&self, when: When) -> usize {
        match when {
            When::Now => 0,
            When::Bigin(kind) => self.stage.bigin.model().count(kind),
            When::Sanity(kind) => self.stage.sanity.model().calls_of(kind),
            When::Webhook => self.stage.sanity.model().deliveries.len(),
        }
    }

    /// Everything works again. Where the token endpoint has asked for ten minutes of silence, they pass while the program
    /// is down, after a look that it has kept silent.
    async fn mend(&mut self) {
        quiet(&self.stage, self.plan);
        self.fleet.forgive();
        // What was under way when all was mended may still fail.
        let late = if self.plan.profile.hang { HANG + LATE } else { LATE };
        self.pass_until(Instant::now() + late).await;
        self.until_whole().await;
        let far = SystemClock::new().now() + LONG_PAUSE;
        let paused = format!(
            "SELECT remote FROM breaker WHERE remote = 'zoho_accounts' AND until > {}",
            far.as_microsecond()
        );
        if self.fleet.look(&paused).is_empty() {
            return;
        }
        let before = self.stage.bigin.model().count(CallKind::Token);
        self.pass_until(Instant::now() + Duration::from_millis(500)).await;
        self.disturbed = self.stage.bigin.model().count(CallKind::Token) - before;
        for replica in 0..self.plan.replicas {
            self.fleet.kill(replica, Duration::ZERO);
        }
        self.fleet
            .tell("UPDATE breaker SET until = 0 WHERE remote = 'zoho_accounts'; UPDATE token_grant SET at = 0");
        self.saw("ten minutes of silence");
        self.until_whole().await;
    }

    /// Waits until all that has ended or is held is there again.
    async fn until_whole(&mut self) {
        let begun = Instant::now();
        while !self.fleet.is_whole() {
            self.pass_until(Instant::now() + Duration::from_millis(15)).await;
            assert!(
                begun.elapsed() < PATIENCE,
                "it does not start again: {}",
                self.stage.log()
            );
        }
    }

    /// Waits until no lead is on its way any more; the ledger, and whatever the program says to those who ask.
    async fn rest(&mut self) -> (Ledger, String) {
        let patience = if self.plan.replicas > 1 {
            PATIENCE_WITH_REPLICAS
        } else {
            PATIENCE
        };
        let begun = Instant::now();
        let health = loop {
            self.pass_until(Instant::now() + Duration::from_millis(30)).await;
            // Before: the answer may be of a while ago.
            let is_quiet = !asks_still(&self.stage.sanity.model());
            let health = self.ask("/api/health").await.unwrap_or_default();
            let is_over = is_quiet && health["ledger"]["in_progress"] == 0;
            if is_over || begun.elapsed() > patience {
                break health;
            }
        };
        let mut answers = health.to_string();
        for path in ["/livez", "/readyz", "/api/syncs?limit=200"] {
            // One of the processes may still be on its way up again.
            let answer = loop {
                if let Some(answer) = self.ask(path).await {
                    break answer;
                }
                assert!(begun.elapsed() < 2 * patience, "{path} is not answered");
                self.pass_until(Instant::now() + Duration::from_millis(30)).await;
            };
            answers.push_str(&answer.to_string());
        }
        (serde_json::from_value(health["ledger"].clone()).unwrap(), answers)
    }

    /// What one of the processes says; nothing from one that has ended, which shows when it is looked after.
    async fn ask(&mut self, path: &str) -> Option<Value> {
        let url = self.fleet.next_url()?;
        let request = client().get(format!("{url}{path}")).bearer_auth(ADMIN_TOKEN);
        request.send().await.ok()?.json().await.ok()
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
