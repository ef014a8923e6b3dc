//! The pages in a real browser: the real program between both fakes, with twenty leads that have come to various ends and a
//! day behind it, driven by `tests/browser/pages.test.mjs`. `tests/browser/install` fetches what that needs.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use serde_json::{Value, json};

use crate::process::{Stage, eventually};
use crate::world::{ADMIN_TOKEN, answer, client, lead, with};

/// Leads that went through in the day before.
const CROWD: usize = 90;

/// Sent, and nothing else to be said of them.
const GOOD: [&str; 6] = ["3f9a1c7e", "91b2d044", "c07e55aa", "5d18f3b9", "e6410c2d", "08af77e1"];
const BAD_EMAIL: [&str; 3] = ["7c2e90b4", "b81d3f66", "24e6a90f"];
const TOO_LONG: &str = "d95b0c13";
const NAMELESS: &str = "6a03e8f7";
const WITHDRAWN: &str = "f2c7419d";
const DELETED: &str = "1e8d50a6";
const CANCELLED: &str = "a4f6b3c8";

/// As Sanity Studio makes them.
fn lead_id(code: &str) -> String {
    format!("{code}-8d1e-4b7a-9c05-6e2f1a4d8b73")
}

fn document(code: &str, fields: Value) -> Value {
    let email = format!("{code}@example.org");
    let own = json!({ "_id": lead_id(code), "emailAddress": email, "phoneNumber": null });
    with(with(lead("Ada"), own), fields)
}

