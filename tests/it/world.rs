//! The world of a story: the real app on a real SQLite file, both fakes over real HTTP, and a clock that stands still until
//! the story moves it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use bigin_sync::app::App;
use bigin_sync::clock::{ManualClock, SharedClock};
use bigin_sync::config::{AlertSettings, BiginSettings, Layers, SanitySettings, Settings, WebhookSettings};
use bigin_sync::database::Database;
use bigin_sync::domain::lead::LeadId;
use bigin_sync::domain::retry::RetryPolicy;
use bigin_sync::domain::sync::SyncId;
use bigin_sync::fake::bigin::{self, CallKind, Change, FakeBigin};
use bigin_sync::fake::sanity::{self, FakeSanity, Kind};
use bigin_sync::http;
use bigin_sync::store::{Filter, Ledger, Stage, Store, SyncEvent, SyncView};
use bigin_sync::workers::reconcile::{self, ReconcileError};
use bigin_sync::workers::{self, ContactsLock, Stepped};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cluster;

/// The admin token of every world.
pub const ADMIN_TOKEN: &str = "invented-admin-token-of-32-letters";

/// What a step of a story may not exceed; a worker that never comes to rest fails the test.
const MOST_STEPS: usize = 5_000;

pub struct World {
    pub clock: Arc<ManualClock>,
    pub bigin: FakeBigin,
    pub sanity: FakeSanity,
    pub app: App,
    pub url: String,
    settings: Settings,
    server: ServerHandle,
    folder: tempfile::TempDir,
}

/// How finely time passes in a world that is live.
const TICK: Duration = Duration::from_millis(5);

