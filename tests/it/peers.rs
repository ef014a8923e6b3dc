//! The official clients, as judges of what is ours: Sanity's toolkit signs for the service and checks our signatures, Sanity's
//! client drives the fake Sanity, and Zoho's client drives the fake Bigin. They need more than Rust: `tests/peers/install`
//! fetches them, and `cargo test -- --ignored` runs these tests, as `.ci/run` does.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bigin_sync::app::App;
use bigin_sync::clock::{ManualClock, SharedClock, SystemClock};
use bigin_sync::config::{Layers, Settings};
use bigin_sync::fake::bigin::FakeBigin;
use bigin_sync::fake::sanity::FakeSanity;
use bigin_sync::http_client;
use bigin_sync::sanity::REQUESTED_LEADS;
use bigin_sync::signature;
use serde_json::{Value, json};
use tokio::sync::oneshot;

const SECRET: &str = "s3cr3t-key of the tests";

/// 2026-11-22T10:00:00Z
const SIGNED_AT: u64 = 1_795_341_600_000;

/// Bodies as Sanity may send them, and as only their very bytes can be verified: other letters, escapes that JSON written
/// anew would lose, white space, numbers that doubles cannot hold.
const BODIES: [&str; 5] = [
    r#"{"_id":"lead-1","_type":"dbrLead","_rev":"r1","crmStatus":"REQUESTED"}"#,
    r#"{"_id":"lead-2","_type":"dbrLead","_rev":"r1","crmStatus":"REQUESTED","firstName":"Zoë ☃ 🎉"}"#,
    r#"{"_id":"lead-3","_type":"dbrLead","_rev":"r1","crmStatus":"REQUESTED","note":"a \u0026 b \u003c c"}"#,
    "{\n  \"crmStatus\" : \"REQUESTED\",\r\n\t\"_type\": \"dbrLead\", \"_id\": \"lead-4\"}\n",
    r#"{"n":12345678901234567890.10,"_rev":"r1","_id":"lead-5","_id2":null,"_type":"dbrLead"}"#,
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node"]
async fn toolkit_signatures_are_accepted() {
    let webhooks = BODIES.map(|body| json!({ "body": body, "timestamp": SIGNED_AT, "secret": SECRET }));
    let headers = node(include_str!("../peers/sign.mjs"), &json!(webhooks));
    let headers: Vec<&str> = headers
        .as_array()
        .unwrap()
        .iter()
        .map(|header| header.as_str().unwrap())
        .collect();
    let service = Service::start().await;

    for (body, header) in BODIES.iter().zip(&headers) {
        assert_eq!(service.deliver(body, header).await, 202, "{body}");
    }
    assert_eq!(service.deliver(BODIES[0], headers[0]).await, 200, "the same once more");
    let tampered = BODIES[0].replace("lead-1", "lead-9");
    assert_eq!(service.deliver(&tampered, headers[0]).await, 401, "another body");
    let spelt_anew = BODIES[2].replace(r"\u0026", "&");
    assert_eq!(
        service.deliver(&spelt_anew, headers[2]).await,
        401,
        "the same JSON in other bytes"
    );
    let later = headers[0].replacen("t=1795341600000", "t=1795341600001", 1);
    assert_eq!(service.deliver(BODIES[0], &later).await, 401, "another time");

    let stranger = json!([{ "body": BODIES[0], "timestamp": SIGNED_AT, "secret": "another" }]);
    let header = node(include_str!("../peers/sign.mjs"), &stranger);
    assert_eq!(
        service.deliver(BODIES[0], header[0].as_str().unwrap()).await,
        401,
        "another secret"
    );
    service.stop().await;
}

#[test]
#[ignore = "needs Node"]
fn toolkit_accepts_our_signatures() {
    let signed = |body: &str, key: &str| signature::sign(body.as_bytes(), SIGNED_AT, key.as_bytes());
    let good = BODIES.map(|body| json!({ "body": body, "header": signed(body, SECRET), "secret": SECRET }));
    let bad = BODIES.map(|body| json!({ "body": body, "header": signed(body, "another"), "secret": SECRET }));
    let webhooks = [good, bad].concat();
    let valid = node(include_str!("../peers/verify.mjs"), &json!(webhooks));
    let expected = [[true; BODIES.len()], [false; BODIES.len()]].concat();
    assert_eq!(valid, json!(expected));
}

#[tokio::test]
#[ignore = "needs Node"]
async fn sanity_client_accepts_the_fake() {
    let clock = Arc::new(ManualClock::new("2026-11-22T10:00:00Z".parse().unwrap()));
    let sanity = FakeSanity::start(clock).await.unwrap();
    let given = json!({
        "url": sanity.url(),
        "projectId": sanity.project_id(),
        "dataset": sanity.dataset(),
        "token": sanity.token(),
        "query": format!("{REQUESTED_LEADS}[0...100]{{_id}}"),
    });
    let found = node(include_str!("../peers/client.mjs"), &given);
    let revision_error = json!({ "type": "documentRevisionIDDoesNotMatchError" });
    let expected = json!({
        "created": { "id": "lead-1", "type": "dbrLead", "hasRev": true },
        "createdTwice": {
            "isClientError": true, "status": 409, "type": "mutationError",
            "items": [{
                "type": "documentAlreadyExistsError", "id": "lead-1",
                "description": "Document by ID \"lead-1\" already exists",
            }],
        },
        "patched": { "status": "SENT", "contact": "7618134000000646043", "isNewRev": true },
        "patchedLate": { "isClientError": true, "status": 409, "type": "mutationError", "items": [revision_error] },
        "knowsRevs": true,
        "transaction": "write-back-1",
        "transactionTwice": { "isClientError": true, "status": 409, "type": "transactionAlreadyExistsError" },
        "half": 409,
        "afterHalf": null,
        "document": "Ada",
        "documents": ["drafts.lead-3", null, "lead-1"],
        "requested": ["lead-3"],
        "requestedDrafts": ["drafts.lead-3", "lead-3"],
        "requestedLongAgo": [],
        "badQuery": { "isClientError": true, "status": 400, "type": "queryParseError" },
        "deleted": null,
        "stranger": { "isClientError": true, "status": 401 },
    });
    assert_eq!(found, expected, "{found:#}");
}

#[tokio::test]
#[ignore = "needs Python"]
async fn zoho_sdk_accepts_the_fake() {
    let bigin = FakeBigin::start(Arc::new(SystemClock::new())).await.unwrap();
    let given = json!({
        "url": bigin.url(),
        "client_id": bigin.client_id(),
        "client_secret": bigin.client_secret(),
        "refresh_token": bigin.refresh_token(),
    });
    let found = python(include_str!("../peers/bigin.py"), &given);
    let item = |action: &str, message: &str, duplicate: Option<&str>| {
        json!({
            "code": "SUCCESS", "status": "success", "message": message,
            "action": action, "duplicate_field": duplicate, "field": null,
        })
    };
    let expected = json!({
        "has_token": true,
        "upsert": {
            "status": 202,
            "items": [
                item("insert", "record added", None),
                {
                    "code": "INVALID_DATA", "status": "error", "message": "invalid data",
                    "action": null, "duplicate_field": null, "field": "Email",
                },
                item("update", "record updated", Some("Email")),
                item("insert", "record added", None),
            ],
            "same": true,
            "contacts": 2,
        },
        "tag_one": { "status": 200, "code": "SUCCESS", "message": "tags updated successfully", "tags": ["DBR_Dashboard_Import"] },
        "tag_several": {
            "status": 200,
            "messages": ["tags updated successfully", "tags updated successfully"],
            "tags": [["DBR_Dashboard_Import", "Second", "Third"], ["Second", "Third"]],
        },
        "tag_stranger": ["INVALID_DATA", "SUCCESS"],
        "tag_too_long": { "status": 400, "code": "INVALID_DATA" },
    });
    assert_eq!(found, expected, "{found:#}");
}

// ---------------------------------------------------------------------------------------------------------------------

/// The service itself between the two fakes, as `serve` runs it.
struct Service {
    url: String,
    client: reqwest::Client,
    stop: oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<anyhow::Result<()>>,
    _remotes: (FakeBigin, FakeSanity),
    _folder: tempfile::TempDir,
}

impl Service {
    async fn start() -> Self {
        let clock: SharedClock = Arc::new(SystemClock::new());
        let bigin = FakeBigin::start(SharedClock::clone(&clock)).await.unwrap();
        let sanity = FakeSanity::start(SharedClock::clone(&clock)).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), &bigin, &sanity);
        let app = App::build(&settings, clock).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(app.run(listener, async { stopped.await.unwrap_or_default() }));
        Self {
            url,
            client: http_client::local_client("Sanity.io webhook delivery").unwrap(),
            stop,
            serving,
            _remotes: (bigin, sanity),
            _folder: folder,
        }
    }

    /// The status a webhook is answered with.
    async fn deliver(&self, body: &str, header: &str) -> u16 {
        let request = self.client.post(format!("{}/webhooks/sanity", self.url));
        let request = request
            .header("content-type", "application/json")
            .header(signature::HEADER, header);
        let answer = http_client::send(request.body(body.to_owned()), Duration::from_secs(10)).await;
        answer.unwrap().status.as_u16()
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap().unwrap();
    }
}

