//! `bigin-sync send`: which leads are requested, and what is answered.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::process::{binary, eventually};
use crate::terminal::Terminal;
use crate::world::{ADMIN_TOKEN, World, id, lead, secs, with};

use super::{Caller, Running, canned, run_beside};

mod waiting;

/// A line without the sync's ID: leads are requested concurrently, so their order differs.
fn without_number(line: &str) -> &str {
    line.split_once(" (sync ").map_or(line, |(said, _)| said)
}

fn seed(world: &World, names: &[&str]) {
    for name in names {
        world.sanity.model().seed(lead(name)).unwrap();
    }
}

/// Lets time pass in the world until the program has seen enough.
async fn carry(world: &World, waiting: &mut Running) {
    eventually("the program has waited", || {
        let over = waiting.is_over();
        async move {
            world.pass(secs(15)).await;
            over.then_some(())
        }
    })
    .await;
}

#[actix_web::test]
async fn requests_each_lead_once() {
    let world = World::new().await;
    seed(&world, &["Ada", "Grace"]);
    let caller = Caller::of(&world.url);
    std::fs::write(caller.folder.path().join("ids"), "lead-grace # again\n\n# nobody\n").unwrap();
    let sent = caller.run(&["send", "lead-ada", "lead-grace", "lead-ada"]);
    let (code, out, err) = world.while_workers_run(sent).await;
    assert_eq!((code, err.as_str()), (0, ""));
    insta::assert_snapshot!(out, @r"
    lead-ada: Queued (sync 1)
    lead-grace: Queued (sync 2)
    2 leads accepted
    ");
    let (code, out, _) = caller.run(&["send", "--ids-from", "ids", "--json"]).await;
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &said["accepted"], &said["leads"][0]["leadId"]),
        (0, &json!(1), &json!("lead-grace"))
    );
    assert_eq!(said["leads"][0]["id"], json!(2), "it has joined the one on its way");
    world.run_to_the_end().await;
    assert_eq!((world.state("Ada").await, world.state("Grace").await), ("sent", "sent"));
    assert_eq!(world.ledger().await.created_manually, 2);
    world.finish().await;
}

#[actix_web::test]
async fn unknown_lead_is_exit_code() {
    let world = World::new().await;
    seed(&world, &["Ada"]);
    let caller = Caller::of(&world.url);
    let (code, out, err) = world.while_workers_run(caller.run(&["send", "lead-nobody"])).await;
    assert_eq!(code, 1);
    insta::assert_snapshot!(out, @r"
    lead-nobody: Queued (sync 1)
    lead-nobody: Lead deleted: no published lead in Sanity has this ID
    1 lead accepted
    ");
    insta::assert_snapshot!(err, @"bigin-sync: 1 of 1 lead not found: no published lead in Sanity has this ID");
    let mix = caller.run(&["send", "lead-nobody", "lead-ada", "--json"]);
    let (code, out, err) = world.while_workers_run(mix).await;
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &said["accepted"]), (1, &json!(2)), "{err}");
    let states = said["leads"].as_array().unwrap().iter().map(|lead| &lead["state"]);
    assert_eq!(
        states.filter(|state| **state == json!("lead_deleted")).count(),
        1,
        "{out}"
    );
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}

