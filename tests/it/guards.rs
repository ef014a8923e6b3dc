//! Guards that no other story would miss: each of these was written because taking the guard away went unnoticed (see
//! `tests/breaks`).

use std::time::Duration;

use bigin_sync::fake::bigin::{CallKind, Fault};
use bigin_sync::fake::sanity::{By, Fault as SanityFault, Kind, Transaction};
use bigin_sync::store::{Prefer, Stage};
use bigin_sync::workers::{reconcile, retention, step};
use serde_json::json;

use crate::process::eventually;
use crate::world::{World, id, lead, secs, with};

/// How long Sanity holds an answer back while something else happens: long enough for that, even on a busy machine.
const HELD: Duration = Duration::from_secs(1);

/// Steps a worker whose read of the leads is answered late, with the state from before `meanwhile` happened.
async fn step_with_late_read(world: &World, stage: Stage, meanwhile: impl Future<Output = ()>) {
    let reads = world.sanity.model().calls_of(Kind::Doc);
    world
        .sanity
        .model()
        .faults
        .fail_next(Kind::Doc, SanityFault::Hang(HELD), 1);
    let meanwhile = async {
        eventually("the read is under way", || async {
            (world.sanity.model().calls_of(Kind::Doc) > reads).then_some(())
        })
        .await;
        meanwhile.await;
    };
    let (stepped, ()) = tokio::join!(step(&world.app.context, stage), meanwhile);
    stepped.unwrap();
}

#[actix_web::test]
async fn a_lead_that_is_withdrawn_after_its_tag_keeps_the_status_it_was_given() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.clock.advance(secs(15));
    world.run(Stage::Tag).await;
    let withdrawn = json!({ "crmStatus": "NOT_SENT" });
    world.sanity.model().edit(&id("Ada"), withdrawn).unwrap();
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "cancelled");
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("NOT_SENT"));
    let by_us = |transaction: &Transaction| transaction.by == By::Api;
    assert!(!world.sanity.model().transactions.iter().any(by_us));
    world.finish().await;
}

#[actix_web::test]
async fn no_tag_is_under_way_while_an_upsert_may_move_its_time() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.clock.advance(secs(15));
    let same = json!({ "emailAddress": "ada@example.org", "phoneNumber": null });
    world.request(with(lead("Grace"), same)).await;
    // Grace is upserted while the tag of their contact waits for its read, if anything lets her.
    let upsert = async {
        step(&world.app.context, Stage::Upsert).await.unwrap();
    };
    step_with_late_read(&world, Stage::Tag, Box::pin(upsert)).await;
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 2);
    // Says that no tag came sooner than the delay after the latest upsert of its contact.
    world.finish().await;
}

#[actix_web::test]
async fn ambiguous_upsert_moves_the_tags_it_can_have_touched() {
    let world = World::new().await;
    for name in ["Ada", "Hedy"] {
        world.request(lead(name)).await;
    }
    world.run_due().await;
    world.clock.advance(Duration::from_millis(13_000));
    world.bigin.model().fail_next(CallKind::Upsert, Fault::LostReply, 1);
    let same = json!({ "emailAddress": "ADA@example.org", "phoneNumber": null });
    world.request(with(lead("Grace"), same)).await;
    world.request(lead("Barbara")).await;
    world.run_due().await;
    // Grace and Barbara are sent again, at first one of them as a probe.
    world.pass(secs(1)).await;
    world.pass(secs(1)).await;
    assert_eq!(
        world.state("Hedy").await,
        "sent",
        "nothing of the call can have been hers"
    );
    assert_eq!(world.state("Ada").await, "upserted", "her contact has the email");
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 4);
    // Says that no tag came sooner than the delay after the latest upsert of its contact.
    world.finish().await;
}

