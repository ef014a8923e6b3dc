//! The list of syncs, the page of a failure and that of one sync.

use bigin_sync::store::Stage;
use serde_json::json;

use crate::world::{World, lead, secs, with};

use super::{BAD_EMAIL, BAD_EMAIL_KEY, Operator, bad};

#[actix_web::test]
async fn filters_by_lead_contact_state_and_reason() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.request(bad("Grace")).await;
    world.request(with(lead("Digits"), json!({ "_id": "12345" }))).await;
    world.run_to_the_end().await;
    let operator = Operator::new(&world).await;
    let contact = world.lead_says("Ada", "biginContactId").unwrap();
    let found = async |query: &str| {
        let html = operator.get(&format!("/syncs?{query}")).await.html;
        let rows = html.split("<tr id=\"sync-").skip(1);
        rows.map(|row| row.split('"').next().unwrap().parse::<i64>().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(found("").await, [3, 2, 1]);
    assert_eq!(found("q=lead-ada").await, [1]);
    assert_eq!(found("q=+drafts.lead-ada+").await, [1], "as copied from Studio");
    assert_eq!(found(&format!("q={contact}")).await, [1]);
    assert_eq!(found("q=12345").await, [3], "a lead whose id looks like a contact's");
    assert_eq!(found("q=LEAD-").await, [2, 1], "a part, in whatever case");
    assert_eq!(found("q=d_a").await, [] as [i64; 0], "which is no pattern");
    assert_eq!(found(&format!("q={}", &contact[5..])).await, [1]);
    assert_eq!(found("state=failed").await, [2]);
    assert_eq!(found("state=failed&q=lead-ada").await, [] as [i64; 0]);
    assert_eq!(found(&format!("reason={BAD_EMAIL_KEY}")).await, [2]);
    let nothing = operator.get("/syncs?q=lead-nobody").await;
    nothing.says("No sync has a lead or contact ID that contains lead-nobody.");
    operator
        .get("/syncs?q=lead-nobody&state=failed")
        .await
        .says("No syncs match.");
    for (query, words) in [
        ("q=not+an+id", "Search by lead or contact ID only"),
        ("q=ada@example.org", "Names and emails aren't stored here"),
        ("state=lost", "There is no state"),
    ] {
        let refused = operator.get(&format!("/syncs?{query}")).await;
        assert_eq!(refused.status, 400);
        refused.says(words);
    }
    let list = operator.get("/syncs").await.html;
    assert!(
        list.contains("https://example.org/studio/intent/edit/id=lead-ada;type=dbrLead"),
        "{list}"
    );
    assert!(
        list.contains(&format!("https://bigin.zoho.eu/bigin/Home#/contacts/{contact}")),
        "{list}"
    );
    world.finish().await;
}

#[actix_web::test]
async fn list_has_next_page() {
    let world = World::new().await;
    for number in 0..53 {
        world.request(lead(&format!("Ada{number}"))).await;
    }
    let operator = Operator::new(&world).await;
    let first = operator.get("/syncs?state=requested").await;
    assert_eq!(first.html.matches("<tr id=").count(), 50);
    let address = "/syncs?state=requested&#38;before=4";
    assert!(first.html.contains(address), "{}", first.html);
    let second = operator.get("/syncs?state=requested&before=4").await;
    assert_eq!(second.html.matches("<tr id=").count(), 3);
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn deleted_syncs_differ_from_unknown_lead() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    let contact = world.lead_says("Ada", "biginContactId").unwrap();
    world.clock.advance(secs(60));
    assert_ne!(world.store().delete_old(secs(1), 100).await.unwrap(), 0);
    let operator = Operator::new(&world).await;
    for id in ["lead-ada", &contact] {
        let page = operator.get(&format!("/syncs?q={id}")).await;
        page.says("The syncs of lead lead-ada were deleted after the retention period (RETENTION).");
        page.says(&format!("Its contact in Bigin is {contact}."));
    }
    operator
        .get("/syncs?q=lead-grace")
        .await
        .says("No sync has a lead or contact ID that contains lead-grace.");
    world.finish().await;
}

#[actix_web::test]
async fn page_shows_every_attempt() {
    let world = World::new().await;
    world.fail_bigin(
        bigin_sync::fake::bigin::CallKind::Upsert,
        bigin_sync::fake::bigin::Fault::RecordLocked,
        1,
    );
    world.request(lead("Ada")).await;
    world.run(Stage::Upsert).await;
    let operator = Operator::new(&world).await;
    let page = operator.get("/syncs/1").await;
    page.says("Attempt 1 failed: ");
    page.says("while sending the data · next try 22 Nov 2026, 10:00:0");
    page.says("Retries stop after 1 day of failures");
    page.says("Last failed attempt 22 Nov 2026, 10:00:00");
    page.says("Retry now");
    operator.press("/syncs/1/retry", &[]).await.says("; being retried.");
    world.run_to_the_end().await;
    let page = operator.get("/syncs/1").await;
    page.says("Created a contact in Bigin");
    page.says("Tagged the contact in Bigin");
    page.says("Wrote SENT to Sanity");
    page.says("· took 0 ms");
    world.finish().await;
}

#[actix_web::test]
async fn failure_says_how_to_fix_and_retries() {
    let world = World::new().await;
    world.request(bad("Ada")).await;
    world.run_to_the_end().await;
    let operator = Operator::new(&world).await;
    let page = operator.get("/syncs/1").await;
    page.says(&format!("Failed {BAD_EMAIL}"));
    page.says("How to fix it: Correct the email address of the lead in Sanity");
    page.says("Wrote FAILED and the reason to Sanity");
    let good = json!({ "emailAddress": "ada@example.org" });
    world.edit("Ada", good);
    let tried = operator.press("/syncs/1/retry", &[]).await;
    tried.says("It is being retried.");
    tried.says("Retried from the dashboard or API");
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    let first = operator.get("/syncs/1").await;
    first.says("Sent again since: see sync 2 .");
    assert!(!first.html.contains("id=\"retry\""), "that one can be tried again");
    let list = operator.get("/syncs").await;
    list.says("Retried: sync 2");
    list.says(&format!("Reason any {BAD_EMAIL}"));
    world.finish().await;
}

#[actix_web::test]
async fn retry_of_withdrawn_warns_first() {
    let world = World::with(|settings| settings.send_wait = secs(60)).await;
    world.request(bad("Ada")).await;
    world.run_to_the_end().await;
    let edit = json!({ "emailAddress": "ada@example.org", "crmStatus": "NOT_SENT" });
    world.edit("Ada", edit);
    let operator = Operator::new(&world).await;
    let press = operator.press("/syncs/1/retry", &[]);
    let asked = world.while_workers_run(press).await;
    asked.says("Nothing was sent: the lead was withdrawn in Sanity.");
    asked.says("Send anyway");
    assert_eq!(world.contact_count(), 0);
    operator.press("/syncs/2/retry", &[("force", "true")]).await;
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}

#[actix_web::test]
async fn bulk_retry_takes_one_reason() {
    let world = World::new().await;
    for name in ["Ada", "Grace"] {
        world.request(bad(name)).await;
    }
    world
        .request(with(lead("Edsger"), json!({ "address": "x".repeat(300) })))
        .await;
    world.run_to_the_end().await;
    let operator = Operator::new(&world).await;
    let failures = operator.get("/failures").await;
    failures.says("3 leads failed and haven't been retried.");
    failures.says(&format!("2 leads {BAD_EMAIL}"));
    failures.says("Shorten the field in Sanity");
    for fields in [&[][..], &[("reason", BAD_EMAIL_KEY), ("all", "true")]] {
        assert_eq!(
            operator.post("/syncs/retry", fields).await.status,
            400,
            "nothing by accident"
        );
    }
    let shown = operator.post("/syncs/retry", &[("all", "perhaps")]).await;
    assert_eq!(shown.status, 400);
    shown.says("The form is not understood. Nothing was done");
    let tried = operator.press("/syncs/retry", &[("reason", BAD_EMAIL_KEY)]).await;
    tried.says("2 leads queued for retry. Leads that were withdrawn in Sanity are skipped; those that fail again reappear here. Show them");
    assert_eq!(world.ledger().await.in_progress, 2);
    world.run_to_the_end().await;
    let tried = operator.press("/syncs/retry", &[("all", "true")]).await;
    tried.says("3 leads queued for retry.");
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn failure_is_dismissed() {
    let world = World::new().await;
    world.request(bad("Ada")).await;
    world.run_to_the_end().await;
    let operator = Operator::new(&world).await;
    assert!(operator.get("/syncs/1").await.html.contains("id=\"dismiss\""));
    let dismissed = operator.press("/syncs/1/dismiss", &[]).await;
    dismissed.says("The failure is dismissed. If the lead fails again, it reappears among the failures.");
    dismissed.says("Dismissed 22 Nov 2026, 10:00:00 UTC");
    dismissed.says("The failure was dismissed");
    assert!(!dismissed.html.contains("id=\"dismiss\""));
    operator.get("/failures").await.says("No failed leads.");
    operator.get("/").await.says("Everything is working.");
    world.request(bad("Ada")).await;
    world.run_to_the_end().await;
    operator
        .get("/failures")
        .await
        .says("1 lead failed and hasn't been retried.");
    world.finish().await;
}

#[actix_web::test]
async fn cancelled_page_says_what_follows() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run(Stage::Upsert).await;
    let operator = Operator::new(&world).await;
    operator.get("/syncs/1").await.says("Cancel this sync");
    let cancelled = operator.press("/syncs/1/cancel", &[]).await;
    cancelled.says("Sync cancelled.");
    cancelled.says("As long as it says REQUESTED in Sanity");
    cancelled.says("stays there, untagged.");
    let again = operator.post("/syncs/1/cancel", &[]).await;
    assert_eq!(again.status, 409);
    again.says("The sync has finished: there is nothing to cancel.");

    world.request(lead("Grace")).await;
    world.run(Stage::Upsert).await;
    let status = json!({ "crmStatus": "NOT_SENT" });
    world.edit("Grace", status);
    world.run_to_the_end().await;
    let withdrawn = operator.get("/syncs/2").await;
    withdrawn.says("Its crmStatus in Sanity was changed");
    // The contact it was put into is still named, and found.
    let model_contact = world
        .bigin
        .model()
        .contact_by_email("grace@example.org")
        .unwrap()
        .0
        .to_owned();
    withdrawn.says(&format!("Contact {model_contact}"));
    operator
        .get(&format!("/syncs?q={model_contact}"))
        .await
        .says("lead-grace");

    // Bigin's automation has begun, though the result is not written yet.
    world.request(lead("Edith")).await;
    world.run(Stage::Upsert).await;
    world.clock.advance(secs(15));
    world.run(Stage::Tag).await;
    let cancelled = operator.press("/syncs/3/cancel", &[]).await;
    cancelled.says("stays there, tagged.");
    world.finish().await;
}
