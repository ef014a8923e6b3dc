//! People are told once that something needs them and once that it is well again, in one message for whatever comes
//! together, whoever restarts and whatever becomes of the address; and a monitor hears of each healthy reconciliation.

use std::sync::Mutex;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use bigin_sync::fake::bigin::{CallKind, Fault};
use bigin_sync::fake::sanity::{Fault as SanityFault, Kind, RetryAfter};
use bigin_sync::signature;
use serde_json::{Value, json};

use crate::process::{Stage, eventually};
use crate::world::{World, answer, client, lead, secs, with};

/// Stands in for a chat's hook, or for a monitor: answers as it is told to, and remembers what it was sent.
struct Chat {
    inbox: Data<Inbox>,
    url: String,
    server: ServerHandle,
}

#[derive(Default)]
struct Inbox {
    /// 200 unless it is told otherwise; 0 never answers.
    status: Mutex<Option<u16>>,
    seen: Mutex<Vec<(String, Vec<u8>, u16)>>,
}

async fn receive(request: HttpRequest, body: Bytes, inbox: Data<Inbox>) -> HttpResponse {
    let status = inbox.status.lock().unwrap().unwrap_or(200);
    let seen = (request.method().to_string(), body.to_vec(), status);
    inbox.seen.lock().unwrap().push(seen);
    if status == 0 {
        std::future::pending::<()>().await;
    }
    HttpResponse::build(StatusCode::from_u16(status).unwrap()).body("ok")
}

impl Chat {
    fn start() -> Self {
        let inbox = Data::new(Inbox::default());
        let data = inbox.clone();
        let app = move || {
            App::new()
                .app_data(data.clone())
                .route("/hush/{hush}", web::route().to(receive))
        };
        let server = HttpServer::new(app)
            .workers(1)
            .disable_signals()
            .bind("127.0.0.1:0")
            .unwrap();
        let url = format!("http://{}/hush/hush-hush", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        Self {
            inbox,
            url,
            server: handle,
        }
    }

    fn answers(&self, status: u16) {
        *self.inbox.status.lock().unwrap() = Some(status);
    }

    /// How often it was called, whatever it answered.
    fn calls(&self) -> usize {
        self.inbox.seen.lock().unwrap().len()
    }

    /// The texts it has taken.
    fn texts(&self) -> Vec<String> {
        let seen = self.inbox.seen.lock().unwrap();
        let taken = seen.iter().filter(|(_, _, status)| *status == 200);
        let text = |body: &[u8]| {
            let body: Value = serde_json::from_slice(body).unwrap();
            assert_eq!(body.as_object().unwrap().len(), 1, "as Slack and Teams take it");
            body["text"].as_str().unwrap().to_owned()
        };
        taken.map(|(_, body, _)| text(body)).collect()
    }

    /// The end of every story: the chat was told nothing of anybody and no secret, taken or not.
    async fn finish(self, world: World) {
        let secrets = [
            world.bigin.refresh_token(),
            world.bigin.client_secret(),
            world.sanity.token().to_owned(),
        ];
        for (_, body, _) in self.inbox.seen.lock().unwrap().iter() {
            let text = String::from_utf8(body.clone()).unwrap();
            let personal = ["@", "Example", "7700", "Ada", "Tell me more", "hush"];
            for word in personal.into_iter().chain(secrets.iter().map(String::as_str)) {
                assert!(!text.contains(word), "{word:?} is in {text:?}");
            }
        }
        world.finish().await;
        self.server.stop(false).await;
    }
}

async fn world_with(chat: &Chat) -> World {
    let url = chat.url.clone();
    World::with(|settings| {
        settings.alerts.alert_url = Some(url.into());
        settings.public_url = Some("https://crm.example.org".parse().unwrap());
    })
    .await
}

async fn look(world: &World) {
    let alerts = world.app.alerts.as_ref().unwrap();
    alerts.step(&world.app.context).await.unwrap();
}

/// Lets minutes pass, with a look in each.
async fn watch(world: &World, minutes: u64) {
    for _ in 0..minutes {
        world.pass(secs(60)).await;
        look(world).await;
    }
}

fn refuse_credentials(world: &World) {
    world.bigin.model().invalidate_access_tokens();
    let refused = Fault::TokenError("invalid_code".into());
    world.fail_bigin(CallKind::Token, refused, usize::MAX);
}

async fn forge(world: &World, times: usize) {
    for _ in 0..times {
        let request = client().post(format!("{}/webhooks/sanity", world.url)).body("{}");
        let (status, _) = answer(request.header(signature::HEADER, "t=1,v1=forged")).await;
        assert!((400..500).contains(&status));
    }
}

#[actix_web::test]
async fn unauthorized_fires_and_resolves_once() {
    let chat = Chat::start();
    let world = world_with(&chat).await;
    watch(&world, 10).await;
    assert_eq!(chat.calls(), 0, "all is well");
    refuse_credentials(&world);
    world.request(lead("Ada")).await;
    world.run_due().await;
    look(&world).await;
    let told = chat.texts();
    assert_eq!(told.len(), 1, "at once");
    assert!(
        told[0].starts_with(
            "bigin-sync: action needed\n- zoho_accounts_unauthorized: Zoho Accounts rejects our credentials: the refresh token was rejected"
        ),
        "{told:?}"
    );
    assert!(
        told[0].contains("(invalid_code). Meanwhile leads stay queued, and none fails. To fix it, create a new one"),
        "{told:?}"
    );
    assert!(told[0].ends_with("See https://crm.example.org/"), "{told:?}");
    watch(&world, 120).await;
    assert_eq!(chat.calls(), 1, "and not again");

    world.bigin.model().clear_faults();
    watch(&world, 60).await;
    let told = chat.texts();
    assert_eq!((told.len(), chat.calls()), (2, 2), "{told:?}");
    assert!(
        told[1].contains("resolved\n- zoho_accounts_unauthorized: Zoho Accounts accepts our credentials again."),
        "{told:?}"
    );
    assert_eq!(world.state("Ada").await, "sent");
    chat.finish(world).await;
}

#[actix_web::test]
async fn many_failures_are_one_message() {
    let chat = Chat::start();
    let world = world_with(&chat).await;
    look(&world).await;
    for number in 0..30 {
        let (name, bad) = (format!("Ada{number}"), number % 3 == 0);
        let spoilt = if bad {
            json!({ "postcode": "P".repeat(31) })
        } else {
            json!({ "emailAddress": "ada at home" })
        };
        world.request(with(lead(&name), spoilt)).await;
        watch(&world, u64::from(number == 10)).await;
    }
    watch(&world, 50).await;
    assert_eq!(world.ledger().await.failed, 30);
    let told = chat.texts();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("30 leads failed."), "{told:?}");
    assert!(told[0].contains("“Bigin rejected Email: not an email address” (20 leads); “Bigin rejected Mailing_Zip: longer than 30 characters” (10 leads)"), "{told:?}");
    chat.finish(world).await;
}

