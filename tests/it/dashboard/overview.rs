//! The overview page.

use crate::world::{World, lead, secs};

use super::{BAD_EMAIL, Operator, bad};

// --- What they say ---------------------------------------------------------------------------------------------------

#[actix_web::test]
async fn new_installation() {
    let world = World::new().await;
    let operator = Operator::new(&world).await;
    let overview = operator.get("/").await;
    overview.says("Everything is working. No leads are waiting.");
    overview.says("No failed leads.");
    overview.says("Bigin where leads go Not called yet");
    overview.says("Webhooks: none received yet; none rejected or missed.");
    overview.says("No access token was granted in the last day.");
    operator.get("/syncs").await.says("No syncs yet.");
    operator.get("/failures").await.says("No failed leads.");
    world.finish().await;
}

#[actix_web::test]
async fn counts_and_success_rate() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.request(bad("Grace")).await;
    world.run_to_the_end().await;
    world.request(lead("Edsger")).await;
    world.run_due().await;
    let operator = Operator::new(&world).await;
    world.clock.advance(secs(6));
    let overview = operator.get("/").await;
    overview.says("1 lead failed. 1 lead is in progress.");
    overview.says("Longest: lead-edsger has been in progress for 6 s, since 22 Nov 2026,");
    overview.says(&format!("{BAD_EMAIL} Retry"));
    overview.says("Last hour 1 sent, 1 failed – 50% sent");
    overview.says("Bigin where leads go Reachable");
    assert!(overview.html.contains(r#"aria-label="Last hour: 1 sent, 1 failed""#));

    let waiting = operator.get("/syncs?lead=&q=lead-edsger").await;
    waiting.says("Waiting to tag, 9 s left");
    let bar = r#"<progress max="15000" value="6000" data-until="2026-11-22T10:"#;
    assert!(waiting.html.contains(bar), "{}", waiting.html);
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn rejected_webhooks_are_not_green() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    world.sanity.model().webhooks.secret = "another secret".to_owned();
    world.request(lead("Grace")).await;
    let operator = Operator::new(&world).await;
    let overview = operator.get("/").await;
    overview.says("Webhooks are not getting through, so leads arrive late. No leads are waiting.");
    overview.says("Sanity: Webhooks are rejected for a wrong signature (1 since the last accepted one)");
    overview.says("; 1 rejected.");
    assert!(overview.html.contains("class=\"headline wait\""), "{}", overview.html);
    world.finish().await;
}

#[actix_web::test]
async fn bigin_outage_loses_nothing() {
    let world = World::new().await;
    world.bigin.model().switches.down = true;
    world.request(lead("Ada")).await;
    world.run_due().await;
    let operator = Operator::new(&world).await;
    let overview = operator.get("/").await;
    overview.says("Bigin is unavailable. 1 lead is queued; it is not lost.");
    overview.says("Zoho Accounts access tokens Unavailable");
    overview.says("next attempt at");
    overview.says("Check now");
    let problems = world.get("/api/health").await.1["problems"].clone();
    assert_eq!(problems[0]["remote"], "zoho_accounts");
    assert!(
        overview.html.contains("<strong>Zoho Accounts:</strong>"),
        "the trouble stands first"
    );
    operator
        .get("/syncs/1")
        .await
        .says("Waiting: Zoho Accounts grants no access token.");
    let page = operator.get("/syncs/1?did=retry").await;
    page.says("It is queued and will be sent when Zoho Accounts grants access tokens again. Zoho Accounts is unavailable; next attempt at 22 Nov 2026, 10:00:0");
    assert!(page.html.contains("class=\"note wait\""), "nothing is done yet");
    assert!(!page.html.contains("id=\"retry\""), "it could not be tried now");
    operator
        .press("/pause", &[])
        .await
        .says("; not called while sending is paused.");
    operator.press("/resume", &[]).await;
    world.bigin.model().switches.down = false;
    world.run_to_the_end().await;
    operator
        .get("/")
        .await
        .says("Everything is working. No leads are waiting.");
    world.finish().await;
}

#[actix_web::test]
async fn pause_and_resume() {
    let world = World::new().await;
    let operator = Operator::new(&world).await;
    let paused = operator.press("/pause", &[]).await;
    paused.says("Sending is paused. Requests are still stored; nothing is sent.");
    paused.says("Sending is paused. Resume to continue.");
    world.request(lead("Ada")).await;
    world.run_due().await;
    operator.get("/syncs").await.says("Waiting: sending is paused.");
    let resumed = operator.press("/resume", &[]).await;
    resumed.says("Sending resumed.");
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}

#[actix_web::test]
async fn check_button() {
    use bigin_sync::fake::bigin::{CallKind, Fault};
    let world = World::with(|settings| settings.send_wait = secs(60)).await;
    world.fail_bigin(CallKind::Token, Fault::TokenThrottled, 1);
    world.request(lead("Ada")).await;
    world.run_due().await;
    let operator = Operator::new(&world).await;
    let overview = operator.get("/").await;
    overview.says("A check before then restarts them. Check now anyway");
    assert_eq!(
        operator.post("/services/zoho_accounts/check", &[]).await.status,
        409,
        "not by accident"
    );
    assert_eq!(operator.post("/services/nothing/check", &[]).await.status, 404);
    let press = operator.press("/services/zoho_accounts/check", &[("force", "true")]);
    let checked = world.while_workers_run(press).await;
    checked.says("The remote service is reachable. Sending continues.");
    world.run_to_the_end().await;
    world.finish().await;
}
