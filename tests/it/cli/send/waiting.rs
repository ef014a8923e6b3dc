//! `bigin-sync send --wait`: progress until every lead has ended.

use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::process::{Stage, eventually};
use crate::terminal::Terminal;
use crate::world::{World, id, lead, with};

use super::{Caller, carry, seed, without_number};

/// Passes connections on to wherever the service is at the moment.
struct Front {
    url: String,
    behind: Arc<Mutex<Option<String>>>,
}

impl Front {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let behind: Arc<Mutex<Option<String>>> = Arc::default();
        let lookup = Arc::clone(&behind);
        std::thread::spawn(move || {
            for caller in listener.incoming().flatten() {
                let address = lookup.lock().unwrap().clone();
                // Without a target the connection is closed.
                if let Some(service) = address.and_then(|address| TcpStream::connect(address).ok()) {
                    pipe(&caller, &service);
                    pipe(&service, &caller);
                }
            }
        });
        Self { url, behind }
    }

    fn lead_to(&self, url: Option<&str>) {
        *self.behind.lock().unwrap() = url.map(|url| url.replace("http://", ""));
    }
}

fn pipe(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
}

#[actix_web::test]
async fn shows_every_change_and_end() {
    let world = World::new().await;
    seed(&world, &["Ada"]);
    let bad = with(lead("Grace"), json!({ "emailAddress": "nobody at home" }));
    world.sanity.model().seed(bad).unwrap();
    let caller = Caller::of(&world.url);
    let mut waiting = caller.start(&["send", "--wait", "lead-ada", "lead-grace", "lead-nobody"]);
    eventually("all are requested", || async {
        (world.ledger().await.created == 3).then_some(())
    })
    .await;
    carry(&world, &mut waiting).await;
    let (code, out, err) = waiting.result();
    assert_eq!(code, 1);
    insta::assert_snapshot!(err, @"bigin-sync: 2 of 3 leads not sent");
    // The order of the three differs.
    let mut lines: Vec<&str> = out.lines().map(without_number).collect();
    lines.sort_unstable();
    insta::assert_snapshot!(lines.join("\n"), @r"
    3 leads: 1 Sent, 1 Failed, 1 Lead deleted
    lead-ada: Queued
    lead-ada: Sent
    lead-ada: Waiting to tag
    lead-ada: Writing back
    lead-grace: Failed: Bigin rejected Email: not an email address
    lead-grace: Queued
    lead-nobody: Lead deleted: no published lead in Sanity has this ID
    lead-nobody: Queued
    ");
    world.finish().await;
}

#[actix_web::test]
async fn timeout_lists_what_is_in_progress() {
    let world = World::new().await;
    seed(&world, &["Ada"]);
    world.store().set_paused(true).await.unwrap();
    let caller = Caller::of(&world.url);
    let (code, out, err) = caller.run(&["send", "--wait=1s", "lead-ada"]).await;
    assert_eq!(code, 1);
    insta::assert_snapshot!(out, @r"
    lead-ada: Queued (sync 1)
    1 lead: 1 Queued
    ");
    insta::assert_snapshot!(err.lines().last().unwrap(), @"bigin-sync: timed out with 1 of 1 lead in progress; the service finishes them, `bigin-sync status` shows their state");
    world.store().set_paused(false).await.unwrap();
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn continues_after_service_restart() {
    let mut stage = Stage::new().await;
    stage.env.insert("TAG_DELAY".into(), "3s".into());
    for name in ["Ada", "Grace"] {
        stage.sanity.model().seed(lead(name)).unwrap();
    }
    let front = Front::new();
    let service = stage.serve().await;
    front.lead_to(Some(&service.url));
    let caller = Caller::of(&front.url);
    let mut waiting = caller.start(&["send", "--wait", "lead-ada", "lead-grace"]);
    eventually("both are in Bigin", || async {
        (stage.bigin.model().contacts().count() == 2).then_some(())
    })
    .await;
    front.lead_to(None);
    service.kill();
    let service = stage.serve().await;
    // Everything happens while the program cannot see it.
    for name in ["lead-ada", "lead-grace"] {
        stage.until_status(name, "SENT").await;
    }
    eventually("the program has noticed", || async {
        waiting.says().contains("; retrying").then_some(())
    })
    .await;
    front.lead_to(Some(&service.url));
    eventually("the program has waited", || {
        let over = waiting.is_over();
        async move { over.then_some(()) }
    })
    .await;
    let (code, out, err) = waiting.result();
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(out.lines().last(), Some("2 leads: 2 Sent"));
    for name in ["lead-ada", "lead-grace"] {
        assert_eq!(out.matches(&format!("{name}: Sent")).count(), 1, "{out}");
        assert_eq!(stage.says(name, "crmStatus").as_deref(), Some("SENT"));
    }
    service.stop().await;
    stage.finish().await;
}

#[actix_web::test]
async fn rows_count_down_and_show_problems() {
    let world = World::new().await;
    seed(&world, &["Ada", "Grace"]);
    world.store().set_paused(true).await.unwrap();
    let caller = Caller::of(&world.url);
    let mut terminal = Terminal::run(caller.command(&["send", "--wait", "lead-ada", "lead-grace"]));
    eventually("both are requested", || async {
        (world.ledger().await.created == 2).then_some(())
    })
    .await;
    terminal
        .until_it_shows("bigin-sync: workers: sending is paused by the operator")
        .await;
    world.store().set_paused(false).await.unwrap();
    world.run_due().await;
    terminal.until_it_shows("Waiting to tag (").await;
    world.run_to_the_end().await;
    assert_eq!(terminal.ended().await, 0);
    terminal.until_it_shows("✓ Sent").await;
    terminal.until_it_shows("2 leads: 2 Sent").await;
    world.finish().await;
}

#[actix_web::test]
async fn crowd_has_one_row() {
    let world = World::new().await;
    let names: Vec<String> = (0..13).map(|n| format!("Crowd{n}")).collect();
    let ids: Vec<String> = names.iter().map(|name| id(name)).collect();
    for name in &names[1..] {
        world.sanity.model().seed(lead(name)).unwrap();
    }
    let caller = Caller::of(&world.url);
    let args: Vec<&str> = ["send", "--wait"]
        .into_iter()
        .chain(ids.iter().map(String::as_str))
        .collect();
    let mut terminal = Terminal::run(caller.command(&args));
    eventually("all are requested", || async {
        (world.ledger().await.created == 13).then_some(())
    })
    .await;
    terminal.until_it_shows("0/13").await;
    world.run_to_the_end().await;
    assert_eq!(terminal.ended().await, 1);
    terminal
        .until_it_shows("lead-crowd0: Lead deleted: no published lead in Sanity has this ID")
        .await;
    terminal.until_it_shows("13/13").await;
    terminal.until_it_shows("13 leads: 12 Sent, 1 Lead deleted").await;
    world.finish().await;
}
