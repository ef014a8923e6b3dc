//! Promises and rules in the corners where they were once not kept.

use std::collections::BTreeSet;
use std::time::Duration;

use bigin_sync::domain::lead::LeadId;
use bigin_sync::domain::state::State;
use bigin_sync::fake::bigin::{CallKind, Fault};
use bigin_sync::fake::sanity::{Fault as SanityFault, Kind, RetryAfter};
use bigin_sync::store::{Stage, StepReport};
use bigin_sync::workers::{self, Stepped};
use serde_json::{Value, json};

use crate::world::{World, id, lead, secs, with};

/// At most this many steps of all workers; whether they came to rest.
async fn rests_within(world: &World, steps: usize) -> bool {
    for _ in 0..steps {
        let mut worked = false;
        for stage in Stage::ALL {
            let stepped = workers::step(&world.app.context, stage).await.unwrap();
            worked |= matches!(stepped, Stepped::Worked(_));
        }
        if !worked {
            return true;
        }
    }
    false
}

#[actix_web::test]
async fn a_contact_deleted_after_its_lead_was_sent_is_made_afresh_on_the_next_request() {
    for merged in [false, true] {
        let world = World::new().await;
        world.request(lead("Ada")).await;
        world.run_to_the_end().await;
        let contact = world.lead_says("Ada", "biginContactId").unwrap();
        {
            let mut model = world.bigin.model();
            if merged {
                let into = model.add_contact([("Last_Name".to_owned(), json!("Other"))].into());
                model.merge_contact(&contact, &into);
            } else {
                model.delete_contact(&contact);
            }
        }
        world.clock.advance(secs(60));
        world.sanity.model().request(&id("Ada")).unwrap();
        world.deliver().await;
        assert!(
            rests_within(&world, 20).await,
            "the id on the lead is tried again and again"
        );
        world.run_to_the_end().await;
        assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
        assert_ne!(world.lead_says("Ada", "biginContactId"), Some(contact));
        world.finish().await;
    }
}

#[actix_web::test]
async fn a_request_that_the_write_back_overwrote_is_carried_to_its_tag() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.clock.advance(secs(15));
    world.run(Stage::Tag).await;
    world.clock.advance(secs(1));
    let id = id("Ada");
    let withdrawn = json!({ "crmStatus": "NOT_SENT", "postcode": "SO14 0AA" });
    world.sanity.model().edit(&id, withdrawn).unwrap();
    world.sanity.model().request(&id).unwrap();
    // The Content Lake counts `_updatedAt` in seconds: the write-back falls into a later one than the request. It reads the
    // lead, since the tag worker's read is too old by now.
    world.clock.advance(secs(6));
    world.run(Stage::WriteBack).await;
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(
        world.story("Ada").await,
        ["created", "upserted", "tagged", "written_back"]
    );
    assert_eq!(world.contact_says("Ada", "Mailing_Zip").as_deref(), Some("SO14 0AA"));
    assert_eq!(world.bigin.model().count(CallKind::AddTags), 2);
    world.finish().await;
}

#[actix_web::test]
async fn one_contact_that_bigin_chokes_on_holds_back_no_other_tag() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    for number in 0..10 {
        world.request(lead(&format!("Lead{number}"))).await;
    }
    world.run_due().await;
    let ada = world
        .bigin
        .model()
        .contact_by_email("ada@example.org")
        .unwrap()
        .0
        .to_owned();
    world.bigin.model().switches.poison = Some(ada);
    world.pass(secs(15)).await;
    for _ in 0..5 {
        world.pass(secs(2)).await;
    }
    for number in 0..10 {
        assert_eq!(world.state(&format!("Lead{number}")).await, "sent", "Lead{number}");
    }
    assert!(
        world.sync("Ada").await.sync.attempts.count > 0,
        "only the culprit is blamed"
    );
    world.bigin.model().switches.poison = None;
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 11);
    world.finish().await;
}

