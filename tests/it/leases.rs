//! A claim's lease: renewed before a call that would outlast it, and nothing is sent without it.

use std::time::Duration;

use bigin_sync::fake::bigin::{CallKind, Fault};
use bigin_sync::store::{Prefer, Stage};

use crate::late_read::{HELD, step_with_late_read};
use crate::process::eventually;
use crate::world::{World, lead, secs};

#[actix_web::test]
async fn any_duration_makes_progress() {
    for lease in [3, 60, 3_600] {
        let world = World::with(|settings| settings.lease_duration = secs(lease)).await;
        world.request(lead("Ada")).await;
        world.run_due().await;
        assert_eq!(world.state("Ada").await, "upserted", "with a lease of {lease} s");
        world.run_to_the_end().await;
        world.finish().await;
    }
}

#[actix_web::test]
async fn renewed_for_a_call_but_not_once_lost() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    let passes = async { world.clock.advance(secs(58)) };
    step_with_late_read(&world, Stage::Upsert, passes).await;
    assert_eq!(world.bigin_calls(CallKind::Upsert), 1, "the call has its whole time");
    world.request(lead("Grace")).await;
    let lost = async {
        world.clock.advance(secs(61));
        let store = world.store();
        let claim = store.claim(Stage::Upsert, 10, Prefer::Fresh).await.unwrap();
        assert_eq!(claim.syncs.len(), 1, "another worker has taken it");
    };
    step_with_late_read(&world, Stage::Upsert, lost).await;
    let sync = world.sync("Grace").await.sync;
    assert_eq!((sync.state.label(), sync.attempts.count), ("requested", 0));
    assert_eq!(world.bigin_calls(CallKind::Upsert), 1);
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}

#[actix_web::test]
async fn lasts_until_outcome_is_recorded() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    let upsert = Fault::Hang(HELD);
    world.fail_bigin(CallKind::Upsert, upsert, 1);
    let passes = async {
        world.clock.advance(secs(30));
        eventually("the upsert is under way", || async {
            (world.bigin_calls(CallKind::Upsert) == 1).then_some(())
        })
        .await;
        world.clock.advance(secs(30));
        let claim = world.store().claim(Stage::Upsert, 10, Prefer::Fresh).await.unwrap();
        assert!(
            claim.syncs.is_empty(),
            "the calls have ended in time, and their outcome is not recorded yet"
        );
    };
    step_with_late_read(&world, Stage::Upsert, passes).await;
    assert_eq!(world.state("Ada").await, "upserted");
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn renewed_while_upsert_waits_for_tags() {
    let world = World::with(|settings| settings.lease_duration = secs(2)).await;
    world.request(lead("Ada")).await;
    let tags = world.contacts().lock().await;
    let waits = async {
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(700)).await;
            world.clock.advance(Duration::from_millis(600));
        }
        let claim = world.store().claim(Stage::Upsert, 10, Prefer::Fresh).await.unwrap();
        assert!(
            claim.syncs.is_empty(),
            "it waits for longer than its lease, and keeps it"
        );
        drop(tags);
    };
    tokio::join!(world.run(Stage::Upsert), waits);
    assert_eq!(world.state("Ada").await, "upserted");
    world.run_to_the_end().await;
    world.finish().await;
}
