//! What the remote services may do to us, and what becomes of the leads.

use std::time::Duration;

use bigin_sync::fake::bigin::{CallKind, Fault};
use bigin_sync::fake::sanity::{Fault as SanityFault, Kind, RetryAfter};
use bigin_sync::store::Stage;
use serde_json::json;

use crate::world::{World, id, lead, secs, with};

/// The lead comes to its end, once, whatever happened on the way.
async fn ends_sent(world: World, label: &str) {
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"), "{label}");
    assert_eq!(world.state("Ada").await, "sent", "{label}");
    assert_eq!(world.bigin.model().contacts().count(), 1, "{label}");
    world.finish().await;
}

#[actix_web::test]
async fn whatever_bigin_answers_once_the_lead_is_sent_and_not_doubled() {
    let html = || Fault::Html(502);
    let faults: [(&str, CallKind, Fault); 16] = [
        ("the upsert's reply is lost", CallKind::Upsert, Fault::LostReply),
        ("the upsert never arrives", CallKind::Upsert, Fault::NoReply),
        ("a proxy's page", CallKind::Upsert, html()),
        ("an internal error", CallKind::Upsert, Fault::Status(500)),
        (
            "a rate limit",
            CallKind::Upsert,
            Fault::RateLimited { retry_after: Some(90) },
        ),
        (
            "a rate limit without a time",
            CallKind::Upsert,
            Fault::RateLimited { retry_after: None },
        ),
        ("a locked record", CallKind::Upsert, Fault::RecordLocked),
        ("the tag's reply is lost", CallKind::AddTags, Fault::LostReply),
        ("the tag never arrives", CallKind::AddTags, Fault::NoReply),
        ("a proxy's page for the tag", CallKind::AddTags, html()),
        ("an internal error for the tag", CallKind::AddTags, Fault::Status(500)),
        ("the fields cannot be read", CallKind::Fields, html()),
        ("the token endpoint shows a page", CallKind::Token, html()),
        ("the token's reply is lost", CallKind::Token, Fault::LostReply),
        ("the token endpoint throttles", CallKind::Token, Fault::TokenThrottled),
        (
            "the refresh token is refused for a while",
            CallKind::Token,
            Fault::TokenError("invalid_code".into()),
        ),
    ];
    for (label, kind, fault) in faults {
        let world = World::new().await;
        world.bigin.model().fail_next(kind, fault, 1);
        world.request(lead("Ada")).await;
        ends_sent(world, label).await;
    }
}

#[actix_web::test]
async fn whatever_sanity_answers_once_the_lead_is_sent() {
    let faults: [(&str, Kind, SanityFault); 9] = [
        ("the read is lost", Kind::Doc, SanityFault::NoReply),
        ("a page for the read", Kind::Doc, SanityFault::Html(503)),
        (
            "the read is limited",
            Kind::Doc,
            SanityFault::RateLimited(Some(RetryAfter::Date(secs(120)))),
        ),
        ("the write-back's reply is lost", Kind::Mutate, SanityFault::LostReply),
        ("the write-back never arrives", Kind::Mutate, SanityFault::NoReply),
        ("a page for the write-back", Kind::Mutate, SanityFault::Html(502)),
        (
            "an internal error for the write-back",
            Kind::Mutate,
            SanityFault::Status(500),
        ),
        (
            "the write-back is limited",
            Kind::Mutate,
            SanityFault::RateLimited(Some(RetryAfter::Seconds(30))),
        ),
        ("the write-back meets contention", Kind::Mutate, SanityFault::Conflict),
    ];
    for (label, kind, fault) in faults {
        let world = World::new().await;
        world.sanity.model().faults.fail_next(kind, fault, 1);
        world.request(lead("Ada")).await;
        ends_sent(world, label).await;
    }
}

#[actix_web::test]
async fn a_lost_reply_makes_no_second_contact_of_a_lead_without_email() {
    for fault in [Fault::LostReply, Fault::Html(502)] {
        let world = World::new().await;
        world.bigin.model().fail_next(CallKind::Upsert, fault, 1);
        world.request(with(lead("Ada"), json!({ "emailAddress": null }))).await;
        ends_sent(world, "without email").await;
    }
}

#[actix_web::test]
async fn a_rate_limited_bigin_delays_the_lead_and_costs_no_attempt() {
    let world = World::new().await;
    world
        .bigin
        .model()
        .fail_next(CallKind::Upsert, Fault::RateLimited { retry_after: Some(90) }, 1);
    world.request(lead("Ada")).await;
    world.run_due().await;
    assert_eq!(world.state("Ada").await, "requested");
    world.pass(secs(89)).await;
    assert_eq!(
        world.bigin.model().count(CallKind::Upsert),
        1,
        "Bigin is left alone for as long as it asked"
    );
    world.pass(secs(1)).await;
    assert_eq!(world.state("Ada").await, "upserted");
    assert_eq!(world.story("Ada").await, ["created", "upserted"]);
    ends_sent(world, "after the limit").await;
}