#[actix_web::test]
async fn outage_of_receiver_loses_nothing() {
    let chat = Chat::start();
    let world = world_with(&chat).await;
    chat.answers(503);
    refuse_credentials(&world);
    world.request(lead("Ada")).await;
    watch(&world, 20).await;
    world.bigin.model().clear_faults();
    forge(&world, 9).await;
    watch(&world, 40).await;
    assert!((3..=20).contains(&chat.calls()), "{} calls", chat.calls());
    let before = chat.calls();
    chat.answers(200);
    watch(&world, 60).await;
    let told = chat.texts();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("refresh token was rejected")
            && told[0].contains("9 webhooks were rejected for a wrong signature"),
        "{told:?}"
    );
    assert_eq!(told[0].matches("; resolved at ").count(), 2, "{told:?}");
    assert_eq!(chat.calls(), before + 1);
    chat.finish(world).await;
}

#[actix_web::test]
async fn restart_neither_repeats_nor_forgets() {
    let chat = Chat::start();
    let mut world = world_with(&chat).await;
    refuse_credentials(&world);
    world.request(lead("Ada")).await;
    watch(&world, 2).await;
    assert_eq!(chat.texts().len(), 1);
    for _ in 0..3 {
        world.restart().await;
        watch(&world, 15).await;
    }
    assert_eq!(chat.calls(), 1, "it was told");
    world.bigin.model().clear_faults();
    watch(&world, 7).await;
    world.restart().await;
    watch(&world, 10).await;
    let told = chat.texts();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[1].contains("accepts our credentials again"), "{told:?}");
    chat.finish(world).await;
}

#[actix_web::test]
async fn hanging_receiver_delays_no_lead() {
    let chat = Chat::start();
    let world = world_with(&chat).await;
    world.store().set_paused(true).await.unwrap();
    world.clock.advance(secs(25 * 3600));
    chat.answers(0);
    tokio::select! {
        biased;
        () = look(&world) => panic!("nobody has answered"),
        () = async {
            eventually("it is being told", || async { (chat.calls() > 0).then_some(()) }).await;
            world.store().set_paused(false).await.unwrap();
            world.request(lead("Ada")).await;
            world.run_to_the_end().await;
        } => {}
    }
    assert_eq!(world.state("Ada").await, "sent");
    chat.answers(200);
    watch(&world, 1).await;
    let told = chat.texts();
    assert!(
        told.len() == 1 && told[0].contains("Sending was paused by the operator 25 hours ago"),
        "{told:?}"
    );
    chat.finish(world).await;
}

#[actix_web::test]
async fn counts_come_from_the_store() {
    let chat = Chat::start();
    let url = chat.url.clone();
    let world = World::with(|settings| {
        settings.alerts.alert_url = Some(url.into());
        settings.alerts.daily_credits = Some(2);
    })
    .await;
    look(&world).await;
    world.sanity.model().webhooks.lose_next(3);
    for name in ["Ada", "Grace", "Edsger"] {
        world.request(lead(name)).await;
    }
    world.clock.advance(secs(31));
    assert_eq!(world.reconcile().await.unwrap(), Some(3));
    look(&world).await;
    world.clock.advance(secs(16 * 60));
    look(&world).await;
    world.run_to_the_end().await;
    watch(&world, 12).await;
    let told = chat.texts().join("\n");
    for words in [
        "3 webhooks never arrived within 60 minutes",
        "The lead lead-ada (sync 1) has been in progress for 16 minutes (Queued), although every remote service is reachable. 3 leads are waiting.",
        "of Bigin's 2 API credits for 24 hours are used",
        "No lead is stuck any more.",
    ] {
        assert!(told.contains(words), "{words:?} is not in {told}");
    }
    chat.finish(world).await;
}