#[actix_web::test]
async fn a_tag_call_that_is_refused_as_a_whole_blames_only_the_contact_it_is_refused_for_alone() {
    let world = World::new().await;
    for number in 0..8 {
        world.request(lead(&format!("Lead{number}"))).await;
    }
    world.run_due().await;
    let refused = Fault::BodyError {
        status: 400,
        code: "INVALID_DATA".into(),
        message: "the request is not valid".into(),
    };
    world.bigin.model().fail_next(CallKind::AddTags, refused, 1);
    world.pass(secs(15)).await;
    assert_eq!(world.ledger().await.sent, 8);
    world.finish().await;
}

fn bigins_api_is_down(world: &World) {
    let kinds = [
        CallKind::Upsert,
        CallKind::Update,
        CallKind::AddTags,
        CallKind::Fields,
        CallKind::Coql,
    ];
    for kind in kinds {
        world.bigin.model().fail_next(kind, Fault::Html(503), usize::MAX);
    }
}

#[actix_web::test]
async fn an_outage_of_bigins_api_costs_a_lone_lead_no_attempt() {
    let world = World::new().await;
    // The fields are known and a token is there, as they are when a service has been running.
    world.request(lead("Grace")).await;
    world.run_to_the_end().await;
    bigins_api_is_down(&world);
    world.request(lead("Ada")).await;
    for _ in 0..60 {
        world.pass(secs(3600)).await;
    }
    let sync = world.sync("Ada").await.sync;
    assert_eq!(
        (sync.state.label(), sync.attempts.backoff_total),
        ("requested", Duration::ZERO)
    );
    world.bigin.model().clear_faults();
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    world.finish().await;
}

#[actix_web::test]
async fn an_outage_of_bigins_api_is_probed_by_one_call_at_a_time_with_pauses_between() {
    let world = World::new().await;
    world.request(lead("Grace")).await;
    world.run_to_the_end().await;
    bigins_api_is_down(&world);
    for number in 0..40 {
        world.request(lead(&format!("Lead{number}"))).await;
    }
    world.run_due().await;
    let before = world.bigin.model().count(CallKind::Upsert);
    world.pass(secs(2)).await;
    let calls = world.bigin.model().count(CallKind::Upsert) - before;
    assert!(calls <= 2, "{calls} calls within two seconds of an outage");
    for number in 0..40 {
        assert_eq!(
            world.sync(&format!("Lead{number}")).await.sync.attempts.backoff_total,
            Duration::ZERO
        );
    }
    world.bigin.model().clear_faults();
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 41);
    world.finish().await;
}

#[actix_web::test]
async fn an_upsert_whose_reply_was_lost_moves_the_tag_of_its_contact() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.clock.advance(Duration::from_millis(14_800));
    world.bigin.model().fail_next(CallKind::Upsert, Fault::LostReply, 1);
    let same = json!({ "emailAddress": "ada@example.org", "phoneNumber": null });
    world.request(with(lead("Grace"), same)).await;
    world.run_due().await;
    world.pass(Duration::from_millis(200)).await;
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 2);
    // Says that no tag came sooner than the delay after the latest upsert of its contact.
    world.finish().await;
}

#[actix_web::test]
async fn an_upsert_that_could_not_be_recorded_moves_the_tag_of_its_contact() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.clock.advance(secs(14));
    let same = json!({ "emailAddress": "ada@example.org", "phoneNumber": null });
    world.request(with(lead("Grace"), same)).await;
    world.bigin.model().switches.latency = Duration::from_millis(300);
    let blocker = rusqlite::Connection::open(world.folder().join("bigin-sync.db")).unwrap();
    let block = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    };
    let (stepped, ()) = tokio::join!(workers::step(&world.app.context, Stage::Upsert), block);
    assert!(
        stepped.is_err(),
        "another program holds the file for longer than we wait"
    );
    blocker.execute_batch("ROLLBACK").unwrap();
    world.bigin.model().switches.latency = Duration::ZERO;
    world.pass(secs(1)).await;
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 2);
    world.finish().await;
}

