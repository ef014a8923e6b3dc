//! Studio itself: a real one with the plugin of `deploy/studio`, in a browser, before a Content Lake of Node; behind the
//! webhook of that the real program, which the script starts, and behind it the fake Bigin of here. `deploy/studio/test`
//! builds what that needs, and `deploy/studio/e2e/chain.test.js` is the script. The Content Lake of Node, which is made of
//! Sanity's own packages, also judges the fake Sanity.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use actix_web::{App, HttpResponse, HttpServer, web};
use bigin_sync::clock::{SharedClock, SystemClock};
use bigin_sync::fake::bigin::FakeBigin;
use bigin_sync::fake::sanity::FakeSanity;
use bigin_sync::sanity::REQUESTED_LEADS;
use serde_json::json;

#[actix_web::test]
#[ignore = "needs Chromium and Node"]
async fn editors_send_leads_in_studio() {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let bigin = Arc::new(FakeBigin::start(clock).await.unwrap());
    let control = control(&bigin);
    let environment = [
        ("BIGIN_SYNC", env!("CARGO_BIN_EXE_bigin-sync").to_owned()),
        ("BIGIN_CLIENT_ID", bigin.client_id()),
        ("BIGIN_CLIENT_SECRET", bigin.client_secret()),
        ("BIGIN_REFRESH_TOKEN", bigin.refresh_token()),
        ("BIGIN_ACCOUNTS_URL", bigin.url()),
        ("BIGIN_CONTROL", control),
    ];
    let passed = tokio::task::spawn_blocking(move || play("e2e/chain.test.js", &environment));
    assert!(passed.await.unwrap(), "the browser has found something; see above");
}

#[actix_web::test]
#[ignore = "needs Node"]
async fn fake_and_real_content_lake_agree() {
    let sanity = FakeSanity::start(Arc::new(SystemClock::new())).await.unwrap();
    let environment = [
        ("FAKE_URL", sanity.url()),
        ("FAKE_PROJECT", sanity.project_id().to_owned()),
        ("FAKE_DATASET", sanity.dataset().to_owned()),
        ("FAKE_TOKEN", sanity.token().to_owned()),
        ("REQUESTED_LEADS", REQUESTED_LEADS.to_owned()),
    ];
    let passed = tokio::task::spawn_blocking(move || play("e2e/alike.test.js", &environment));
    assert!(passed.await.unwrap(), "they differ; see above");
}

/// What the script may ask of Bigin and do to it, at an address of its own; returns where that is.
fn control(bigin: &Arc<FakeBigin>) -> String {
    let data = web::Data::from(Arc::clone(bigin));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .route("/contacts", web::get().to(contacts))
            .route("/{switch}", web::post().to(switch))
    })
    .workers(1)
    .disable_signals()
    .bind(("127.0.0.1", 0))
    .unwrap();
    let url = format!("http://{}", server.addrs()[0]);
    tokio::spawn(server.run());
    url
}

async fn contacts(bigin: web::Data<FakeBigin>) -> HttpResponse {
    let model = bigin.model();
    let shown = model
        .contacts()
        .map(|(id, contact)| json!({ "id": id, "fields": contact.fields, "tags": contact.tags }));
    HttpResponse::Ok().json(shown.collect::<Vec<_>>())
}

async fn switch(path: web::Path<String>, bigin: web::Data<FakeBigin>) -> HttpResponse {
    match path.as_str() {
        "down" => bigin.model().switches.down = true,
        "up" => bigin.model().switches.down = false,
        _ => return HttpResponse::NotFound().finish(),
    }
    HttpResponse::NoContent().finish()
}

/// Runs a script, whose output is the test's.
fn play(script: &str, environment: &[(&str, String)]) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = root.join("deploy/studio");
    assert!(package.join("e2e/studio/dist").exists(), "run deploy/studio/test first");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let brought = target.join("peers/venv/bin/node");
    let node = if brought.exists() { brought } else { "node".into() };
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(node);
    command
        .args(["--test", "--test-reporter=spec", script])
        .current_dir(&package)
        .env_clear()
        .env("HOME", home.path())
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null());
    #[expect(clippy::disallowed_methods, reason = "these are no settings of ours")]
    {
        for name in ["PATH", "STUDIO_MAJORS"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        let pictures = std::env::var_os("SCREENSHOTS").map(|folder| root.join(folder));
        command.envs(pictures.map(|folder| ("SCREENSHOTS", folder)));
    }
    command.status().unwrap().success()
}
