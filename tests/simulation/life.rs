//! Plays a plan: the program's lives one after the other, and the time between them, until nothing is in progress any more.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_web::dev::Service as _;
use actix_web::test::{self, TestRequest};
use actix_web::{App as HttpApp, body};
use bigin_sync::app::{App, Environment};
use bigin_sync::clock::{ManualClock, SharedClock, until};
use bigin_sync::config::{AlertSettings, BiginSettings, Layers, SanitySettings, Settings, WebhookSettings};
use bigin_sync::database::Database;
use bigin_sync::domain::retry::RetryPolicy;
use bigin_sync::fake::sanity::MessageState;
use bigin_sync::http;
use bigin_sync::http_client::Network;
use bigin_sync::random;
use bigin_sync::store::{Commits, Ledger, Step, StoreSettings, sqlite};
use futures_util::future::{FutureExt, LocalBoxFuture};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::LocalSet;

use super::people::lead_id;
use super::plan::{Act, MAX_ANSWER, MINUTE, Plan, SCENE, SECOND};
use super::world::{AMBIGUITY_DELAY, Shared, Wire, World};

pub const ADMIN_TOKEN: &str = "invented-admin-token-of-32-letters";

pub const TAG_DELAY: Duration = Duration::from_secs(15);

/// A lead's own failures end it after this.
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);

/// Once the services are well, every sync has ended after this: the longest pause of a breaker, a lead's failures until it
/// is given up, the settling of an insert, and some.
pub const REST: u64 = 25 * MINUTE;

/// How often it is looked whether everything has ended.
const LOOK: u64 = 20 * SECOND;

/// What was seen of a run when it was over.
pub struct Played {
    pub world: Shared,
    pub ledger: Ledger,
    /// How long it took from when the services were well, in milliseconds.
    pub rested_after: Option<u64>,
    pub answers: String,
    pub log: Vec<u8>,
    pub files: Vec<u8>,
}

/// Answers a request in place of the server.
type Serve = Rc<dyn Fn(TestRequest) -> LocalBoxFuture<'static, (u16, String)>>;