#[actix_web::test]
#[ignore = "needs Chromium and Node"]
async fn dashboard_in_chromium() {
    let mut stage = Stage::new().await;
    for (name, value) in [
        ("TAG_DELAY", "6s"),
        ("LEASE_DURATION", "6s"),
        ("RETRY_MAX_DELAY", "2s"),
        ("SANITY_STUDIO_URL", "https://example.org/studio"),
        ("BIGIN_DATA_CENTER", "eu"),
    ] {
        stage.env.insert(name.to_owned(), value.to_owned());
    }
    let program = stage.serve().await;
    play(&stage, &program.url).await;
    program.stop().await;
    spread_over_a_day(&stage.folder.path().join("bigin-sync.db"));
    let program = stage.serve().await;

    let stage = Arc::new(stage);
    let delivering = tokio::spawn({
        let stage = Arc::clone(&stage);
        async move {
            loop {
                stage.sanity.deliver_due().await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let control = control(&stage, &program.url);
    let (url, folder) = (program.url.clone(), stage.folder.path().to_owned());
    let run = tokio::task::spawn_blocking(move || browse(&url, &control, &folder));
    assert!(run.await.unwrap(), "the browser has found something; see above");
    delivering.abort();

    let log = stage.log();
    assert!(!log.contains(ADMIN_TOKEN) && !log.contains("@example.org"), "{log}");
    drop(program);
}

/// Brings everybody but the last few to their ends.
async fn play(stage: &Stage, url: &str) {
    let crowd: Vec<String> = (0..CROWD)
        .map(|number| format!("{:08x}", 0x9e37_79b9_u64 * (number as u64 + 1) % (1 << 32)))
        .collect();
    let long = json!({ "address": "x".repeat(300) });
    let nameless = json!({ "firstName": null, "secondName": null });
    let leads = crowd
        .iter()
        .map(String::as_str)
        .chain(GOOD)
        .chain([WITHDRAWN, DELETED, CANCELLED])
        .map(|code| document(code, json!({})))
        .chain(BAD_EMAIL.map(|code| document(code, json!({ "emailAddress": "not an address" }))))
        .chain([document(TOO_LONG, long), document(NAMELESS, nameless)]);
    for lead in leads {
        stage.request(lead).await;
    }
    let waiting = [WITHDRAWN, DELETED, CANCELLED].map(lead_id);
    for lead in &waiting {
        let what = format!("{lead} waits for its tag");
        eventually(&what, || async {
            (state(url, lead).await.as_deref() == Some("upserted")).then_some(())
        })
        .await;
    }
    let withdrawn = json!({ "crmStatus": "NOT_SENT" });
    stage.sanity.model().edit(&lead_id(WITHDRAWN), withdrawn).unwrap();
    stage.sanity.model().delete(&lead_id(DELETED)).unwrap();
    let (_, found) = call(url, "GET", &format!("/api/syncs?lead={}", lead_id(CANCELLED))).await;
    let (status, body) = call(url, "POST", &format!("/api/syncs/{}/cancel", found["syncs"][0]["id"])).await;
    assert_eq!(status, 200, "{body}");
    eventually("all have come to their end", || async {
        let (_, health) = call(url, "GET", "/api/health").await;
        (health["ledger"]["in_progress"] == 0).then_some(())
    })
    .await;
}

async fn state(url: &str, lead: &str) -> Option<String> {
    let (_, found) = call(url, "GET", &format!("/api/syncs?lead={lead}")).await;
    found["syncs"][0]["state"].as_str().map(str::to_owned)
}

async fn call(url: &str, method: &str, path: &str) -> (u16, Value) {
    let request = client().request(method.parse().unwrap(), format!("{url}{path}"));
    answer(request.bearer_auth(ADMIN_TOKEN)).await
}

/// Moves what has ended back, each sync by a time of its own, as if it had happened in the course of a day.
fn spread_over_a_day(database: &Path) {
    let database = rusqlite::Connection::open(database).unwrap();
    // Twelve in the last hour, all others before it.
    let back = "(CASE WHEN sync.id % 5 = 0 THEN sync.id * 211 % 3300 ELSE 3600 + sync.id * sync.id * 977 % 80000 END) * 1000000";
    let sql = format!(
        "UPDATE event SET at = at - (SELECT {back} FROM sync WHERE sync.id = sync_id);
         UPDATE sync SET created_at = created_at - {back}, changed_at = changed_at - {back}, finished_at = finished_at - {back};"
    );
    database.execute_batch(&sql).unwrap();
}

/// What the browser's script can have done to the world, at addresses of its own; returns where they are.
fn control(stage: &Arc<Stage>, service: &str) -> String {
    let (stage, service) = (Arc::clone(stage), service.to_owned());
    let data = web::Data::from(stage);
    let link = format!(
        "<!doctype html><title>Elsewhere</title><link rel=icon href=data:,><a href=\"{service}/failures\">The failures</a>"
    );
    let server = HttpServer::new(move || {
        let link = link.clone();
        App::new()
            .app_data(data.clone())
            .route(
                "/link",
                web::get().to(move || {
                    let link = link.clone();
                    async move { HttpResponse::Ok().content_type("text/html").body(link) }
                }),
            )
            .route("/{what}/{lead}", web::post().to(change))
    })
    .workers(1)
    .disable_signals()
    .bind(("127.0.0.1", 0))
    .unwrap();
    let url = format!("http://{}", server.addrs()[0]);
    tokio::spawn(server.run());
    url
}

async fn change(path: web::Path<(String, String)>, stage: web::Data<Stage>) -> HttpResponse {
    let (what, code) = path.into_inner();
    match what.as_str() {
        "request" => stage.request(document(&code, json!({}))).await,
        "mend" => {
            let good = json!({ "emailAddress": format!("{code}@example.org") });
            stage.sanity.model().edit(&lead_id(&code), good).unwrap();
        }
        "bigin" => stage.bigin.model().switches.down = code == "down",
        _ => return HttpResponse::NotFound().finish(),
    }
    HttpResponse::NoContent().finish()
}

/// Runs the browser's script, whose output is the test's.
fn browse(url: &str, control: &str, home: &Path) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let tools = target.join("browser");
    assert!(tools.join("node_modules").exists(), "run tests/browser/install first");
    let brought = target.join("peers/venv/bin/node");
    let node = if brought.exists() { brought } else { "node".into() };
    let mut command = Command::new(node);
    command
        .arg("--test")
        .arg("--test-reporter=spec")
        .current_dir(&tools)
        .env_clear()
        .env("HOME", home)
        .env("URL", url)
        .env("CONTROL", control)
        .env("TOKEN", ADMIN_TOKEN)
        .stdin(Stdio::null());
    #[expect(clippy::disallowed_methods, reason = "this is no setting of ours")]
    if let Some(folder) = std::env::var_os("SCREENSHOTS") {
        // Pictures of the leads as they are now, before the other tests change them.
        command
            .args(["--test-name-pattern", "pictures"])
            .env("SCREENSHOTS", root.join(folder));
    }
    #[expect(clippy::disallowed_methods, reason = "this is no setting of ours")]
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.arg(root.join("tests/browser/pages.test.mjs"));
    command.status().unwrap().success()
}