/// Time that passes, and workers that run.
pub struct Live {
    stopping: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Live {
    /// Lets the workers finish what they do, and time stand still.
    pub async fn stop(mut self) {
        self.stopping.send_replace(true);
        // The clock's task never ends by itself.
        for _ in Stage::ALL {
            self.tasks.join_next().await;
        }
    }
}

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A lead of this first name, not yet requested; everything about it is invented.
pub fn lead(name: &str) -> Value {
    let number = name.bytes().fold(0u32, |sum, byte| (sum * 31 + u32::from(byte)) % 1000);
    json!({
        "_id": id(name),
        "_type": "dbrLead",
        "firstName": name,
        "secondName": "Example",
        "emailAddress": format!("{}@example.org", name.to_lowercase()),
        "phoneNumber": format!("07700 900{number:03}"),
        "postcode": "PO16 7GZ",
        "address": "1 Invented Street",
        "contactStatus": "HOT",
        "conversationHistory": [
            { "timestamp": "2026-07-01T09:30:00Z", "from": "ai", "message": format!("Hello {name}") },
            { "timestamp": "2026-07-01T09:31:00Z", "from": "lead", "message": "Tell me more" },
        ],
    })
}

pub fn id(name: &str) -> String {
    format!("lead-{}", name.to_lowercase())
}

/// `json` with some fields changed; null takes one away.
pub fn with(mut json: Value, fields: Value) -> Value {
    let target = json.as_object_mut().unwrap();
    for (field, value) in fields.as_object().unwrap() {
        if value.is_null() {
            target.remove(field);
        } else {
            target.insert(field.clone(), value.clone());
        }
    }
    json
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A world whose service has other settings.
    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let clock = Arc::new(ManualClock::new("2026-11-22T10:00:00Z".parse().unwrap()));
        let shared: SharedClock = clock.clone();
        let bigin = FakeBigin::start(shared.clone()).await.unwrap();
        let sanity = FakeSanity::start(shared.clone()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(folder.path(), &bigin, &sanity);
        change(&mut settings);
        let app = App::build(&settings, shared).unwrap();
        let (url, server) = listen(&app);
        sanity.set_webhook(&format!("{url}/webhooks/sanity"));
        Self {
            clock,
            bigin,
            sanity,
            app,
            url,
            settings,
            server,
            folder,
        }
    }

    pub fn store(&self) -> &Store {
        &self.app.context.store
    }

    /// Whoever holds it keeps upserts and tags waiting.
    pub fn contacts(&self) -> &tokio::sync::Mutex<ContactsLock> {
        &self.app.context.contacts
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Stops the service and starts it again on the same file, as a restart of the machine would.
    pub async fn restart(&mut self) {
        self.server.stop(true).await;
        let settings = self.settings.clone();
        let clock: SharedClock = self.clock.clone();
        // The lock on the file goes with the last handle on the store, and server threads let theirs go in their time.
        let mut app = App::build(&settings, clock.clone());
        for _ in 0..200 {
            if app.is_ok() {
                break;
            }
            drop(app);
            self.unlock();
            tokio::time::sleep(Duration::from_millis(10)).await;
            app = App::build(&settings, clock.clone());
        }
        self.app = app.unwrap();
        let (url, server) = listen(&self.app);
        self.sanity.set_webhook(&format!("{url}/webhooks/sanity"));
        self.url = url;
        self.server = server;
    }

    /// Drops the app that holds the file, by putting one with a file of its own in its place.
    fn unlock(&mut self) {
        let spare = tempfile::tempdir().unwrap();
        let mut settings = self.settings.clone();
        settings.database = Database::Sqlite(spare.path().join("spare.db"));
        self.app = App::build(&settings, self.clock.clone()).unwrap();
    }

    /// Publishes a lead that asks to be sent, and delivers the webhook.
    pub async fn request(&self, lead: Value) {
        let lead = with(lead, json!({ "crmStatus": "REQUESTED" }));
        self.sanity.model().publish(lead).unwrap();
        self.deliver().await;
    }

    /// Sets an edited lead's fields, as an editor does; its webhook is delivered with the next [`World::deliver`].
    pub fn edit(&self, name: &str, fields: Value) {
        self.sanity.model().edit(&id(name), fields).unwrap();
    }

    /// Like [`World::edit`], with the status `REQUESTED`.
    pub fn set_requested(&self, name: &str) {
        self.sanity.model().request(&id(name)).unwrap();
    }

    pub fn fail_bigin(&self, kind: CallKind, fault: bigin::Fault, times: usize) {
        self.bigin.model().fail_next(kind, fault, times);
    }

    pub fn fail_sanity(&self, kind: Kind, fault: sanity::Fault, times: usize) {
        self.sanity.model().faults.fail_next(kind, fault, times);
    }

    pub fn bigin_calls(&self, kind: CallKind) -> usize {
        self.bigin.model().count(kind)
    }

    pub fn sanity_calls(&self, kind: Kind) -> usize {
        self.sanity.model().calls_of(kind)
    }

    pub fn contact_count(&self) -> usize {
        self.bigin.model().contacts().count()
    }

    /// One round of reconciliation, for leads that were requested half a minute ago.
    pub async fn reconcile(&self) -> Result<Option<usize>, ReconcileError> {
        reconcile::reconcile(&self.app.context, secs(60), secs(30)).await
    }

    /// Delivers what webhooks are due.
    pub async fn deliver(&self) {
        self.sanity.deliver_due().await;
    }

    /// As many steps of one worker as there is work for now.
    pub async fn run(&self, stage: Stage) {
        for _ in 0..MOST_STEPS {
            if let Stepped::Idle(_) = workers::step(&self.app.context, stage).await.unwrap() {
                return;
            }
        }
        panic!("the worker {stage:?} does not come to rest");
    }

    /// As many steps of all workers as are due now.
    pub async fn run_due(&self) {
        for _ in 0..MOST_STEPS {
            let mut worked = false;
            for stage in Stage::ALL {
                worked |= matches!(
                    workers::step(&self.app.context, stage).await.unwrap(),
                    Stepped::Worked(_)
                );
            }
            if !worked {
                return;
            }
        }
        panic!("the workers do not come to rest");
    }

    /// What something comes to while the workers do what is due, and the checks of services that no lead waits for go out.
    pub async fn while_workers_run<T>(&self, what: impl Future<Output = T>) -> T {
        let mut what = std::pin::pin!(what);
        loop {
            tokio::select! {
                result = &mut what => return result,
                () = tokio::time::sleep(Duration::from_millis(10)) => {
                    self.run_due().await;
                    if self.ledger().await.in_progress == 0 {
                        self.app.context.check_idle().await.unwrap();
                    }
                }
            }
        }
    }

    /// Lets time pass, and what falls due then happen.
    pub async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.deliver().await;
        self.run_due().await;
    }

    /// From now on time passes, and the workers run, as in the real program. Ends when it is dropped.
    pub fn live(&self) -> Live {
        let stopping = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        let clock = Arc::clone(&self.clock);
        tasks.spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                clock.advance(TICK);
            }
        });
        for stage in Stage::ALL {
            let context = Arc::clone(&self.app.context);
            tasks.spawn(workers::run(context, stage, stopping.subscribe()));
        }
        Live { stopping, tasks }
    }

    /// Waits until the leads' newest syncs are in this state; fails after a while that no working service takes.
    pub async fn until(&self, state: &str, names: &[&str]) {
        for _ in 0..3_000 {
            self.deliver().await;
            let mut all = true;
            for name in names {
                all &= self.state(name).await == state;
            }
            if all {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not {state} in a minute: {names:?}");
    }

    /// Waits until the lead's newest sync has failed once.
    pub async fn until_it_failed(&self, name: &str) {
        for _ in 0..3_000 {
            if self.sync(name).await.sync.attempts.count > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{name} has not failed in a minute");
    }

    /// Carries everything to its end, in steps of a minute; fails after a week.
    pub async fn run_to_the_end(&self) {
        self.run_due().await;
        for _ in 0..7 * 24 * 60 {
            if self.ledger().await.in_progress == 0 {
                return;
            }
            self.pass(secs(60)).await;
        }
        panic!("a sync does not end");
    }

    pub async fn ledger(&self) -> Ledger {
        self.store().ledger().await.unwrap()
    }

    /// The lead's newest sync.
    pub async fn sync(&self, name: &str) -> SyncView {
        let filter = Filter {
            lead: Some(LeadId::parse(&id(name)).unwrap()),
            ..Filter::default()
        };
        self.store()
            .list(filter, 1)
            .await
            .unwrap()
            .into_iter()
            .next()
            .expect("the lead has a sync")
    }

    /// Label of the state of the lead's newest sync.
    pub async fn state(&self, name: &str) -> &'static str {
        self.sync(name).await.sync.state.label()
    }

    pub async fn history(&self, sync: SyncId) -> Vec<SyncEvent> {
        self.store().sync(sync).await.unwrap().unwrap().1
    }

    /// What the lead's newest sync went through, by name.
    pub async fn story(&self, name: &str) -> Vec<String> {
        let id = self.sync(name).await.sync.id;
        self.history(id).await.into_iter().map(|entry| entry.kind).collect()
    }

    /// A field of the published lead.
    pub fn lead_says(&self, name: &str, field: &str) -> Option<String> {
        self.sanity.model().text(&id(name), field).map(str::to_owned)
    }

    /// A field of the only contact with the lead's email.
    pub fn contact_says(&self, name: &str, field: &str) -> Option<String> {
        let email = format!("{}@example.org", name.to_lowercase());
        let model = self.bigin.model();
        let (_, contact) = model.contact_by_email(&email).expect("a contact with the lead's email");
        contact.text(field).map(str::to_owned)
    }

    /// Every upsert and tag of a contact, in order: `upserted`, `tagged`.
    pub fn changes_of(&self, contact: &str) -> Vec<&'static str> {
        let model = self.bigin.model();
        let of = |change: &Change| match change {
            Change::Upserted { contact: id, .. } if id == contact => Some("upserted"),
            Change::Tagged { contact: id, .. } if id == contact => Some("tagged"),
            _ => None,
        };
        model.changes.iter().filter_map(of).collect()
    }

    /// The API, as a person with the admin token uses it.
    pub async fn call(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = client()
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(ADMIN_TOKEN);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        answer(request).await
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.call(reqwest::Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(reqwest::Method::POST, path, Some(body)).await
    }

    /// The end of every story: nothing is left over, the ledger balances, no tag came early, and nothing of a lead is on
    /// disk.
    pub async fn finish(self) {
        no_tag_before_its_time(&self.bigin.model().changes, self.settings.tag_delay);
        self.finish_after_late_upserts().await;
    }

    /// The end of a story in which Bigin applied upserts after the service had stopped waiting for them: a tag may have come
    /// too soon after such a one (`docs/RELIABILITY.md`).
    pub async fn finish_after_late_upserts(self) {
        let ledger = self.ledger().await;
        assert!(ledger.balances(), "{ledger:?}");
        assert_eq!(ledger.in_progress, 0, "a sync has not ended: {ledger:?}");
        assert_eq!(
            self.sanity.model().webhooks.pending().count(),
            0,
            "a webhook is undelivered"
        );
        assert!(self.sanity.model().faults.is_empty(), "a fault of Sanity was not met");
        assert_eq!(self.bigin.model().faults_left(), 0, "a fault of Bigin was not met");
        assert_eq!(self.app.context.metrics.worker_restarts.get(), 0);
        assert!(self.bigin.model().max_in_flight() <= self.settings.bigin.max_concurrency);
        self.nothing_personal_on_disk();
        self.server.stop(false).await;
    }

    fn nothing_personal_on_disk(&self) {
        let documents: Vec<Value> = {
            let model = self.sanity.model();
            model.documents().map(|document| json!(document)).collect()
        };
        let mut personal: Vec<String> = vec!["Tell me more".into(), "Example".into(), self.bigin.refresh_token()];
        for document in documents {
            for field in ["emailAddress", "phoneNumber", "firstName"] {
                personal.extend(
                    document[field]
                        .as_str()
                        .filter(|text| text.len() > 3)
                        .map(str::to_owned),
                );
            }
        }
        let search = aho_corasick::AhoCorasick::new(&personal).unwrap();
        for file in std::fs::read_dir(self.folder.path()).unwrap() {
            let path = file.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let found = search.find(&bytes).map(|found| &personal[found.pattern()]);
            assert_eq!(found, None, "in {}", path.display());
        }
    }
}

/// No tag sooner than the delay after the latest upsert of its contact.
pub fn no_tag_before_its_time(changes: &[Change], delay: Duration) {
    let mut upserted: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for change in changes {
        match change {
            Change::Upserted { contact, at, .. } => {
                upserted.insert(contact, *at);
            }
            Change::Tagged { contact, at, .. } => {
                let since = upserted.get(contact.as_str()).expect("a tagged contact was upserted");
                let waited = Duration::try_from(at.duration_since(*since)).unwrap();
                assert!(
                    waited >= delay,
                    "contact {contact} was tagged {waited:?} after its upsert"
                );
            }
        }
    }
}

fn listen(app: &App) -> (String, ServerHandle) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = http::serve(app.http.clone(), listener).unwrap();
    let handle = server.handle();
    tokio::spawn(server);
    (url, handle)
}