#[actix_web::test]
async fn rejects_what_is_no_published_lead() {
    let world = World::new().await;
    let caller = Caller::of(&world.url);
    let (code, out, err) = caller
        .run(&["send", "lead-ada", "drafts.lead-grace", "Ada Example"])
        .await;
    assert_eq!((code, out.as_str()), (2, ""));
    insta::assert_snapshot!(err, @r#"
    bigin-sync: nothing was sent:
      - "drafts.lead-grace" is a draft, and only published leads are sent: publish it, then send "lead-grace"
      - "Ada Example" is not the id of a published document: 1 to 128 letters, digits, '-', '_' and '.', not beginning with "drafts." or "versions."
    "#);
    let (code, _, err) = caller.run(&["send", "--wait", "10m", "lead-ada"]).await;
    assert_eq!(code, 2);
    insta::assert_snapshot!(err, @r#"bigin-sync: "10m" is a duration, not a lead: use --wait=10m"#);
    let (code, _, err) = caller.run(&["send", "--ids-from", "nowhere"]).await;
    assert_eq!(code, 2);
    insta::assert_snapshot!(err, @"bigin-sync: cannot read nowhere: No such file or directory (os error 2)");
    assert_eq!(world.ledger().await.created, 0);
    world.finish().await;
}

#[actix_web::test]
async fn dry_run_needs_no_service() {
    let caller = Caller::of("http://127.0.0.1:9");
    let mut command = caller.command(&["send", "--dry-run", "lead-ada", "lead-ada", "lead-grace"]);
    command.env_remove("ADMIN_TOKEN");
    assert_eq!(
        caller.finish(command).await,
        (0, "lead-ada\nlead-grace\n".into(), String::new())
    );
    let (code, out, _) = caller.run(&["send", "--ids-from", "/dev/null"]).await;
    assert_eq!((code, out.as_str()), (0, "No leads found. Nothing was sent.\n"));
}

#[actix_web::test]
async fn reads_ids_from_stdin() {
    let caller = Caller::of("http://127.0.0.1:9");
    let mut child = caller
        .command(&["send", "--dry-run", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"lead-ada\nlead-grace lead-ada\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "lead-ada\nlead-grace\n");
}

#[actix_web::test]
async fn query_selects_published_leads() {
    let world = World::new().await;
    seed(&world, &["Ada", "Grace", "Edsger"]);
    let copy = with(lead("Ada"), json!({ "_id": "drafts.lead-ada" }));
    world.sanity.model().seed(copy).unwrap();
    let caller = Caller::of(&world.url);
    let query = async |text: &str| {
        let mut command = caller.command(&["send", "--dry-run", "--query", text]);
        command
            .env("SANITY_PROJECT_ID", world.sanity.project_id())
            .env("SANITY_DATASET", world.sanity.dataset())
            .env("SANITY_API_URL", world.sanity.url())
            .env("SANITY_API_WRITE_TOKEN", world.sanity.token());
        caller.finish(command).await
    };
    let found = query("*[_type == $type && _id != \"lead-edsger\"] | order(_id asc){_id}").await;
    assert_eq!(found, (0, "lead-ada\nlead-grace\n".into(), String::new()));
    let one = query("*[_type == $type] | order(_id desc)[0]").await;
    assert_eq!(one, (0, "lead-grace\n".into(), String::new()));
    let none = query("*[_type == \"page\"]").await;
    assert_eq!(none.1, "No leads found. Nothing was sent.\n");
    let (code, _, err) = query("*[_type == $type]{firstName}").await;
    assert_eq!(code, 2);
    insta::assert_snapshot!(err, @"bigin-sync: a result of the query has no _id: end the query with {_id} or ._id");
    let (code, _, err) = query("everything").await;
    assert_eq!(code, 2);
    insta::assert_snapshot!(err, @"bigin-sync: Sanity rejected the query: test it in the Studio's Vision tool");
    let (code, _, err) = caller.run(&["send", "--query", "*"]).await;
    assert_eq!(code, 2);
    insta::assert_snapshot!(err, @r"
    bigin-sync: --query needs access to Sanity. 2 problems in the settings:
      - SANITY_PROJECT_ID is missing
      - SANITY_API_WRITE_TOKEN is missing
    ");
    world.finish().await;
}

#[actix_web::test]
async fn failed_leads_by_reason() {
    let world = World::new().await;
    let caller = Caller::of(&world.url);
    let (code, out, _) = caller.run(&["send", "--failed"]).await;
    assert_eq!((code, out.as_str()), (0, "No failed leads. Nothing was sent.\n"));
    for name in ["Ada", "Grace", "Edsger"] {
        let bad = json!({ "emailAddress": "nobody at home" });
        world.request(with(lead(name), bad)).await;
    }
    world
        .request(with(lead("Long"), json!({ "postcode": "P".repeat(31) })))
        .await;
    world.run_to_the_end().await;

    let (code, out, _) = caller.run(&["send", "--failed", "--dry-run"]).await;
    assert_eq!(code, 0);
    insta::assert_snapshot!(out, @r"
    4 leads failed and would be sent again. Reasons:
         3  Bigin rejected Email: not an email address (invalid_value:Email)
         1  Bigin rejected Mailing_Zip: longer than 30 characters (value_too_long:Mailing_Zip)
    ");
    let (code, out, _) = caller.run(&["send", "--failed", "--reason", "the weather"]).await;
    assert_eq!(code, 0);
    insta::assert_snapshot!(out, @r"
    No lead failed for this reason. Nothing was sent. Reasons:
         3  Bigin rejected Email: not an email address (invalid_value:Email)
         1  Bigin rejected Mailing_Zip: longer than 30 characters (value_too_long:Mailing_Zip)
    ");
    assert_eq!(world.ledger().await.created, 4, "nothing was requested so far");

    let reason = world.store().failure_groups(1).await.unwrap()[0].key().to_string();
    for name in ["Ada", "Grace"] {
        let good = json!({ "emailAddress": format!("{}@example.org", name.to_lowercase()) });
        world.edit(name, good);
    }
    let args = ["send", "--failed", "--reason", &reason];
    let (code, out, _) = world.while_workers_run(caller.run(&args)).await;
    assert_eq!(code, 0);
    let lines: Vec<&str> = out.lines().map(without_number).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    lead-edsger: Queued
    lead-grace: Queued
    lead-ada: Queued
    3 leads accepted
    ");
    world.run_to_the_end().await;

    let mut waiting = caller.start(&["send", "--failed", "--wait", "--json"]);
    eventually("both are requested", || async {
        (world.ledger().await.created == 9).then_some(())
    })
    .await;
    carry(&world, &mut waiting).await;
    let (code, out, err) = waiting.result();
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, err.as_str()), (1, "bigin-sync: 2 of 2 leads not sent\n"));
    assert_eq!((&said["sent"], &said["unfinished"]), (&json!(0), &json!(0)));
    let reasons = said["leads"].as_array().unwrap().iter().map(|lead| &lead["reason"]);
    insta::assert_snapshot!(reasons.map(Value::to_string).collect::<Vec<_>>().join("\n"), @r#"
    "Bigin rejected Email: not an email address"
    "Bigin rejected Mailing_Zip: longer than 30 characters"
    "#);
    world.finish().await;
}

#[actix_web::test]
async fn skips_failed_and_withdrawn() {
    let world = World::new().await;
    for name in ["Ada", "Grace"] {
        let bad = json!({ "emailAddress": "nobody at home" });
        world.request(with(lead(name), bad)).await;
    }
    world.run_to_the_end().await;
    let withdrawn = json!({ "crmStatus": "NOT_SENT" });
    world.edit("Ada", withdrawn);
    let caller = Caller::of(&world.url);
    let (code, out, err) = world.while_workers_run(caller.run(&["send", "--failed"])).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.contains("lead-ada: Cancelled: its crmStatus was changed in Sanity\n"),
        "{out}"
    );
    assert!(
        out.ends_with("2 leads accepted, 1 skipped: crmStatus was changed in Sanity\n"),
        "{out}"
    );
    world.run_to_the_end().await;
    assert_eq!(
        (world.state("Ada").await, world.state("Grace").await),
        ("cancelled", "failed")
    );
    world.finish().await;
}

#[actix_web::test]
async fn more_than_twenty_need_a_yes() {
    let world = World::new().await;
    let names: Vec<String> = (0..21).map(|n| format!("Crowd{n}")).collect();
    let ids: Vec<String> = names.iter().map(|name| id(name)).collect();
    for name in &names {
        world.sanity.model().seed(lead(name)).unwrap();
    }
    let caller = Caller::of(&world.url);
    let args: Vec<&str> = ["send"].into_iter().chain(ids.iter().map(String::as_str)).collect();
    let mut terminal = Terminal::run(caller.command(&args));
    terminal.until_it_shows("Send 21 leads to Bigin? [y/N]").await;
    terminal.type_in("\n");
    assert_eq!(terminal.ended().await, 1);
    assert_eq!(world.ledger().await.created, 0);
    let mut terminal = Terminal::run(caller.command(&args));
    terminal.until_it_shows("[y/N]").await;
    terminal.type_in("y\n");
    assert_eq!(world.while_workers_run(terminal.ended()).await, 0);
    assert_eq!(world.ledger().await.created, 21);
    let sure: Vec<&str> = args.iter().copied().chain(["--yes"]).collect();
    let mut terminal = Terminal::run(caller.command(&sure));
    assert_eq!(terminal.ended().await, 0);
    assert!(!terminal.text().contains("[y/N]"), "{}", terminal.text());
    assert_eq!(caller.run(&args).await.0, 0, "a script needs no confirmation");
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn every_error_has_its_message() {
    let world = World::new().await;
    let off = World::with(|settings| settings.admin_token = None).await;
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let said = async |caller: &Caller, command: Command| {
        let (code, out, err) = caller.finish(command).await;
        assert_eq!(out, "");
        format!("{code} {err}")
    };
    let asked = async |url: &str| {
        let caller = Caller::of(url);
        said(&caller, caller.command(&["send", "lead-ada"])).await
    };
    let answered = async |status: &str, body: &str| {
        let rest = format!("content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        asked(&canned(&format!("HTTP/1.1 {status}\r\n{rest}"))).await
    };
    insta::assert_snapshot!(asked(&nobody).await, @"1 bigin-sync: no service answers at http://SERVICE: start it (`bigin-sync serve`), or set --url or BIGIN_SYNC_URL to its URL");
    let caller = Caller::of(&world.url);
    let mut command = caller.command(&["send", "lead-ada"]);
    command.env("ADMIN_TOKEN", "another-one");
    insta::assert_snapshot!(said(&caller, command).await, @"1 bigin-sync: the service at http://SERVICE rejected the admin token; use the same ADMIN_TOKEN as the service");
    let mut command = caller.command(&["send", "lead-ada"]);
    command.env_remove("ADMIN_TOKEN");
    insta::assert_snapshot!(said(&caller, command).await, @"2 bigin-sync: ADMIN_TOKEN is missing: set it to the service's token in the environment or .env, or name a file with ADMIN_TOKEN_FILE");
    insta::assert_snapshot!(asked(&off.url).await, @"1 bigin-sync: the service at http://SERVICE answered: The API is off: set ADMIN_TOKEN to turn it on.");
    insta::assert_snapshot!(answered("200 OK", "<html>").await, @"1 bigin-sync: the server at http://SERVICE is not bigin-sync (HTTP 200): set --url or BIGIN_SYNC_URL to the service's URL");
    insta::assert_snapshot!(answered("200 OK", "{}").await, @"1 bigin-sync: the server at http://SERVICE is not bigin-sync (HTTP 200): set --url or BIGIN_SYNC_URL to the service's URL");
    insta::assert_snapshot!(answered("404 Not Found", "").await, @"1 bigin-sync: the server at http://SERVICE is not bigin-sync (HTTP 404): set --url or BIGIN_SYNC_URL to the service's URL");
    insta::assert_snapshot!(answered("301 Moved\r\nlocation: https://example.org", "").await, @"1 bigin-sync: http://SERVICE redirects (HTTP 301), and the admin token is not sent along: set --url or BIGIN_SYNC_URL to the target, often the same URL with https");
    insta::assert_snapshot!(answered("502 Bad Gateway", "").await, @"1 bigin-sync: the proxy at http://SERVICE cannot reach the service (HTTP 502): is it running?");
    let broken = canned("HTTP/1.1 200 OK\r\ncontent-length: 99\r\nconnection: close\r\n\r\n{");
    insta::assert_snapshot!(asked(&broken).await, @"1 bigin-sync: http://SERVICE closed the connection before its answer was complete: is the service restarting?");
    for url in ["localhost:8080", "http://me:secret@localhost"] {
        let command = caller.command(&["send", "lead-ada", "--url", url]);
        let said = said(&caller, command).await;
        assert!(said.contains("--url") && !said.contains("secret"), "{said}");
    }
    // It looks like another machine's address, and no program listens there.
    insta::assert_snapshot!(asked("http://0.0.0.0:9").await, @r"
    1 bigin-sync: warning: sending the admin token to 0.0.0.0 unencrypted; use https
    bigin-sync: no service answers at http://SERVICE: start it (`bigin-sync serve`), or set --url or BIGIN_SYNC_URL to its URL
    ");
    off.finish().await;
    world.finish().await;
}

#[actix_web::test]
async fn finds_token_and_address_in_settings() {
    let world = World::new().await;
    seed(&world, &["Ada"]);
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("token", &format!("{ADMIN_TOKEN}\n"));
    write(".env", "ADMIN_TOKEN_FILE=token\n");
    let send = async |name: &str, value: &str, args: &[&str]| {
        let mut command = binary();
        command
            .args(["send", "lead-ada"])
            .args(args)
            .env_clear()
            .env(name, value)
            .current_dir(folder.path());
        world.while_workers_run(run_beside(command)).await.0
    };
    write("bigin-sync.toml", &format!("bigin_sync_url = {:?}\n", world.url));
    assert_eq!(
        send("PORT", "9", &[]).await,
        0,
        "BIGIN_SYNC_URL overrides the listening address"
    );
    let port = world.url.rsplit(':').next().unwrap();
    write("bigin-sync.toml", &format!("listen_addr = \"0.0.0.0:{port}\"\n"));
    assert_eq!(send("TAG_DELAY", "1s", &[]).await, 0, "the address in listen_addr");
    write("bigin-sync.toml", "");
    assert_eq!(send("PORT", port, &[]).await, 0);
    let url = ["--url", world.url.as_str()];
    assert_eq!(send("BIGIN_SYNC_URL", "http://127.0.0.1:9", &url).await, 0);
    let no_token = [&url[..], &["--env-file", "/dev/null"]].concat();
    assert_eq!(send("PORT", port, &no_token).await, 2);
    world.run_to_the_end().await;
    world.finish().await;
}
