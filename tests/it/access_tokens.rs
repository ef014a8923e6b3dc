//! Access tokens: shared, kept over restarts, and requested no sooner than the token endpoint allows.

use std::time::Duration;

use bigin_sync::clock::{Clock as _, after};
use bigin_sync::domain::failure::{Remote, ServiceErrorKind};
use bigin_sync::fake::bigin::{CallKind, Fault};

use crate::sync::ends_sent;
use crate::world::{World, lead, secs};

#[actix_web::test]
async fn restarts_cost_no_token() {
    let mut world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    for _ in 0..10 {
        world.restart().await;
        world.pass(secs(1)).await;
    }
    assert_eq!(world.bigin.model().grants(), 1);
    ends_sent(world, "after restarts").await;
}

#[actix_web::test]
async fn dropped_token_costs_one_more() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.bigin.model().invalidate_access_tokens();
    world.pass(secs(15)).await;
    assert_eq!(world.state("Ada").await, "sent");
    assert_eq!(world.bigin.model().grants(), 2);
    world.finish().await;
}

#[actix_web::test]
async fn restart_waits_for_rate_limit() {
    let mut world = World::new().await;
    world.fail_bigin(CallKind::Token, Fault::TokenThrottled, 1);
    world.app.context.read_org_at_start().await.unwrap();
    assert_eq!(world.bigin_calls(CallKind::Token), 1);
    let (status, ready) = world.get("/readyz").await;
    assert_eq!(
        (status, ready["status"].as_str()),
        (200, Some("degraded")),
        "it shows before the first lead"
    );
    for _ in 0..3 {
        world.restart().await;
        world.clock.advance(secs(60));
        world.app.context.check_at_start().await.unwrap();
        world.app.context.read_org_at_start().await.unwrap();
    }
    assert_eq!(
        world.bigin_calls(CallKind::Token),
        1,
        "each question prolongs the silence"
    );
    world.restart().await;
    world.clock.advance(secs(600));
    world.app.context.read_org_at_start().await.unwrap();
    assert_eq!(world.get("/readyz").await.1["status"], "ready");
    world.finish().await;
}

#[actix_web::test]
async fn rate_limit_holds_after_caller_timeout() {
    let world = World::new().await;
    world.bigin.model().switches.latency = Duration::from_millis(200);
    world.fail_bigin(CallKind::Token, Fault::TokenThrottled, 1);
    let context = &world.app.context;
    context.bigin.fields(Duration::from_millis(20)).await.unwrap_err();
    let mut open = None;
    for _ in 0..500 {
        open = context.store.breaker(Remote::ZohoAccounts).await.unwrap().open;
        if open.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let open = open.unwrap();
    assert_eq!(open.kind, ServiceErrorKind::TokenRateLimited);
    assert!(open.until >= after(world.clock.now(), secs(600)));
    world.finish().await;
}
