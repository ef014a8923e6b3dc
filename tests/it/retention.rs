//! Retention deletes what has ended, and nothing else.

use bigin_sync::workers::retention;
use serde_json::json;

use crate::world::{World, lead, secs};

#[actix_web::test]
async fn keeps_syncs_in_progress() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.clock.advance(secs(40 * 86_400));
    retention::delete_expired(&world.app.context, secs(30 * 86_400))
        .await
        .unwrap();
    assert_eq!(world.ledger().await.in_progress, 1);
    assert_eq!(world.story("Ada").await, ["created"]);
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}

#[actix_web::test]
async fn deletes_old_syncs_but_no_contact() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    let delete = || retention::delete_expired(&world.app.context, secs(3600));
    assert_eq!(delete().await.unwrap(), 0);
    world.clock.advance(secs(3700));
    assert_eq!(delete().await.unwrap(), 1);
    assert!(world.ledger().await.balances(), "the ledger remembers");

    world.edit(
        "Ada",
        json!({ "emailAddress": "ada.new@example.org", "biginContactId": null }),
    );
    world.set_requested("Ada");
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(world.contact_count(), 1, "known by the store's memory of the lead");
    world.finish().await;
}
