//! Wall clocks that are wrong, or are put right while the service runs.

use std::time::Duration;

use bigin_sync::clock::{Clock, after};
use bigin_sync::signature::{self, sign};
use serde_json::json;

use crate::world::{World, answer, client, lead, secs};

/// A webhook signed by Sanity's clock, which is right.
async fn webhook(world: &World, lead: &str, signed_at: jiff::Timestamp) -> u16 {
    let body = json!({ "_id": lead, "_type": "dbrLead", "_rev": "r", "crmStatus": "REQUESTED" }).to_string();
    let signed_at = u64::try_from(signed_at.as_millisecond()).unwrap();
    let header = sign(body.as_bytes(), signed_at, world.sanity.webhook_secret().as_bytes());
    let request = client().post(format!("{}/webhooks/sanity", world.url));
    answer(request.header(signature::HEADER, header).body(body)).await.0
}

#[actix_web::test]
async fn signatures_are_not_old_because_the_store_has_seen_a_later_time() {
    let world = World::with(|settings| settings.webhook.max_age = Some(secs(300))).await;
    let wall = world.clock.wall();
    // As after a life whose wall clock was an hour ahead.
    world.clock.not_before(after(wall, secs(3600)));
    assert_eq!(webhook(&world, "lead-a", wall).await, 202);
    assert_eq!(
        webhook(&world, "lead-b", after(wall, secs(7200))).await,
        202,
        "another clock may be ahead of ours"
    );
    let old = after(wall, secs(3600) + Duration::from_millis(1));
    world.clock.set_wall(after(old, secs(300)));
    assert_eq!(webhook(&world, "lead-c", old).await, 202);
    world.clock.set_wall(after(old, secs(301)));
    assert_eq!(webhook(&world, "lead-d", old).await, 401);
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn a_wall_clock_set_while_the_service_runs_moves_no_tag_and_costs_no_token() {
    for hours in [-1, 1] {
        let world = World::new().await;
        world.request(lead("Ada")).await;
        world.run_due().await;
        let jump = jiff::SignedDuration::from_hours(hours);
        world.clock.set_wall(world.clock.wall().checked_add(jump).unwrap());
        world.pass(secs(14)).await;
        assert_eq!(world.state("Ada").await, "upserted", "{hours}");
        world.pass(secs(1)).await;
        assert_eq!(world.state("Ada").await, "sent", "{hours}");
        assert_eq!(world.bigin.model().grants(), 1);
        world.finish().await;
    }
}
