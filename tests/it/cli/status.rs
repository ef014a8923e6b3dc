//! `bigin-sync status` at a terminal, in scripts and as a container's health check.

use std::net::TcpListener;
use std::time::Duration;

use bigin_sync::fake::bigin::{CallKind, Fault};
use serde_json::{Value, json};

use crate::cli::{Caller, canned, run_beside};
use crate::process::binary;
use crate::terminal::Terminal;
use crate::world::{ADMIN_TOKEN, World, lead, secs, with};

#[actix_web::test]
async fn all_well_fits_a_screen() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    world.clock.advance(secs(30));
    world.request(lead("Grace")).await;
    world.run_due().await;
    world.clock.advance(secs(10));
    let caller = Caller::of(&world.url);
    let (code, out, err) = caller.run(&["status"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    insta::assert_snapshot!(out, @r"
    bigin-sync at http://SERVICE, 2026-11-22 10:01:40 UTC

      Everything is working.

      Webhooks       last received 10 s ago
      In progress    1 Waiting to tag
      Longest wait   lead-grace, Waiting to tag, for 10 s
      Last sent      lead-ada, 40 s ago
      Last hour      1 sent, 0 failed
      Last 24 hours  1 sent, 0 failed
      Bigin credits  about 4 in the last 24 hours
      Access token   granted 100 s ago
    ");
    let (code, out, _) = caller.run(&["status", "--json"]).await;
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &said["ok"], &said["lastSent"]["leadId"]),
        (0, &json!(true), &json!("lead-ada"))
    );
    assert_eq!(said["health"]["oldestWaiting"]["leadId"], json!("lead-grace"));
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn action_needed_comes_first() {
    let world = World::new().await;
    for name in ["Ada", "Grace"] {
        let bad = json!({ "emailAddress": "nobody at home" });
        world.request(with(lead(name), bad)).await;
    }
    world.run_to_the_end().await;
    world.store().set_paused(true).await.unwrap();
    let caller = Caller::of(&world.url);
    let (code, out, err) = caller.run(&["status"]).await;
    assert_eq!((code, err.as_str()), (1, ""));
    insta::assert_snapshot!(out, @r"
    bigin-sync at http://SERVICE, 2026-11-22 10:00:00 UTC

      Needs attention:
      - workers: sending is paused by the operator; webhooks are still stored (paused); resume sending on the dashboard or with POST /api/resume
      - 2 leads failed: fix the causes below, then run `bigin-sync send --failed`

      Webhooks       last received 0 s ago
      In progress    none
      Longest wait   none
      Last sent      none
      Last hour      0 sent, 2 failed
      Last 24 hours  0 sent, 2 failed
      Bigin credits  about 3 in the last 24 hours
      Access token   granted 0 s ago

      2 leads failed:
           2  Bigin rejected Email: not an email address
    ");
    let (code, out, _) = caller.run(&["status", "--json"]).await;
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, said["needs"].as_array().map(Vec::len)), (1, Some(2)));
    world.finish().await;
}

/// Every lead arrives all the same, a minute later.
#[actix_web::test]
async fn rejected_webhooks_are_exit_code() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    let caller = Caller::of(&world.url);
    assert_eq!(caller.run(&["status"]).await.0, 0);

    let good = world.sanity.webhook_secret().to_owned();
    world.sanity.model().webhooks.secret = "another secret".to_owned();
    world.request(lead("Grace")).await;
    let (code, out, _) = caller.run(&["status"]).await;
    assert_eq!(code, 1, "{out}");
    assert!(
        out.contains("- sanity: webhooks are rejected for a wrong signature (1 since the last accepted one)"),
        "{out}"
    );
    assert!(
        out.contains("Webhooks       last received 60 s ago, 1 rejected\n"),
        "{out}"
    );
    world.clock.advance(secs(60));
    let round = world.reconcile();
    assert_eq!(round.await.unwrap(), Some(1));
    world.run_to_the_end().await;
    world.clock.advance(secs(7200));
    let (code, out, _) = caller.run(&["status"]).await;
    assert_eq!(code, 1, "as long as none is accepted: {out}");
    assert!(out.contains(" h ago, 1 rejected, 1 missed\n"), "{out}");

    world.request(lead("Barbara")).await;
    world.clock.advance(secs(60));
    assert_eq!(world.reconcile().await.unwrap(), Some(1));
    world.sanity.model().webhooks.secret = good;
    world.request(lead("Edsger")).await;
    world.run_to_the_end().await;
    let (code, out, _) = caller.run(&["status"]).await;
    assert_eq!(
        code, 0,
        "the first accepted one ends it, however recent the last rejection is: {out}"
    );
    world.finish().await;
}