#[actix_web::test]
async fn an_outage_of_a_weekend_fails_no_lead() {
    let world = World::new().await;
    world.bigin.model().switches.down = true;
    for name in ["Ada", "Grace"] {
        world.request(lead(name)).await;
    }
    for _ in 0..48 {
        world.pass(secs(3600)).await;
    }
    assert_eq!(world.sync("Ada").await.sync.attempts.count, 0);
    world.bigin.model().switches.down = false;
    world.run_to_the_end().await;
    for name in ["Ada", "Grace"] {
        assert_eq!(world.lead_says(name, "crmStatus").as_deref(), Some("SENT"));
    }
    world.finish().await;
}

#[actix_web::test]
async fn after_an_outage_leads_that_need_no_call_hold_nobody_back() {
    let world = World::new().await;
    world.bigin.model().switches.down = true;
    for number in 0..20 {
        world.request(lead(&format!("Gone{number}"))).await;
    }
    world.request(lead("Ada")).await;
    world.run_due().await;
    for number in 0..20 {
        world.sanity.model().delete(&id(&format!("Gone{number}"))).unwrap();
    }
    world.bigin.model().switches.down = false;
    world.pass(secs(2)).await;
    assert_eq!(
        world.state("Ada").await,
        "upserted",
        "one probe after the other, without a pause in between"
    );
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn the_culprit_of_a_dying_batch_is_found_and_the_others_are_sent() {
    let world = World::new().await;
    world.bigin.model().switches.poison = Some("Poison".into());
    for number in 0..10 {
        world.request(lead(&format!("Lead{number}"))).await;
    }
    world
        .request(with(lead("Ada"), json!({ "address": "Poison Lane" })))
        .await;
    for _ in 0..6 {
        world.pass(secs(2)).await;
    }
    for number in 0..10 {
        let sync = world.sync(&format!("Lead{number}")).await.sync;
        assert_eq!((sync.state.label(), sync.attempts.count), ("upserted", 0));
    }
    let ada = world.sync("Ada").await.sync;
    assert_eq!(ada.state.label(), "requested");
    assert!(ada.attempts.count > 0, "only the culprit is blamed");
    world.bigin.model().switches.poison = None;
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 11);
    world.finish().await;
}

#[actix_web::test]
async fn an_outage_that_only_a_lone_lead_meets_costs_it_nothing() {
    let world = World::new().await;
    world.request(lead("Grace")).await;
    world.run_to_the_end().await;
    world
        .bigin
        .model()
        .fail_next(CallKind::Upsert, Fault::Html(502), usize::MAX);
    world
        .bigin
        .model()
        .fail_next(CallKind::Fields, Fault::Html(502), usize::MAX);
    world.request(lead("Ada")).await;
    world.run_due().await;
    assert_eq!(
        world.store().open_breakers().await.unwrap().len(),
        1,
        "nothing shows that it is the lead"
    );
    for _ in 0..72 {
        world.pass(secs(3600)).await;
    }
    assert_eq!(world.sync("Ada").await.sync.attempts.backoff_total, Duration::ZERO);
    world.bigin.model().clear_faults();
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    world.finish().await;
}

#[actix_web::test]
async fn a_lone_lead_that_fails_while_others_succeed_is_given_up_in_the_end() {
    let world = World::new().await;
    world.bigin.model().switches.poison = Some("Poison".into());
    world
        .request(with(lead("Ada"), json!({ "address": "Poison Lane" })))
        .await;
    for hour in 0..60 {
        world.request(lead(&format!("Lead{hour}"))).await;
        for _ in 0..12 {
            world.pass(secs(300)).await;
        }
    }
    assert_eq!(world.state("Ada").await, "failed");
    assert_eq!(
        world.lead_says("Ada", "crmError").as_deref(),
        Some("Bigin returned an error (INTERNAL_ERROR)")
    );
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 60);
    world.finish().await;
}

#[actix_web::test]
async fn one_contact_that_cannot_be_tagged_holds_no_other_back() {
    let world = World::new().await;
    for name in ["Ada", "Grace", "Edsger", "Barbara"] {
        world.request(lead(name)).await;
    }
    world.run_due().await;
    let contact = world.sync("Ada").await.sync.state.contact().unwrap().to_string();
    world.bigin.model().switches.poison = Some(contact);
    world.pass(secs(15)).await;
    for _ in 0..5 {
        world.pass(secs(2)).await;
    }
    for name in ["Grace", "Edsger", "Barbara"] {
        assert_eq!(world.state(name).await, "sent", "{name}");
    }
    assert_eq!(world.state("Ada").await, "upserted");
    world.bigin.model().switches.poison = None;
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn a_lead_that_fails_for_a_day_is_told_why() {
    let world = World::new().await;
    world
        .bigin
        .model()
        .fail_next(CallKind::Upsert, Fault::RecordLocked, usize::MAX);
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("FAILED"));
    assert_eq!(
        world.lead_says("Ada", "crmError").as_deref(),
        Some("Bigin did not accept the lead (RECORD_LOCKED)")
    );
    let story = world.story("Ada").await;
    assert_eq!(story[story.len() - 3..], ["retry", "rejected", "written_back"]);
    world.bigin.model().clear_faults();
    world.finish().await;
}