/// A folder in memory, if there is one: every commit is a flush.
fn folder(seed: u64) -> PathBuf {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let folder = base.join(format!("bigin-sync-simulation-{}-{seed}-{run}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A new database as the program itself makes it, which takes longer than to copy it.
fn new_database(path: &Path) {
    static NEW: OnceLock<Vec<u8>> = OnceLock::new();
    let new = NEW.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new.db");
        let settings = StoreSettings {
            lease: Duration::from_secs(60),
            tag_delay: TAG_DELAY,
            retry: RetryPolicy {
                base_delay: Duration::from_secs(1),
                max_delay: Duration::from_secs(60),
                give_up_after: GIVE_UP_AFTER,
            },
            ambiguity_delay: AMBIGUITY_DELAY,
        };
        let clock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        drop(sqlite::open(&path, Arc::new(clock), Arc::default(), settings).unwrap());
        std::fs::read(path).unwrap()
    });
    std::fs::write(path, new).unwrap();
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Player {
    world: Shared,
    settings: Settings,
    /// Milliseconds since the start at which the next act is due.
    next_act: usize,
    began: jiff::Timestamp,
    calm_at: Option<jiff::Timestamp>,
    /// Once all is well the operator resumes what was paused, as soon as there is a process to ask.
    is_to_resume: bool,
    down_until: Option<jiff::Timestamp>,
}

/// Plays a plan to its end.
pub fn play(plan: &Plan) -> Played {
    random::seed(plan.seed);
    let folder = Folder(folder(plan.seed));
    let world = World::of(plan);
    let settings = settings(plan, &folder.0, &world);
    set(plan, &world);
    new_database(&folder.0.join("bigin-sync.db"));
    let began = world.lock().now();
    let mut player = Player {
        world,
        settings,
        next_act: 0,
        began,
        calm_at: None,
        is_to_resume: false,
        down_until: None,
    };
    let log = super::log::Log::default();
    let clock = Arc::clone(&player.world.lock().clock);
    let end = tracing::subscriber::with_default(log.subscriber(clock), || {
        loop {
            let end = player.life(plan);
            if let Some(end) = end {
                return end;
            }
        }
    });
    for (end, times) in [
        ("sent", end.ledger.sent),
        ("failed", end.ledger.failed),
        ("lead_deleted", end.ledger.lead_deleted),
        ("cancelled", end.ledger.cancelled),
    ] {
        let mut world = player.world.lock();
        *world.seen.entry(format!("ended {end}")).or_default() += usize::try_from(times).unwrap();
    }
    let mut files = Vec::new();
    let mut names: Vec<PathBuf> = std::fs::read_dir(&folder.0)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    for name in names {
        files.extend(std::fs::read(name).unwrap());
    }
    Played {
        world: player.world.clone(),
        ledger: end.ledger,
        rested_after: end.rested_after,
        answers: std::mem::take(&mut player.world.lock().answers),
        log: log.bytes(),
        files,
    }
}

/// The states that a dead process has left behind, each once, and whether a worker had claimed them.
fn states(settings: &Settings) -> Vec<String> {
    let Database::Sqlite(path) = &settings.database else {
        return Vec::new();
    };
    let database = rusqlite::Connection::open(path).unwrap();
    let sql =
        "SELECT DISTINCT state, EXISTS (SELECT 1 FROM claim WHERE ' ' || syncs || ' ' LIKE '% ' || sync.id || ' %')
        FROM sync WHERE finished_at IS NULL";
    let mut statement = database.prepare(sql).unwrap();
    let states = statement.query_map([], |row| {
        let (state, is_claimed): (String, bool) = (row.get(0)?, row.get(1)?);
        Ok(if is_claimed {
            format!("{state} and claimed")
        } else {
            state
        })
    });
    states.unwrap().map(Result::unwrap).collect()
}

/// What an operator reads.
fn gets(serve: &Serve) -> impl Iterator<Item = LocalBoxFuture<'static, (u16, String)>> {
    let paths = [
        "/api/syncs?limit=100",
        "/api/health",
        "/api/failures",
        "/readyz",
        "/metrics",
    ];
    paths.into_iter().map(|path| {
        let request = TestRequest::get()
            .uri(path)
            .insert_header(("authorization", format!("Bearer {ADMIN_TOKEN}")));
        serve(request)
    })
}

fn json_of(answer: &str) -> Option<Value> {
    serde_json::from_str(answer).ok()
}

struct End {
    ledger: Ledger,
    rested_after: Option<u64>,
}

fn settings(plan: &Plan, folder: &Path, world: &Shared) -> Settings {
    let world = world.lock();
    Settings {
        sanity: SanitySettings {
            project_id: world.sanity.project_id().to_owned(),
            api_url: world.sanity.url().parse().unwrap(),
            dataset: world.sanity.dataset().to_owned(),
            token: world.sanity.token().to_owned().into(),
            lead_type: "dbrLead".into(),
            max_answer: Some(MAX_ANSWER),
        },
        webhook: WebhookSettings {
            secret: world.sanity.webhook_secret().to_owned().into(),
            secret_previous: None,
            max_age: None,
        },
        studio_url: None,
        bigin: BiginSettings {
            accounts_url: world.bigin.url().parse().unwrap(),
            api_domain: None,
            web_url: "https://bigin.zoho.eu".into(),
            client_id: world.bigin.client_id(),
            client_secret: world.bigin.client_secret().into(),
            refresh_token: world.bigin.refresh_token().into(),
            tags: vec!["DBR_Dashboard_Import".into()],
            lead_id_field: plan.profile.lead_id_field.then(|| "Lead_Id".to_owned()),
            max_concurrency: 4,
        },
        tag_delay: TAG_DELAY,
        database: Database::Sqlite(folder.join("bigin-sync.db")),
        lease_duration: Duration::from_secs(60),
        retention: Duration::from_secs(30 * 86_400),
        reconcile_interval: Some(Duration::from_secs(120)),
        reconcile_min_age: Duration::from_secs(30),
        retry: RetryPolicy {
            base_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(60),
            give_up_after: GIVE_UP_AFTER,
        },
        ambiguity_delay: AMBIGUITY_DELAY,
        listen: "127.0.0.1:0".parse().unwrap(),
        public_url: None,
        admin_token: Some(ADMIN_TOKEN.to_owned().into()),
        cors_origin: None,
        alerts: AlertSettings {
            alert_url: plan
                .seed
                .is_multiple_of(2)
                .then(|| "https://alerts.example.org/hook".to_owned().into()),
            ..AlertSettings::default()
        },
        send_wait: Duration::from_secs(60),
        log_json: None,
        log_filter: "info".into(),
        mapping: Settings::read(&Layers::defaults()).0.mapping,
    }
}

fn set(plan: &Plan, world: &Shared) {
    let world = world.lock();
    let mut lake = world.sanity.model();
    lake.webhooks.url = Some("http://in.process/webhooks/sanity".to_owned());
    lake.doc.without_content = match plan.profile.without_content {
        0 => bigin_sync::fake::sanity::WithoutContent::Revisions,
        1 => bigin_sync::fake::sanity::WithoutContent::OmittedOnly,
        _ => bigin_sync::fake::sanity::WithoutContent::Ignored,
    };
    for lead in &world.cast.leads {
        lake.seed(lead.clone()).unwrap();
    }
    drop(lake);
    let mut crm = world.bigin.model();
    crm.switches.concurrency_limit = 100;
    if plan.profile.lead_id_field {
        crm.add_field("Lead_Id", "Lead id", "text", 120, true);
    }
    for contact in &world.cast.contacts {
        let fields = contact.as_object().unwrap().clone();
        crm.add_contact(fields.into_iter().collect());
    }
}

impl Player {
    /// The time that the program is down, and its next life, in a runtime of their own. `None` where it has died.
    fn life(&mut self, plan: &Plan) -> Option<End> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let clock = Arc::clone(&self.world.lock().clock);
        let local = LocalSet::new();
        let end = local.block_on(&runtime, async {
            clock.begin();
            if let Some(until) = self.down_until.take() {
                self.turn(None, Some(until)).await;
            }
            let (app, serve) = self.start().await;
            let (stopping, stopped) = watch::channel(false);
            let loops = app.start(&stopped);
            let end = self.turn(Some((&app, &serve)), None).await;
            let end = match end {
                Turned::Died => {
                    // At once, or not at all: the dead do nothing more.
                    for (_, answer) in gets(&serve).filter_map(FutureExt::now_or_never) {
                        self.world.lock().answered(&answer);
                    }
                    None
                }
                Turned::Rested => Some(self.end(&app, &serve).await),
                Turned::Time => unreachable!("a life has no end in time"),
            };
            clock.end();
            // Neither the wire nor the store takes anything from here on; what is left is dropped with the runtime.
            drop((loops, stopping));
            end
        });
        drop(local);
        drop(runtime);
        if end.is_none() {
            let states = states(&self.settings);
            let mut world = self.world.lock();
            for state in states {
                world.saw(&format!("dead while {state}"));
            }
            world.bury();
            let death = world.checkpoints - 1;
            let down = plan
                .deaths
                .iter()
                .find(|(at, _)| *at == death)
                .map_or(0, |(_, down)| *down);
            self.down_until = Some(bigin_sync::clock::after(world.now(), Duration::from_millis(down)));
        }
        end
    }

    async fn start(&self) -> (App, Serve) {
        let gate = {
            let world = self.world.clone();
            Arc::new(move |step: Step| {
                let world = world.clone();
                let wait: futures_util::future::BoxFuture<'static, ()> = Box::pin(async move {
                    let what = match step {
                        Step::Begin => "begin",
                        Step::Committed => "commit",
                    };
                    if !world.checkpoint(what) {
                        return std::future::pending().await;
                    }
                    let wait = world.lock().disk(step);
                    if !wait.is_zero() {
                        tokio::time::sleep(wait).await;
                    }
                });
                wait
            })
        };
        let clock: SharedClock = Arc::clone(&self.world.lock().clock) as _;
        let environment = Environment {
            clock,
            network: Network::simulated(Arc::new(Wire(self.world.clone()))),
            commits: Commits::Task(gate),
        };
        let app = App::build_in(&self.settings, environment).unwrap();
        let state = app.http.clone();
        let service = test::init_service(HttpApp::new().configure(|config| http::configure(config, &state))).await;
        let service = Rc::new(service);
        let serve: Serve = Rc::new(move |request| {
            let service = Rc::clone(&service);
            Box::pin(async move {
                let response = service.call(request.to_request()).await.unwrap();
                let status = response.status().as_u16();
                let body = body::to_bytes(response.into_body()).await.unwrap_or_default();
                (status, String::from_utf8_lossy(&body).into_owned())
            })
        });
        (app, serve)
    }

    /// Lets the world go on, until `time`, or until the program dies or has come to rest.
    async fn turn(&mut self, program: Option<(&App, &Serve)>, time: Option<jiff::Timestamp>) -> Turned {
        let changed = Arc::clone(&self.world.1);
        let mut rested_at: Option<jiff::Timestamp> = None;
        loop {
            if self.world.lock().is_dying {
                return Turned::Died;
            }
            let now = self.world.lock().now();
            self.world.lock().apply_due();
            self.acts_due(now, program.map(|(_, serve)| serve));
            self.deliver(program.map(|(_, serve)| serve));
            if self.world.lock().is_dying {
                return Turned::Died;
            }
            if time.is_some_and(|time| time <= now) {
                return Turned::Time;
            }
            let mut next = self.next();
            if let (Some((app, _)), Some(calm_at)) = (program, self.calm_at) {
                let past = until(calm_at, now);
                // A task that has just been answered goes on only now, so that one look is not enough.
                let rested_before = rested_at.is_some_and(|at| at < now);
                rested_at = self.has_rested(app).await.then(|| rested_at.unwrap_or(now));
                if past >= Duration::from_millis(REST) || (rested_before && rested_at.is_some()) {
                    return Turned::Rested;
                }
                next = next.min(bigin_sync::clock::after(now, Duration::from_millis(LOOK)));
            }
            let next = time.map_or(next, |time| next.min(time));
            tokio::select! {
                biased;
                () = changed.notified() => {}
                () = tokio::time::sleep(until(now, next)) => {}
            }
        }
    }

    /// When something is due next, at the latest in a minute.
    fn next(&self) -> jiff::Timestamp {
        let world = self.world.lock();
        let plan = &world.plan;
        let act = plan.acts.get(self.next_act).map_or(SCENE, |(at, _)| *at);
        let act = self
            .calm_at
            .is_none()
            .then(|| bigin_sync::clock::after(self.began, Duration::from_millis(act)));
        let model = world.sanity.model();
        let queued = model.webhooks.messages.iter();
        let queued = queued.filter(|message| message.state == MessageState::Queued);
        let delivery = queued.map(|message| message.due).min();
        let latest = bigin_sync::clock::after(world.now(), Duration::from_millis(MINUTE));
        [act, world.next_effect(), delivery.filter(|_| world.may_deliver())]
            .into_iter()
            .flatten()
            .min()
            .map_or(latest, |next| next.min(latest))
    }

    async fn has_rested(&self, app: &App) -> bool {
        let world = &self.world;
        if world.lock().sanity.next_delivery().is_some() || world.lock().next_effect().is_some() {
            return false;
        }
        app.context
            .store
            .ledger()
            .await
            .is_ok_and(|ledger| ledger.in_progress == 0)
            && world.lock().has_no_request()
    }

    fn acts_due(&mut self, now: jiff::Timestamp, serve: Option<&Serve>) {
        let past = until(self.began, now).as_millis();
        loop {
            let act = {
                let world = self.world.lock();
                world
                    .plan
                    .acts
                    .get(self.next_act)
                    .filter(|(at, _)| u128::from(*at) <= past)
                    .cloned()
            };
            let Some((_, act)) = act else { break };
            self.next_act += 1;
            if !self.world.lock().act(&act)
                && let Some(serve) = serve
            {
                self.ask(&act, serve);
            }
        }
        let has_acted = self.next_act >= self.world.lock().plan.acts.len();
        if self.calm_at.is_none() && has_acted && past >= u128::from(SCENE) {
            self.world.lock().calm();
            self.calm_at = Some(now);
            self.is_to_resume = true;
        }
        if self.is_to_resume
            && let Some(serve) = serve
        {
            self.is_to_resume = false;
            self.ask(&Act::PauseAll(false), serve);
        }
    }

    /// An operator asks the program for something.
    fn ask(&self, act: &Act, serve: &Serve) {
        let request = |path: &str| {
            TestRequest::post()
                .uri(path)
                .insert_header(("authorization", format!("Bearer {ADMIN_TOKEN}")))
        };
        let (what, request) = match act {
            Act::RequestByPerson(lead) => (
                "a person asks",
                request("/api/syncs").set_json(json!({ "leadId": lead_id(*lead) })),
            ),
            Act::PauseAll(true) => ("all is paused", request("/api/pause").set_json(json!({}))),
            Act::PauseAll(false) => ("all is resumed", request("/api/resume").set_json(json!({}))),
            Act::CheckNow => (
                "a service is checked",
                request("/api/services/bigin/check").set_json(json!({})),
            ),
            Act::Retry(sync) => (
                "a sync is retried",
                request(&format!("/api/syncs/{sync}/retry")).set_json(json!({})),
            ),
            Act::Cancel(sync) => (
                "a sync is cancelled",
                request(&format!("/api/syncs/{sync}/cancel")).set_json(json!({})),
            ),
            _ => return,
        };
        self.world.lock().cancelling += usize::from(matches!(act, Act::Cancel(_)));
        if let Act::RequestByPerson(lead) = act {
            self.world.lock().requesting.push(*lead);
        }
        if *act == Act::CheckNow {
            // The work goes on at once, and the operator is answered later.
            self.world.lock().not_before.clear();
        }
        let (world, serve, act) = (self.world.clone(), Rc::clone(serve), act.clone());
        tokio::task::spawn_local(async move {
            let (status, answer) = serve(request).await;
            let mut world = world.lock();
            world.log(&format!("{act:?}: {status}"));
            world.answered(&answer);
            world.operator(&act, what, status, json_of(&answer).as_ref());
        });
    }

    /// Sanity delivers the webhooks that are due. Where the program is down it learns that at once.
    fn deliver(&self, serve: Option<&Serve>) {
        loop {
            if !self.world.lock().may_deliver() {
                return;
            }
            let delivery = self.world.lock().sanity.due_delivery();
            let Some(delivery) = delivery else { return };
            let Some(serve) = serve else {
                let mut world = self.world.lock();
                world.log(&format!("webhook for {}: nobody listens", delivery.message.document));
                world.sanity.delivered(&delivery, None, None);
                continue;
            };
            self.world.lock().delivering += 1;
            let (world, serve) = (self.world.clone(), Rc::clone(serve));
            let request = TestRequest::post()
                .uri("/webhooks/sanity")
                .set_payload(delivery.message.body.clone());
            let request = delivery.headers().into_iter().fold(request, TestRequest::insert_header);
            let undelivered = Undelivered(self.world.clone(), Some(delivery));
            tokio::task::spawn_local(async move {
                let mut undelivered = undelivered;
                let answer = tokio::time::timeout(Duration::from_secs(30), serve(request)).await.ok();
                let delivery = undelivered.1.take().unwrap();
                let lives = world.checkpoint("webhook");
                let mut world_now = world.lock();
                world_now.delivering -= 1;
                let (status, answer) = match answer.filter(|_| lives) {
                    Some((status, answer)) => {
                        world_now.answered(&answer);
                        (Some(status), json_of(&answer))
                    }
                    None => (None, None),
                };
                let document = delivery.message.document.clone();
                world_now.log(&format!("webhook for {document}: {status:?}"));
                world_now.sanity.delivered(&delivery, status, answer);
                drop(world_now);
                world.1.notify_one();
            });
        }
    }

    async fn end(&self, app: &App, serve: &Serve) -> End {
        for get in gets(serve) {
            let (_, answer) = get.await;
            self.world.lock().answered(&answer);
        }
        let ledger = app.context.store.ledger().await.unwrap();
        let now = self.world.lock().now();
        let rested = ledger.in_progress == 0;
        let calm_at = self.calm_at.unwrap_or(now);
        let took = u64::try_from(until(calm_at, now).as_millis()).unwrap();
        End {
            ledger,
            rested_after: rested.then_some(took),
        }
    }
}

enum Turned {
    Died,
    Rested,
    Time,
}

/// A webhook whose process died before it was answered.
struct Undelivered(Shared, Option<bigin_sync::fake::sanity::Delivery>);

impl Drop for Undelivered {
    fn drop(&mut self) {
        if let Some(delivery) = self.1.take() {
            let mut world = self.0.lock();
            world.delivering -= 1;
            world.sanity.delivered(&delivery, None, None);
        }
    }
}
