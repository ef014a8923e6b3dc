//! What strangers can do, and what they can learn.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use bigin_sync::http::{API, OPEN};
use serde_json::json;

use crate::process::Stage as Program;
use crate::world::{World, client, id, lead, with};

#[actix_web::test]
async fn strangers_learn_nothing_of_leads_contacts_or_places() {
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
    let open = OPEN.iter().map(|address| address.path.to_owned());
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

#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_end_is_cut_off_and_costs_no_memory() {
    let program = Program::new().await;
    let process = program.serve().await;
    let address = process.url.strip_prefix("http://").unwrap().to_owned();
    let endless = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n").unwrap();
        let line = format!("x-long: {}\r\n", "a".repeat(8000));
        // 100 MB, of which far less may be taken.
        let sent = (0..12_500)
            .take_while(|_| stream.write_all(line.as_bytes()).is_ok())
            .count();
        let mut answer = String::new();
        // A reset is as good an answer as any.
        let _ = stream.read_to_string(&mut answer);
        (sent, answer)
    });
    let (sent, answer) = endless.await.unwrap();
    assert!(sent < 12_500, "all of it was taken");
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    program.request(lead("Ada")).await;
    program.until_status(&id("Ada"), "SENT").await;
    process.stop().await;
    program.finish().await;
}