#[actix_web::test]
async fn the_delay_is_counted_from_the_answer_to_the_upsert() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    let passes = async { world.clock.advance(secs(10)) };
    step_with_late_read(&world, Stage::Upsert, passes).await;
    assert_eq!(world.state("Ada").await, "upserted");
    world.pass(secs(14)).await;
    assert_eq!(world.state("Ada").await, "upserted");
    world.pass(secs(1)).await;
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}

#[actix_web::test]
async fn lease_is_renewed_for_a_call_and_a_lost_one_sends_nothing() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    let passes = async { world.clock.advance(secs(58)) };
    step_with_late_read(&world, Stage::Upsert, passes).await;
    assert_eq!(
        world.bigin.model().count(CallKind::Upsert),
        1,
        "the call has its whole time"
    );
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
    assert_eq!(world.bigin.model().count(CallKind::Upsert), 1);
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}

#[actix_web::test]
async fn outcomes_are_recorded_after_two_calls_that_take_all_of_their_time() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    let upsert = Fault::Hang(HELD);
    world.bigin.model().fail_next(CallKind::Upsert, upsert, 1);
    let passes = async {
        world.clock.advance(secs(30));
        eventually("the upsert is under way", || async {
            (world.bigin.model().count(CallKind::Upsert) == 1).then_some(())
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
async fn a_lease_of_any_length_lets_work_be_done() {
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
async fn a_lead_that_changed_holds_back_no_other_result() {
    let world = World::new().await;
    for name in ["Ada", "Grace"] {
        world.request(lead(name)).await;
    }
    world.run_due().await;
    world.clock.advance(secs(15));
    world.run(Stage::Tag).await;
    let edit = async {
        let edited = json!({ "notes": "seen in between" });
        world.sanity.model().edit(&id("Ada"), edited).unwrap();
    };
    // The revision that the tag worker read is too old by now.
    world.clock.advance(secs(6));
    step_with_late_read(&world, Stage::WriteBack, edit).await;
    assert_eq!(world.state("Grace").await, "sent");
    world.run(Stage::WriteBack).await;
    let ada = world.sync("Ada").await.sync;
    assert_eq!(
        (ada.state.label(), ada.attempts.count),
        ("tagged", 1),
        "one that always changes must not keep us busy"
    );
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "notes").as_deref(), Some("seen in between"));
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    world.finish().await;
}

#[actix_web::test]
async fn a_write_back_that_sanity_refuses_is_written_in_halves() {
    let world = World::new().await;
    for number in 0..4 {
        world.request(lead(&format!("Lead{number}"))).await;
    }
    world.run_due().await;
    world
        .sanity
        .model()
        .faults
        .fail_next(Kind::Mutate, SanityFault::Status(400), 1);
    world.pass(secs(15)).await;
    assert_eq!(world.ledger().await.sent, 4, "no lead is to blame");
    assert_eq!(world.sanity.model().calls_of(Kind::Mutate), 3);
    world.finish().await;
}

#[actix_web::test]
async fn a_worker_with_nothing_to_do_takes_no_probe_from_the_others() {
    let world = World::new().await;
    world.sanity.model().down = true;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.sanity.model().down = false;
    world.clock.advance(secs(600));
    let idle = world.store().claim(Stage::WriteBack, 1, Prefer::Fresh).await.unwrap();
    assert!(idle.syncs.is_empty() && idle.probed.is_empty());
    world.run(Stage::Upsert).await;
    assert_eq!(world.state("Ada").await, "upserted");
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn a_probe_that_asked_nobody_lets_the_next_one_probe_at_once() {
    let world = World::new().await;
    // The fields are known and a token is there, so that a lead which is gone costs no call to Bigin.
    world.request(lead("Grace")).await;
    world.run_to_the_end().await;
    world.bigin.model().switches.down = true;
    for name in ["Barbara", "Edsger", "Ada"] {
        world.request(lead(name)).await;
    }
    world.run_due().await;
    for name in ["Barbara", "Edsger"] {
        world.sanity.model().delete(&id(name)).unwrap();
    }
    world.bigin.model().switches.down = false;
    world.pass(secs(2)).await;
    assert_eq!(world.state("Ada").await, "upserted");
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn outage_costs_a_batch_one_call_and_no_lead_an_attempt() {
    let world = World::new().await;
    world
        .bigin
        .model()
        .fail_next(CallKind::Upsert, Fault::Html(503), usize::MAX);
    for number in 0..16 {
        world.request(lead(&format!("Lead{number}"))).await;
    }
    world.run_due().await;
    assert_eq!(
        world.bigin.model().count(CallKind::Upsert),
        1,
        "the whole batch; then only probes"
    );
    for number in 0..16 {
        assert_eq!(world.sync(&format!("Lead{number}")).await.sync.attempts.count, 0);
    }
    world.bigin.model().clear_faults();
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 16);
    world.finish().await;
}

#[actix_web::test]
async fn a_look_up_that_fails_holds_back_no_lead_that_needs_none() {
    let world = World::new().await;
    world.bigin.model().fail_next(CallKind::Coql, Fault::Html(502), 1);
    world.request(with(lead("Ada"), json!({ "emailAddress": null }))).await;
    world.request(lead("Grace")).await;
    step(&world.app.context, Stage::Upsert).await.unwrap();
    assert_eq!(
        world.state("Grace").await,
        "requested",
        "an ambiguous end ends the step"
    );
    world
        .bigin
        .model()
        .fail_next(CallKind::Coql, Fault::Html(502), usize::MAX);
    for _ in 0..10 {
        world.pass(secs(2)).await;
    }
    assert_eq!(world.state("Grace").await, "sent");
    assert_eq!(world.state("Ada").await, "requested");
    world.bigin.model().clear_faults();
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 2);
    world.finish().await;
}

#[actix_web::test]
async fn leads_whose_look_up_hangs_are_suspects() {
    let world = World::new().await;
    world.bigin.model().fail_next(CallKind::Coql, Fault::Html(502), 1);
    for name in ["Ada", "Grace"] {
        world.request(with(lead(name), json!({ "emailAddress": null }))).await;
    }
    step(&world.app.context, Stage::Upsert).await.unwrap();
    for name in ["Ada", "Grace"] {
        let sync = world.sync(name).await.sync;
        assert_eq!((sync.bisect_limit, sync.attempts.count), (Some(1), 0));
    }
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 2);
    world.finish().await;
}

#[actix_web::test]
async fn a_refused_token_does_not_mean_that_leads_are_sent_as_they_are() {
    let world = World::new().await;
    let refused = Fault::BodyError {
        status: 401,
        code: "INVALID_TOKEN".into(),
        message: "invalid oauth token".into(),
    };
    world.bigin.model().fail_next(CallKind::Fields, refused, 2);
    world.request(lead("Ada")).await;
    world.run_due().await;
    assert_eq!(
        world.bigin.model().count(CallKind::Upsert),
        0,
        "the fields are still to be read"
    );
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}

#[actix_web::test]
async fn the_fields_read_last_serve_after_a_restart() {
    let mut world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    world.restart().await;
    world
        .bigin
        .model()
        .fail_next(CallKind::Fields, Fault::Html(502), usize::MAX);
    world.request(lead("Grace")).await;
    world.run_due().await;
    assert_eq!(world.state("Grace").await, "upserted");
    let description = world.contact_says("Grace", "Description").unwrap();
    assert!(
        description.contains("Lead Status: HOT"),
        "they are known to have no Lead_Status: {description}"
    );
    world.bigin.model().clear_faults();
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn the_fields_are_read_once_an_hour() {
    let world = World::new().await;
    for (name, passes, reads) in [("Ada", 0, 1), ("Grace", 60, 1), ("Edsger", 3_600, 2)] {
        world.clock.advance(secs(passes));
        world.request(lead(name)).await;
        world.run_to_the_end().await;
        assert_eq!(world.bigin.model().count(CallKind::Fields), reads, "{name}");
    }
    world.finish().await;
}

#[actix_web::test]
async fn reconciliation_believes_the_lead_and_not_the_query() {
    let world = World::new().await;
    world.sanity.model().webhooks.lose_next(1);
    world.sanity.model().query_lag = secs(60);
    world.request(lead("Ada")).await;
    world.clock.advance(secs(100));
    let withdrawn = json!({ "crmStatus": "NOT_SENT" });
    world.sanity.model().edit(&id("Ada"), withdrawn).unwrap();
    let found = world
        .app
        .context
        .sanity
        .requested(None, secs(30), 10, secs(30))
        .await
        .unwrap();
    assert_eq!(found.len(), 1, "the query does not know it yet");
    assert_eq!(
        reconcile::round(&world.app.context, secs(60), secs(30)).await.unwrap(),
        Some(0)
    );
    assert_eq!(world.ledger().await.created, 0);
    world.finish().await;
}

#[actix_web::test]
async fn reconciliation_reads_no_lead_that_has_a_sync() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.clock.advance(secs(60));
    assert_eq!(
        reconcile::round(&world.app.context, secs(60), secs(30)).await.unwrap(),
        Some(0)
    );
    assert_eq!(world.sanity.model().calls_of(Kind::Query), 1);
    assert_eq!(world.sanity.model().calls_of(Kind::Doc), 0);
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn a_sync_that_has_not_ended_is_never_forgotten() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.clock.advance(secs(40 * 86_400));
    retention::round(&world.app.context, secs(30 * 86_400)).await.unwrap();
    assert_eq!(world.ledger().await.in_progress, 1);
    assert_eq!(world.story("Ada").await, ["created"]);
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}

/// Nobody can see from outside how long a comparison takes, so the source is looked at.
#[test]
fn what_strangers_guess_at_is_compared_in_constant_time() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, comparison) in [
        ("src/crypto.rs", "one.ct_eq(other).into()"),
        (
            "src/signature.rs",
            "good |= crypto::is_equal(expected.as_bytes(), header);",
        ),
        (
            "src/http/auth.rs",
            "crypto::is_equal(&hash(given), &hash(self.token.expose_secret().as_bytes()))",
        ),
    ] {
        let source = std::fs::read_to_string(root.join(file)).unwrap();
        assert!(source.contains(comparison), "{file}");
    }
}