#[actix_web::test]
async fn heartbeat_of_healthy_reconciliation() {
    let monitor = Chat::start();
    let url = monitor.url.clone();
    let world = World::with(|settings| settings.alerts.heartbeat_url = Some(url.into())).await;
    let heartbeat = world.app.heartbeat.clone().unwrap();
    let round = || async {
        let round = world.reconcile().await;
        heartbeat.after(&world.app.context, &round).await
    };
    assert!(round().await);
    assert_eq!(
        monitor.inbox.seen.lock().unwrap()[0],
        ("GET".to_owned(), Vec::new(), 200)
    );

    world.fail_sanity(Kind::Query, SanityFault::Html(502), 1);
    assert!(!round().await, "the round was cut short");
    let limited = SanityFault::RateLimited(Some(RetryAfter::Seconds(90)));
    world.fail_sanity(Kind::Query, limited, 1);
    assert!(!round().await, "Sanity refused it");
    world.clock.advance(secs(60));
    assert!(!round().await, "Sanity wants to be left alone");
    assert_eq!(monitor.calls(), 1);

    world.clock.advance(secs(600));
    assert!(round().await);
    refuse_credentials(&world);
    world.request(lead("Ada")).await;
    world.run_due().await;
    assert!(
        !round().await,
        "Bigin refuses our credentials, which a person has to mend"
    );
    assert_eq!(monitor.calls(), 2);
    world.bigin.model().clear_faults();
    world.run_to_the_end().await;
    monitor.answers(500);
    assert!(!round().await, "the monitor is away");
    monitor.answers(200);
    assert!(round().await);
    let file = rusqlite::Connection::open(world.folder().join("bigin-sync.db")).unwrap();
    file.execute_batch("ALTER TABLE kv RENAME TO lost").unwrap();
    world.clock.advance(secs(1));
    assert!(!round().await, "the store takes nothing");
    file.execute_batch("ALTER TABLE lost RENAME TO kv").unwrap();
    assert_eq!(monitor.calls(), 4);
    monitor.finish(world).await;
}

#[actix_web::test]
async fn log_hides_alert_address() {
    let (chat, monitor) = (Chat::start(), Chat::start());
    let mut stage = Stage::new().await;
    let refresh_token = stage.bigin.refresh_token();
    stage.bigin.model().revoke_refresh_token(&refresh_token);
    let process = stage.serve().await;
    let readyz = format!("{}/readyz", process.url);
    eventually("Bigin refuses", || async {
        let (_, body) = answer(client().get(&readyz)).await;
        (body["status"] == "degraded").then_some(())
    })
    .await;
    process.stop().await;

    let hook = stage.folder.path().join("hook");
    std::fs::write(&hook, &chat.url).unwrap();
    stage.env.insert("ALERT_URL_FILE".into(), hook.display().to_string());
    stage.env.insert("HEARTBEAT_URL".into(), monitor.url.clone());
    stage.env.insert("RECONCILE_INTERVAL".into(), "100ms".into());
    stage.env.insert("RUST_LOG".into(), "debug".into());
    let process = stage.serve().await;
    eventually("the chat is told", || async { chat.texts().first().cloned() }).await;
    let queries = || stage.sanity.model().calls_of(Kind::Query);
    let before = queries();
    eventually("leads are looked for", || async {
        (queries() > before + 3).then_some(())
    })
    .await;
    process.stop().await;
    assert!(chat.texts()[0].contains("refresh token was rejected"));
    assert_eq!(monitor.calls(), 0, "not all is well");
    let log = stage.log();
    assert!(!log.contains("hush"), "{log}");
    for server in [chat.server, monitor.server] {
        server.stop(false).await;
    }
    stage.finish().await;
}

#[actix_web::test]
async fn failed_heartbeat_is_logged_once() {
    let monitor = Chat::start();
    let mut stage = Stage::new().await;
    stage.env.insert("HEARTBEAT_URL".into(), monitor.url.clone());
    stage.env.insert("RECONCILE_INTERVAL".into(), "100ms".into());
    stage.env.insert("RUST_LOG".into(), "debug".into());
    monitor.answers(404);
    let process = stage.serve().await;
    eventually("the monitor is away", || async { (monitor.calls() > 3).then_some(()) }).await;
    process.stop().await;
    let log = stage.log();
    assert_eq!(
        log.matches("HEARTBEAT_URL is not reached").count(),
        1,
        "once, and not each time: {log}"
    );
    assert!(!log.contains("hush"), "{log}");
    monitor.server.stop(false).await;
    stage.finish().await;
}
