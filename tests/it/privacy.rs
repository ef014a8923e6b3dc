//! Logs and public answers hold nothing of leads, and no secret.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use bigin_sync::http::{API, PUBLIC_ROUTES};
use serde_json::{Value, json};

use crate::process::{Process, Stage, binary};
use crate::world::{ADMIN_TOKEN, World, answer, client, id, lead, with};

#[actix_web::test]
async fn public_routes_reveal_nothing() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    let bad = with(lead("Bea"), json!({ "emailAddress": "no address" }));
    world.request(bad).await;
    world.run_to_the_end().await;
    let contact = world.lead_says("Ada", "biginContactId").unwrap();
    let secrets = [
        id("Ada"),
        contact,
        world.folder().display().to_string(),
        world.bigin.refresh_token(),
        world.sanity.token().to_owned(),
        world.bigin.url(),
        "Bigin rejected".to_owned(),
        "actix".to_owned(),
    ];
    let open = PUBLIC_ROUTES.iter().map(|address| address.path.to_owned());
    let api = API
        .iter()
        .map(|address| format!("/api{}", address.path.replace("{id}", "1")));
    let odd = [
        "/",
        "/nothing",
        "/api",
        "/api/nothing",
        "/%00",
        "/../Cargo.toml",
        "/api/syncs/1%2Fcancel",
    ];
    for path in open.chain(api).chain(odd.map(str::to_owned)) {
        for method in ["GET", "POST", "PATCH", "TRACE"] {
            let request = client().request(method.parse().unwrap(), format!("{}{path}", world.url));
            let response = request.body("{\"leadId\":\"lead-ada\"}").send().await.unwrap();
            let told = format!("{:?}\n{}", response.headers().clone(), response.text().await.unwrap());
            for secret in &secrets {
                assert!(
                    !told.contains(secret.as_str()),
                    "{method} {path} tells {secret:?}: {told}"
                );
            }
        }
    }
    assert_eq!(world.ledger().await.created, 2, "and nobody was sent for a stranger");
    world.finish().await;
}

#[actix_web::test]
async fn trace_log_has_no_personal_data() {
    let mut stage = Stage::new().await;
    stage.env.insert("RUST_LOG".to_owned(), "trace".to_owned());
    let process = stage.serve().await;
    stage.request(lead("Ada")).await;
    stage
        .request(with(lead("Grace"), json!({ "emailAddress": "grace-at-example.org" })))
        .await;
    for body in [
        "\"ada@example.org\"",
        "{\"leadId\":\"ada@example.org\"}",
        "{\"leadId\":[\"ada@example.org\"]}",
    ] {
        let request = client()
            .post(format!("{}/api/syncs", process.url))
            .bearer_auth(ADMIN_TOKEN);
        let request = request.header("content-type", "application/json").body(body);
        assert_eq!(answer(request).await.0, 400);
    }
    stage.until_status(&id("Ada"), "SENT").await;
    stage.until_status(&id("Grace"), "FAILED").await;
    process.stop().await;
    let log = stage.log();
    let client_secret = stage.bigin.client_secret().clone();
    for text in [
        ADMIN_TOKEN,
        stage.sanity.token(),
        stage.sanity.webhook_secret(),
        &client_secret,
        "v1=",
        "Zoho-oauthtoken",
        "access_token",
        "grace-at",
        "PO16",
        "Hello",
    ] {
        assert!(!log.contains(text), "{text:?} is in the log");
    }
    assert!(log.contains("TRACE"), "the log is as fine as it was asked to be");
    assert!(log.contains("Bigin rejected Email"), "and says why a lead was rejected");
    stage.finish().await;
}

#[actix_web::test]
async fn unwritable_log_stops_nothing() {
    let stage = Stage::new().await;
    let mut command = binary();
    command
        .arg("serve")
        .env_clear()
        .envs(&stage.env)
        .current_dir(stage.folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    // Nobody reads the log from here on.
    let first: Value = serde_json::from_str(&first).unwrap();
    let process = Process {
        child,
        url: format!("http://{}", first["address"].as_str().unwrap()),
    };
    stage.sanity.set_webhook(&format!("{}/webhooks/sanity", process.url));
    stage.request(lead("Ada")).await;
    stage.until_status(&id("Ada"), "SENT").await;
    process.stop().await;
    stage.finish().await;
}