fn settings(folder: &Path, bigin: &FakeBigin, sanity: &FakeSanity) -> Settings {
    let file = folder.join("bigin-sync.toml");
    let database = folder.join("bigin-sync.db");
    let settings = [
        ("sanity_project_id", sanity.project_id()),
        ("sanity_dataset", sanity.dataset()),
        ("sanity_api_write_token", sanity.token()),
        ("sanity_webhook_secret", SECRET),
        ("sanity_api_url", &sanity.url()),
        ("bigin_client_id", &bigin.client_id()),
        ("bigin_client_secret", &bigin.client_secret()),
        ("bigin_refresh_token", &bigin.refresh_token()),
        ("bigin_accounts_url", &bigin.url()),
        ("bigin_api_domain", &bigin.url()),
        ("database_url", &format!("sqlite://{}", database.display())),
    ];
    let table: toml::Table = settings
        .map(|(name, value)| (name.to_owned(), value.into()))
        .into_iter()
        .collect();
    std::fs::write(&file, table.to_string()).unwrap();
    Settings::load(&Layers::read(Some(&file), None, BTreeMap::new())).unwrap()
}

/// Where `tests/peers/install` puts the clients.
pub fn peers() -> PathBuf {
    let peers = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("peers");
    assert!(
        peers.join("venv").is_dir() && peers.join("node_modules").is_dir(),
        "the official clients are not in {}: run tests/peers/install",
        peers.display()
    );
    peers
}

/// Runs a module of JavaScript where it finds Sanity's packages. Node may come with the virtual environment.
fn node(module: &str, input: &Value) -> Value {
    let brought = peers().join("venv/bin/node");
    let node = if brought.exists() { brought } else { "node".into() };
    run(
        Command::new(node).args(["--input-type=module", "--eval", module]),
        input,
    )
}

/// Runs a Python script where it finds Zoho's package.
fn python(script: &str, input: &Value) -> Value {
    run(
        Command::new(peers().join("venv/bin/python")).args(["-c", script]),
        input,
    )
}

/// Runs a program that reads JSON and writes JSON, with nothing of this process's environment but the way to programs: a
/// proxy, say, is not for a server of ours.
fn run(command: &mut Command, input: &Value) -> Value {
    command.current_dir(peers()).env_clear();
    #[expect(clippy::disallowed_methods, reason = "this is no setting of ours")]
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{:?} cannot be run: {error}", command.get_program()));
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.to_string().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{:?} failed: {}\n{errors}",
        command.get_program(),
        output.status
    );
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}\n{errors}"))
}