#[actix_web::test]
async fn a_lost_reply_makes_no_second_contact_of_a_lead_whose_phone_is_no_possible_number() {
    for phone in ["12345", "07700 900 1234"] {
        let world = World::new().await;
        world.bigin.model().fail_next(CallKind::Upsert, Fault::LostReply, 1);
        let nameless = json!({ "emailAddress": null, "phoneNumber": phone });
        world.request(with(lead("Ada"), nameless)).await;
        world.run_to_the_end().await;
        assert_eq!(world.bigin.model().contacts().count(), 1, "{phone}");
        world.finish().await;
    }
}

/// A lead that says nothing of itself but its name, which is the same for all of them.
fn bare(of: &str) -> Value {
    let same = json!({ "firstName": "Ada", "emailAddress": null, "phoneNumber": null });
    with(lead(of), same)
}

#[actix_web::test]
async fn a_lost_reply_makes_no_second_contact_of_a_lead_with_nothing_but_a_name() {
    let world = World::new().await;
    world.bigin.model().fail_next(CallKind::Upsert, Fault::LostReply, 1);
    world.request(bare("Ada")).await;
    world.run_to_the_end().await;
    assert_eq!(world.bigin.model().contacts().count(), 1);
    world.finish().await;
}

#[actix_web::test]
async fn a_sync_that_failed_with_its_contact_unknown_makes_the_next_one_no_second_contact() {
    let world = World::new().await;
    world.bigin.model().fail_next(CallKind::Upsert, Fault::LostReply, 1);
    let refused = Fault::RecordError {
        nth: 0,
        code: "INVALID_DATA".into(),
        field: Some("Last_Name".into()),
    };
    world.bigin.model().fail_next(CallKind::Update, refused, 1);
    world.request(bare("Ada")).await;
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("FAILED"));
    world.clock.advance(secs(3_600));
    world.request(bare("Ada")).await;
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    assert_eq!(world.bigin.model().contacts().count(), 1);
    world.finish().await;
}

#[actix_web::test]
async fn leads_with_one_name_never_share_a_contact() {
    for lost in [0, 1] {
        let world = World::new().await;
        world.bigin.model().fail_next(CallKind::Upsert, Fault::LostReply, lost);
        let names = ["Ada", "Grace", "Mary"];
        for name in names {
            world.request(bare(name)).await;
        }
        world.run_to_the_end().await;
        assert_eq!(world.bigin.model().contacts().count(), names.len());
        let contacts: BTreeSet<_> = names
            .iter()
            .map(|name| world.lead_says(name, "biginContactId"))
            .collect();
        assert_eq!(contacts.len(), names.len());
        world.finish().await;
    }
}

#[actix_web::test]
async fn somebody_else_of_the_same_name_who_was_there_before_is_left_alone() {
    let world = World::new().await;
    let somebody = [("First_Name", "Ada"), ("Last_Name", "Example")];
    let somebody = somebody.map(|(field, text)| (field.to_owned(), text.into()));
    let there = world.bigin.model().add_contact(somebody.into());
    world.clock.advance(secs(3_600));
    world.request(bare("Ada")).await;
    world.run_to_the_end().await;
    assert_eq!(world.bigin.model().contacts().count(), 2);
    assert_eq!(world.changes_of(&there), Vec::<&str>::new());
    world.finish().await;
}

#[actix_web::test]
async fn a_lead_id_field_that_is_not_unique_is_no_duplicate_check() {
    let world = World::with(|settings| settings.bigin.lead_id_field = Some("Lead_ID".into())).await;
    world.bigin.model().add_field("Lead_ID", "Lead ID", "text", 255, false);
    world.bigin.model().fail_next(CallKind::Upsert, Fault::LostReply, 1);
    world.request(with(lead("Ada"), json!({ "emailAddress": null }))).await;
    world.run_to_the_end().await;
    assert_eq!(world.bigin.model().contacts().count(), 1);
    world.finish().await;
}