#[actix_web::test]
async fn missed_webhooks_are_exit_code() {
    let mut world = World::new().await;
    for (name, expected) in [("Ada", 0), ("Grace", 0), ("Edsger", 1)] {
        world.sanity.model().webhooks.lose_next(1);
        world.request(lead(name)).await;
        world.clock.advance(secs(60));
        let round = world.reconcile();
        assert_eq!(round.await.unwrap(), Some(1));
        world.run_to_the_end().await;
        let (code, out, _) = Caller::of(&world.url).run(&["status"]).await;
        assert_eq!(code, expected, "{out}");
    }
    world.restart().await;
    let (code, out, _) = Caller::of(&world.url).run(&["status"]).await;
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("- sanity: the last 3 webhooks never arrived"), "{out}");
    world.clock.advance(secs(1));
    world.request(lead("Barbara")).await;
    world.run_to_the_end().await;
    assert_eq!(Caller::of(&world.url).run(&["status"]).await.0, 0);
    world.finish().await;
}

#[actix_web::test]
async fn checks_unavailable_service() {
    let world = World::with(|settings| settings.send_wait = secs(10)).await;
    world.fail_bigin(
        CallKind::Upsert,
        Fault::RateLimited {
            retry_after: Some(86_400),
        },
        2,
    );
    world.request(lead("Ada")).await;
    world.run_due().await;
    let caller = Caller::of(&world.url);
    let (code, out, _) = caller.run(&["status"]).await;
    assert_eq!(code, 1);
    let hint = "bigin is unavailable: next attempt at 10:00:00 UTC; `bigin-sync check bigin` retries it now";
    assert!(out.contains(hint), "{out}");
    let check = async || world.while_workers_run(caller.run(&["check", "bigin"])).await;
    let (code, out, err) = check().await;
    assert_eq!((code, out.as_str()), (1, ""));
    insta::assert_snapshot!(err, @r"bigin-sync: bigin is still unavailable: Bigin is rate limiting us (TOO_MANY_REQUESTS); no action needed: calls are retried automatically at a slower pace; next attempt at 10:00:00 UTC");
    assert_eq!(check().await, (0, "bigin is reachable.\n".to_owned(), String::new()));
    let (code, _, err) = caller.run(&["check", "nothing"]).await;
    assert!(
        code == 2 && err.contains("[possible values: bigin, zoho_accounts, sanity]"),
        "{err}"
    );
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn unwritable_store_is_not_ready() {
    let world = World::new().await;
    let blocker = rusqlite::Connection::open(world.folder().join("bigin-sync.db")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let caller = Caller::of(&world.url);
    let (code, out, err) = caller.run(&["status", "--ready"]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(!err.is_empty(), "it says why");
    let (code, out, _) = caller.run(&["status"]).await;
    assert_eq!(code, 1);
    assert!(out.contains("NOT READY: webhooks cannot be stored"), "{out}");
    blocker.execute_batch("ROLLBACK").unwrap();
    // One check answers all that ask within a second.
    world.clock.advance(secs(1));
    assert_eq!(caller.run(&["status", "--ready"]).await.0, 0);
    world.finish().await;
}

#[actix_web::test]
async fn health_check_needs_no_token() {
    let world = World::new().await;
    // A degraded service still stores webhooks.
    world.store().set_paused(true).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let port = world.url.rsplit(':').next().unwrap();
    let ready = async |name: &str, value: &str| {
        let mut command = binary();
        command
            .args(["status", "--ready"])
            .env_clear()
            .current_dir(folder.path());
        command.env(name, value);
        run_beside(command).await
    };
    let well = (0, String::new(), String::new());
    assert_eq!(ready("PORT", port).await, well, "where a host lets it listen");
    assert_eq!(ready("LISTEN_ADDR", &format!("0.0.0.0:{port}")).await, well);
    write(".env", "ADMIN_TOKEN_FILE=/nonexistent\nno line\n");
    write("bigin-sync.toml", "nonsense = ");
    assert_eq!(ready("BIGIN_SYNC_URL", &world.url).await, well, "whatever is in files");
    world.store().set_paused(false).await.unwrap();
    world.finish().await;
}

#[actix_web::test]
async fn health_check_fails_without_service() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Its backlog takes the connection, and that is all.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_at = silent.local_addr().unwrap();
    let ready = async |url: &str| {
        let (code, out, err) = Caller::of(url).run(&["status", "--ready"]).await;
        assert_eq!((code, out.as_str()), (1, ""));
        err
    };
    insta::assert_snapshot!(ready(&format!("http://{nobody}")).await, @"bigin-sync: no service answers at http://SERVICE: start it (`bigin-sync serve`), or set --url or BIGIN_SYNC_URL to its URL");
    insta::assert_snapshot!(ready(&format!("http://{silent_at}")).await, @"bigin-sync: http://SERVICE did not answer within 2.5s: see the service's log");
    let body = r#"{"status":"unavailable","degraded":[{"remote":"store","code":"failed","what":"the database failed","action":"read the log"}]}"#;
    let unavailable = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    insta::assert_snapshot!(ready(&canned(&unavailable)).await, @"bigin-sync: webhooks cannot be stored: store: the database failed (failed); read the log");
    let page = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>";
    insta::assert_snapshot!(ready(&canned(page)).await, @"bigin-sync: the server at http://SERVICE is not bigin-sync (HTTP 200): set --url or BIGIN_SYNC_URL to the service's URL");
}

#[actix_web::test]
async fn lead_shows_its_timeline() {
    // So short that the next attempt is in the same second with any jitter.
    let world = World::with(|settings| settings.retry.base_delay = Duration::from_millis(1)).await;
    world.fail_bigin(CallKind::Upsert, Fault::RecordLocked, 1);
    world.request(lead("Ada")).await;
    world.run_due().await;
    let caller = Caller::of(&world.url);
    let (code, out, _) = caller.run(&["status", "lead-ada"]).await;
    assert_eq!(code, 0);
    insta::assert_snapshot!(out, @r"
    lead-ada: Queued

      Sync           1, created 2026-11-22 10:00:00 UTC
      Attempts       1 failed in a row. Last error: Bigin did not accept the lead (RECORD_LOCKED)
      Next attempt   2026-11-22 10:00:00 UTC

      2026-11-22 10:00:00 UTC  Requested by an editor in Sanity (webhook)
      2026-11-22 10:00:00 UTC  Attempt 1 failed: Bigin did not accept the lead (RECORD_LOCKED)
    ");
    world.run_to_the_end().await;
    let contact = world.sync("Ada").await.sync.state.contact().unwrap().to_string();
    let (code, out, _) = caller.run(&["status", "lead-ada"]).await;
    assert_eq!(code, 0);
    insta::assert_snapshot!(out.replace(&contact, "CONTACT"), @r"
    lead-ada: Sent

      Sync           1, created 2026-11-22 10:00:00 UTC
      Contact        CONTACT, created by this sync

      2026-11-22 10:00:00 UTC  Requested by an editor in Sanity (webhook)
      2026-11-22 10:00:00 UTC  Attempt 1 failed: Bigin did not accept the lead (RECORD_LOCKED)
      2026-11-22 10:01:00 UTC  Created a contact in Bigin
      2026-11-22 10:02:00 UTC  Tagged the contact in Bigin
      2026-11-22 10:02:00 UTC  Wrote SENT to Sanity
    ");
    let (code, out, _) = caller.run(&["status", "lead-ada", "--json"]).await;
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &said["sync"]["state"]), (0, &json!("sent")));
    world.finish().await;
}

#[actix_web::test]
async fn failed_and_unknown_leads_are_exit_code() {
    let world = World::new().await;
    for _ in 0..2 {
        let bad = json!({ "emailAddress": "nobody at home" });
        world.request(with(lead("Ada"), bad)).await;
        world.run_to_the_end().await;
    }
    let caller = Caller::of(&world.url);
    let (code, out, _) = caller.run(&["status", "lead-ada"]).await;
    assert_eq!(code, 1);
    insta::assert_snapshot!(out, @r"
    lead-ada: Failed: Bigin rejected Email: not an email address

      Sync           2, created 2026-11-22 10:00:00 UTC

      2026-11-22 10:00:00 UTC  Requested by an editor in Sanity (webhook)
      2026-11-22 10:00:00 UTC  Bigin rejected Email: not an email address
      2026-11-22 10:00:00 UTC  Wrote FAILED and the reason to Sanity

      1 earlier sync.
    ");
    let (code, out, _) = caller.run(&["status", "lead-nobody"]).await;
    assert_eq!(code, 1);
    insta::assert_snapshot!(out, @r"
    lead-nobody: no sync found. The lead was never requested, or its syncs were deleted after the retention period (RETENTION).

      To send it, run `bigin-sync send lead-nobody`, or publish it with crmStatus REQUESTED.
    ");
    let (code, out, err) = caller.run(&["status", "drafts.lead-ada"]).await;
    assert_eq!((code, out.as_str()), (2, ""));
    insta::assert_snapshot!(err, @r#"bigin-sync: "drafts.lead-ada" is not the id of a published document: 1 to 128 letters, digits, '-', '_' and '.', not beginning with "drafts." or "versions.""#);
    world.finish().await;
}

#[actix_web::test]
async fn watch_redraws_until_interrupt() {
    let world = World::new().await;
    let caller = Caller::of(&world.url);
    let mut terminal = Terminal::run(caller.command(&["status", "--watch"]));
    terminal.until_it_shows("Everything is working.").await;
    world.store().set_paused(true).await.unwrap();
    terminal.until_it_shows("paused by the operator").await;
    terminal.interrupt();
    assert_eq!(terminal.ended().await, 0);
    assert!(!terminal.text().contains(ADMIN_TOKEN));
    let (code, out, err) = caller.run(&["status", "--watch"]).await;
    assert_eq!((code, out.as_str()), (2, ""), "no terminal");
    insta::assert_snapshot!(err, @"bigin-sync: --watch needs a terminal: omit it, or use --json");
    world.store().set_paused(false).await.unwrap();
    world.finish().await;
}