pub fn client() -> reqwest::Client {
    bigin_sync::http_client::local_client("a test").unwrap()
}

pub async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or_default())
}

fn settings(folder: &Path, bigin: &FakeBigin, sanity: &FakeSanity) -> Settings {
    Settings {
        sanity: SanitySettings {
            project_id: sanity.project_id().to_owned(),
            api_url: sanity.url().parse().unwrap(),
            dataset: sanity.dataset().to_owned(),
            token: sanity.token().to_owned().into(),
            lead_type: "dbrLead".into(),
            max_answer: None,
        },
        webhook: WebhookSettings {
            secret: sanity.webhook_secret().to_owned().into(),
            secret_previous: None,
            max_age: None,
        },
        studio_url: Some("https://example.org/studio".parse().unwrap()),
        bigin: BiginSettings {
            accounts_url: bigin.url().parse().unwrap(),
            api_domain: None,
            web_url: "https://bigin.zoho.eu".into(),
            client_id: bigin.client_id(),
            client_secret: bigin.client_secret().into(),
            refresh_token: bigin.refresh_token().into(),
            tags: vec!["DBR_Dashboard_Import".into()],
            lead_id_field: None,
            max_concurrency: 4,
        },
        tag_delay: secs(15),
        database: cluster::database(folder),
        lease_duration: secs(60),
        retention: secs(30 * 86_400),
        reconcile_interval: None,
        reconcile_min_age: secs(30),
        retry: RetryPolicy {
            base_delay: secs(1),
            max_delay: secs(300),
            give_up_after: secs(86_400),
        },
        ambiguity_delay: secs(120),
        listen: "127.0.0.1:0".parse().unwrap(),
        public_url: None,
        admin_token: Some(ADMIN_TOKEN.to_owned().into()),
        cors_origin: None,
        alerts: AlertSettings::default(),
        send_wait: Duration::from_millis(200),
        log_json: None,
        log_filter: "info".into(),
        mapping: Settings::read(&Layers::defaults()).0.mapping,
    }
}