#[actix_web::test]
async fn a_write_back_that_never_wins_is_tried_again_later_and_not_at_once() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world
        .sanity
        .model()
        .faults
        .fail_next(Kind::Mutate, SanityFault::Conflict, usize::MAX);
    world.clock.advance(secs(15));
    let rested = rests_within(&world, 20).await;
    let commits = world.sanity.model().calls_of(Kind::Mutate);
    assert!(rested, "{commits} commits in one moment, without an end");
    world.sanity.model().faults.clear();
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    world.finish().await;
}

#[actix_web::test]
async fn many_leads_with_one_phone_hold_back_no_other() {
    let world = World::new().await;
    for number in 0..150 {
        let same = json!({ "phoneNumber": "07700 900999" });
        world.request(with(lead(&format!("Lead{number}")), same)).await;
    }
    world.clock.advance(Duration::from_millis(1));
    world.request(lead("Ada")).await;
    for _ in 0..4 {
        workers::step(&world.app.context, Stage::Upsert).await.unwrap();
        world.clock.advance(Duration::from_millis(1));
    }
    assert_eq!(world.state("Ada").await, "upserted");
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 151);
    world.finish().await;
}

#[actix_web::test]
async fn a_look_up_that_keeps_failing_holds_back_no_lead_that_needs_none() {
    let world = World::new().await;
    world
        .bigin
        .model()
        .fail_next(CallKind::Coql, Fault::Html(502), usize::MAX);
    world.request(with(lead("Ada"), json!({ "emailAddress": null }))).await;
    world.run_due().await;
    world.clock.advance(Duration::from_millis(1));
    world.request(lead("Grace")).await;
    for _ in 0..20 {
        world.pass(secs(10)).await;
    }
    assert_eq!(world.state("Grace").await, "sent");
    world.bigin.model().clear_faults();
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 2);
    world.finish().await;
}

#[actix_web::test]
async fn a_probe_that_asked_nobody_wakes_the_others() {
    let world = World::new().await;
    world.bigin.model().switches.down = true;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.clock.advance(secs(3600));
    let store = world.store();
    let probe = store
        .claim(Stage::Upsert, 1, bigin_sync::store::Prefer::Fresh)
        .await
        .unwrap();
    assert_eq!(probe.syncs.len(), 1);
    // The others find the breaker held by the probe, and sleep until its lease runs out.
    let held = store
        .claim(Stage::Tag, 1, bigin_sync::store::Prefer::Fresh)
        .await
        .unwrap();
    assert!(held.next_due.is_some());
    let report = StepReport {
        probed: probe
            .probed
            .iter()
            .map(|remote| (*remote, probe.breakers[remote].epoch))
            .collect(),
        ..StepReport::default()
    };
    let _ = tokio::time::timeout(Duration::from_millis(10), store.woken(Stage::Tag).notified()).await;
    store.record(vec![], report).await.unwrap();
    tokio::time::timeout(Duration::from_secs(1), store.woken(Stage::Tag).notified())
        .await
        .expect("the tag worker is told that it may probe");
}

#[actix_web::test]
async fn a_failed_lead_names_the_contact_that_the_store_remembers() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    let contact = world.lead_says("Ada", "biginContactId");
    world.clock.advance(secs(60));
    let broken = json!({ "emailAddress": "no address", "biginContactId": null });
    world.sanity.model().edit(&id("Ada"), broken).unwrap();
    world.sanity.model().request(&id("Ada")).unwrap();
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("FAILED"));
    assert_eq!(world.lead_says("Ada", "biginContactId"), contact);
    world.finish().await;
}