#[actix_web::test]
async fn a_contact_deleted_or_merged_during_the_delay_is_upserted_afresh() {
    for merged in [false, true] {
        let world = World::new().await;
        world.request(lead("Ada")).await;
        world.run_due().await;
        {
            let mut model = world.bigin.model();
            let contact = model.contacts().next().unwrap().0.to_owned();
            if merged {
                let fields = [("Last_Name".to_owned(), json!("Other"))].into();
                let into = model.add_contact(fields);
                model.merge_contact(&contact, &into);
            } else {
                model.delete_contact(&contact);
            }
        }
        world.run_to_the_end().await;
        assert_eq!(
            world.story("Ada").await,
            [
                "created",
                "upserted",
                "contact_gone",
                "upserted",
                "tagged",
                "written_back"
            ]
        );
        let contact = world.lead_says("Ada", "biginContactId").unwrap();
        assert_eq!(
            world.bigin.model().contact(&contact).unwrap().tags,
            ["DBR_Dashboard_Import"]
        );
        world.finish().await;
    }
}

#[actix_web::test]
async fn a_contact_that_only_the_lead_remembers_and_that_is_gone_is_made_afresh() {
    let world = World::new().await;
    world
        .request(with(lead("Ada"), json!({ "biginContactId": "7618134000000999999" })))
        .await;
    world.run_to_the_end().await;
    assert_eq!(
        world.story("Ada").await,
        ["created", "contact_gone", "upserted", "tagged", "written_back"]
    );
    assert_ne!(
        world.lead_says("Ada", "biginContactId").as_deref(),
        Some("7618134000000999999")
    );
    world.finish().await;
}

#[actix_web::test]
async fn an_edit_between_the_read_and_the_write_back_is_not_overwritten() {
    let world = World::new().await;
    for name in ["Ada", "Grace"] {
        world.request(lead(name)).await;
    }
    world.run_due().await;
    world.clock.advance(secs(15));
    world.run(Stage::Tag).await;
    // The revision that the tag worker read is too old by now, so the write-back reads at once; its first commit is held up long enough for an edit to come in between.
    world.clock.advance(secs(6));
    world.sanity.model().latency = Duration::from_millis(150);
    let edit = async {
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if world.sanity.model().calls_of(Kind::Doc) > 2 {
                break;
            }
        }
        let ada = id("Ada");
        world
            .sanity
            .model()
            .edit(&ada, json!({ "notes": "seen in between" }))
            .unwrap();
    };
    tokio::join!(edit, world.run(Stage::WriteBack));
    world.sanity.model().latency = Duration::ZERO;
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "notes").as_deref(), Some("seen in between"));
    for name in ["Ada", "Grace"] {
        assert_eq!(world.lead_says(name, "crmStatus").as_deref(), Some("SENT"));
    }
    world.finish().await;
}

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
async fn a_token_that_bigin_drops_costs_one_more() {
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
async fn without_the_scope_to_read_fields_leads_are_sent_as_they_are() {
    let world = World::new().await;
    world.bigin.model().switches.missing_scopes.insert(CallKind::Fields);
    world.request(lead("Ada")).await;
    ends_sent(world, "as they are").await;
}

#[actix_web::test]
async fn without_the_scope_to_look_up_phones_only_leads_without_email_wait() {
    let world = World::new().await;
    world.bigin.model().switches.missing_scopes.insert(CallKind::Coql);
    world.request(with(lead("Ada"), json!({ "emailAddress": null }))).await;
    world.request(lead("Grace")).await;
    world.run_due().await;
    assert_eq!(world.state("Grace").await, "upserted");
    let problem = world.sync("Ada").await.sync.attempts.last_error.unwrap();
    assert!(
        problem.advice().contains("ZohoBigin.coql.READ") && problem.advice().contains("BIGIN_LEAD_ID_FIELD"),
        "{problem}"
    );
    world.bigin.model().switches.missing_scopes.clear();
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 2);
    world.finish().await;
}

#[actix_web::test]
async fn tags_come_back_as_texts_or_as_objects() {
    for objects in [false, true] {
        let world = World::new().await;
        world.bigin.model().switches.tags_as_objects = objects;
        world.request(lead("Ada")).await;
        ends_sent(world, "tags").await;
    }
}

#[actix_web::test]
async fn a_webhook_that_is_lost_repeated_or_late_makes_no_second_sync() {
    let world = World::new().await;
    world.sanity.model().webhooks.repeat_next(2);
    world.sanity.model().webhooks.reorder = true;
    for name in ["Ada", "Grace"] {
        world
            .sanity
            .model()
            .publish(with(lead(name), json!({ "crmStatus": "REQUESTED" })))
            .unwrap();
    }
    world.deliver().await;
    world.run_to_the_end().await;
    let ledger = world.ledger().await;
    assert_eq!(
        (ledger.accepted, ledger.created, ledger.duplicates, ledger.sent),
        (4, 2, 2, 2)
    );
    world.finish().await;
}