#[actix_web::test]
async fn a_replica_whose_round_took_too_long_leaves_the_rest_to_the_one_that_took_over() {
    let world = World::new().await;
    world.sanity.model().webhooks.lose_next(150);
    for number in 0..150 {
        world.request(lead(&format!("Lead{number}"))).await;
    }
    world.clock.advance(secs(60));
    let store = &world.app.context.store;
    let another_takes_over = async {
        while world.sanity.model().calls_of(Kind::Doc) == 0 {
            tokio::task::yield_now().await;
        }
        world.clock.advance(secs(120));
        store
            .try_lock("reconciliation", "another replica", secs(120))
            .await
            .unwrap()
    };
    let round = reconcile::round(&world.app.context, secs(60), secs(30));
    let (found, taken) = tokio::join!(round, another_takes_over);
    assert!(taken);
    assert_eq!(found.unwrap(), Some(100), "what was read is carried out");
    assert_eq!(world.sanity.model().calls_of(Kind::Query), 1);
    let next = reconcile::round(&world.app.context, secs(60), secs(30)).await;
    assert_eq!(next.unwrap(), None, "the other one makes the rounds");
    store.unlock("reconciliation", "another replica").await.unwrap();
    let next = reconcile::round(&world.app.context, secs(60), secs(30)).await;
    assert_eq!(next.unwrap(), Some(50));
    world.run_to_the_end().await;
    world.finish().await;
}