#[actix_web::test]
async fn the_history_says_that_the_tag_no_longer_waited_for_edits() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    for round in 0..4 {
        let edit = json!({ "postcode": format!("PO{round} 1AA") });
        world.sanity.model().edit(&id("Ada"), edit).unwrap();
        world.pass(secs(15)).await;
    }
    let sync = world.sync("Ada").await.sync;
    assert_eq!(sync.state.label(), "sent");
    let history = world.history(sync.id).await;
    let tagged = history.iter().find(|entry| entry.kind == "tagged").unwrap();
    assert_eq!(tagged.detail["edits_not_carried"], json!(true), "{tagged:?}");
    world.finish().await;
}

#[actix_web::test]
async fn a_contact_that_this_sync_made_is_said_to_be_inserted_also_after_an_edit() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world
        .sanity
        .model()
        .edit(&id("Ada"), json!({ "postcode": "SO14 0AA" }))
        .unwrap();
    world.run_to_the_end().await;
    let State::Sent { delivered, .. } = world.sync("Ada").await.sync.state else {
        panic!("not sent");
    };
    assert_eq!(delivered.action.label(), "insert");
    world.finish().await;
}

#[actix_web::test]
async fn a_refusal_of_the_fields_is_no_leads_fault() {
    let world = World::new().await;
    let refused = Fault::BodyError {
        status: 400,
        code: "INVALID_DATA".into(),
        message: "no".into(),
    };
    world.bigin.model().fail_next(CallKind::Fields, refused, 1);
    world.request(lead("Ada")).await;
    world.run_due().await;
    assert_eq!(world.sync("Ada").await.sync.attempts.count, 0);
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    world.finish().await;
}

#[actix_web::test]
async fn a_refused_read_of_many_leads_is_no_leads_fault() {
    let world = World::new().await;
    world
        .sanity
        .model()
        .faults
        .fail_next(Kind::Doc, SanityFault::Status(400), 1);
    for name in ["Ada", "Grace"] {
        world.request(lead(name)).await;
    }
    world.run_due().await;
    for name in ["Ada", "Grace"] {
        assert_eq!(world.sync(name).await.sync.attempts.count, 0);
    }
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 2);
    world.finish().await;
}

#[actix_web::test]
async fn a_person_s_request_joined_by_a_withdrawal_is_still_carried_out() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    let ada = LeadId::parse(&id("Ada")).unwrap();
    let person = bigin_sync::domain::sync::Source::Manual;
    world.store().request(ada, person, None).await.unwrap();
    world
        .sanity
        .model()
        .edit(&id("Ada"), json!({ "crmStatus": "NOT_SENT" }))
        .unwrap();
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    world.finish().await;
}

#[actix_web::test]
async fn a_draft_published_with_other_data_is_sent_and_not_restored() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    let stale = json!(world.sanity.model().document(&id("Ada")).unwrap());
    world.run_to_the_end().await;
    world.clock.advance(secs(3600));
    let edited = json!({ "postcode": "SO14 0AA", "_rev": null, "_updatedAt": null, "_createdAt": null });
    world.sanity.model().publish(with(stale, edited)).unwrap();
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(
        world.story("Ada").await,
        ["created", "upserted", "tagged", "written_back"]
    );
    assert_eq!(world.contact_says("Ada", "Mailing_Zip").as_deref(), Some("SO14 0AA"));
    world.finish().await;
}

#[actix_web::test]
async fn a_person_s_request_is_carried_out_even_where_a_stale_draft_would_be_restored() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    let stale = json!(world.sanity.model().document(&id("Ada")).unwrap());
    world.run_to_the_end().await;
    world.clock.advance(secs(3600));
    let again = json!({ "_rev": null, "_updatedAt": null, "_createdAt": null });
    world.sanity.model().publish(with(stale, again)).unwrap();
    let ada = LeadId::parse(&id("Ada")).unwrap();
    let person = bigin_sync::domain::sync::Source::Manual;
    world.store().request(ada, person, None).await.unwrap();
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(world.bigin.model().count(CallKind::AddTags), 2);
    world.finish().await;
}

#[actix_web::test]
async fn a_result_that_sanity_refuses_for_days_is_written_in_the_end() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world
        .sanity
        .model()
        .faults
        .fail_next(Kind::Mutate, SanityFault::Status(400), usize::MAX);
    for _ in 0..600 {
        world.pass(secs(300)).await;
    }
    assert_eq!(world.state("Ada").await, "tagged");
    assert!(world.sanity.model().calls_of(Kind::Mutate) > 300, "it goes on trying");
    world.sanity.model().faults.clear();
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}

#[actix_web::test]
async fn a_write_back_whose_reply_was_lost_is_recognised_and_the_sync_ends_as_it_says() {
    for (email, ends) in [("ada@example.org", "sent"), ("no address", "failed")] {
        let world = World::new().await;
        world
            .sanity
            .model()
            .faults
            .fail_next(Kind::Mutate, SanityFault::LostReply, 1);
        world.request(with(lead("Ada"), json!({ "emailAddress": email }))).await;
        world.run_to_the_end().await;
        assert_eq!(world.state("Ada").await, ends);
        assert_eq!(
            world.sanity.model().calls_of(Kind::Mutate),
            1,
            "{ends}: it is not written twice"
        );
        world.finish().await;
    }
}

#[actix_web::test]
async fn an_edit_that_was_asked_for_is_carried_also_after_three_that_were_not() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    let edit = |zip: &str| {
        let edited = json!({ "postcode": zip, "crmStatus": "NOT_SENT" });
        world.sanity.model().edit(&id("Ada"), edited).unwrap();
    };
    for round in 0..3 {
        let unasked = json!({ "postcode": format!("PO{round} 1AA") });
        world.sanity.model().edit(&id("Ada"), unasked).unwrap();
        world.pass(secs(15)).await;
    }
    edit("SO14 0AA");
    world.sanity.model().request(&id("Ada")).unwrap();
    world.pass(secs(15)).await;
    assert_eq!(world.contact_says("Ada", "Mailing_Zip").as_deref(), Some("SO14 0AA"));
    // The request began a new count of edits.
    let unasked = json!({ "postcode": "SO15 0AA" });
    world.sanity.model().edit(&id("Ada"), unasked).unwrap();
    world.run_to_the_end().await;
    assert_eq!(world.contact_says("Ada", "Mailing_Zip").as_deref(), Some("SO15 0AA"));
    world.finish().await;
}

#[actix_web::test]
async fn leads_without_email_whose_reply_was_lost_together_are_looked_up_before_any_is_sent_again() {
    let world = World::new().await;
    world.bigin.model().fail_next(CallKind::Upsert, Fault::LostReply, 1);
    for (name, phone) in [("Ada", "07700 900123"), ("Grace", "07700 900456")] {
        let nameless = json!({ "emailAddress": null, "phoneNumber": phone });
        world.request(with(lead(name), nameless)).await;
    }
    world.run_to_the_end().await;
    assert_eq!(world.bigin.model().contacts().count(), 2);
    assert_eq!(world.ledger().await.sent, 2);
    world.finish().await;
}

#[actix_web::test]
async fn two_leads_with_one_email_never_share_a_call() {
    let world = World::new().await;
    world.sanity.model().webhooks.lose_next(2);
    let same = json!({ "emailAddress": "ADA@example.org", "phoneNumber": null });
    world.request(with(lead("Ada"), json!({ "phoneNumber": null }))).await;
    world.request(with(lead("Grace"), same)).await;
    world.clock.advance(secs(31));
    workers::reconcile::round(&world.app.context, secs(60), secs(30))
        .await
        .unwrap();
    world.run_to_the_end().await;
    assert_eq!(most_records(&world, CallKind::Upsert), 1);
    assert_eq!(world.bigin.model().contacts().count(), 1);

    // Their emails part, and the contact they share does not.
    for name in ["Ada", "Grace"] {
        let ada = json!({ "emailAddress": format!("{name}.new@example.org") });
        world.sanity.model().edit(&id(name), ada).unwrap();
        world.sanity.model().request(&id(name)).unwrap();
    }
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(most_records(&world, CallKind::Update), 1);
    world.finish().await;
}

#[actix_web::test]
async fn two_leads_without_email_and_with_one_phone_become_one_contact() {
    let world = World::new().await;
    for (name, phone) in [("Ada", "07700 900123"), ("Grace", "+44 7700 900123")] {
        let nameless = json!({ "emailAddress": null, "phoneNumber": phone });
        world.request(with(lead(name), nameless)).await;
    }
    world.run_to_the_end().await;
    assert_eq!(world.bigin.model().contacts().count(), 1);
    assert_eq!(world.ledger().await.sent, 2);
    world.finish().await;
}

/// The most records of one call of a kind.
fn most_records(world: &World, kind: CallKind) -> usize {
    let model = world.bigin.model();
    let calls = model.calls.iter().filter(|call| call.kind == kind);
    calls.map(|call| call.records).max().unwrap_or_default()
}

/// A refusal of the whole call for what is in it.
fn refused() -> Fault {
    Fault::BodyError {
        status: 400,
        code: "INVALID_DATA".into(),
        message: "invalid data".into(),
    }
}

#[actix_web::test]
async fn a_lone_lead_whose_call_is_refused_as_a_whole_is_not_blamed_before_others_have_succeeded() {
    let world = World::new().await;
    world.bigin.model().fail_next(CallKind::Upsert, refused(), 3);
    world.request(lead("Ada")).await;
    for _ in 0..3 {
        world.run_due().await;
        assert_eq!(world.state("Ada").await, "requested");
        assert_eq!(world.sync("Ada").await.sync.attempts.backoff_total, Duration::ZERO);
        world.clock.advance(secs(300));
    }
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    world.finish().await;
}

#[actix_web::test]
async fn a_lead_whose_call_is_refused_as_a_whole_again_after_others_have_succeeded_is_told() {
    let world = World::new().await;
    world.bigin.model().fail_next(CallKind::Upsert, refused(), 1);
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.request(lead("Grace")).await;
    while world.state("Grace").await == "requested" {
        world.clock.advance(Duration::from_millis(100));
        workers::step(&world.app.context, Stage::Upsert).await.unwrap();
    }
    world.bigin.model().fail_next(CallKind::Upsert, refused(), 1);
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("FAILED"));
    assert_eq!(world.lead_says("Grace", "crmStatus").as_deref(), Some("SENT"));
    world.finish().await;
}

#[actix_web::test]
async fn a_restart_asks_no_token_endpoint_that_wants_silence() {
    let mut world = World::new().await;
    world.bigin.model().fail_next(CallKind::Token, Fault::TokenThrottled, 1);
    world.app.context.read_org_at_start().await.unwrap();
    assert_eq!(world.bigin.model().count(CallKind::Token), 1);
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
        world.bigin.model().count(CallKind::Token),
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
async fn while_sanity_wants_to_be_left_alone_nobody_looks_for_missed_webhooks() {
    let world = World::new().await;
    let limited = SanityFault::RateLimited(Some(RetryAfter::Seconds(90)));
    world.sanity.model().faults.fail_next(Kind::Query, limited, 1);
    let look = || workers::reconcile::round(&world.app.context, secs(60), secs(30));
    look().await.unwrap_err();
    assert_eq!(world.get("/readyz").await.1["status"], "degraded");
    world.clock.advance(secs(60));
    assert_eq!(look().await.unwrap(), None, "there is no round");
    assert_eq!(world.sanity.model().calls_of(Kind::Query), 1);
    world.clock.advance(secs(60));
    look().await.unwrap();
    assert_eq!(world.sanity.model().calls_of(Kind::Query), 2);
    assert_eq!(
        world.get("/readyz").await.1["status"],
        "ready",
        "though no lead has come by"
    );
    world.finish().await;
}
