//! A lead's journey, from REQUESTED to its end.

use bigin_sync::fake::bigin::CallKind;
use bigin_sync::fake::sanity::Kind;
use bigin_sync::store::Stage;
use serde_json::json;

use crate::world::{World, id, lead, secs, with};

#[actix_web::test]
async fn a_requested_lead_is_upserted_tagged_after_the_delay_and_says_so() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    assert_eq!(world.state("Ada").await, "upserted");
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("REQUESTED"));

    world.pass(secs(14)).await;
    assert_eq!(world.state("Ada").await, "upserted", "the tag waits for its time");
    world.pass(secs(1)).await;

    assert_eq!(
        world.story("Ada").await,
        ["created", "upserted", "tagged", "written_back"]
    );
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    assert_eq!(
        world.lead_says("Ada", "lastSyncedAt").as_deref(),
        Some("2026-11-22T10:00:15Z")
    );
    assert_eq!(world.lead_says("Ada", "crmError"), None);
    let contact = world.lead_says("Ada", "biginContactId").unwrap();
    assert_eq!(world.changes_of(&contact), ["upserted", "tagged"]);
    assert_eq!(
        world.bigin.model().contact(&contact).unwrap().tags,
        ["DBR_Dashboard_Import"]
    );
    world.finish().await;
}

#[actix_web::test]
async fn the_contact_carries_the_lead_as_the_default_mapping_has_it() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    let expected = [
        ("First_Name", "Ada"),
        ("Last_Name", "Example"),
        ("Phone", "+447700900107"),
        ("Mailing_Zip", "PO16 7GZ"),
        ("Mailing_Street", "1 Invented Street"),
        (
            "Description",
            "[01/07/2026, 10:30:00] AI: Hello Ada\n\n[01/07/2026, 10:31:00] Lead: Tell me more\n\nLead Source: DBR Dashboard\nLead Status: HOT",
        ),
    ];
    for (field, text) in expected {
        let said = world.contact_says("Ada", field);
        if field == "Phone" {
            assert!(said.unwrap().starts_with("+447700900"));
        } else {
            assert_eq!(said.as_deref(), Some(text), "{field}");
        }
    }
    world.run_to_the_end().await;
    world.finish().await;
}

#[actix_web::test]
async fn a_contact_that_is_there_is_updated_and_not_doubled() {
    let world = World::new().await;
    let there = [("Last_Name", "Old"), ("Email", "ada@example.org"), ("Title", "Dr")];
    let fields = there.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
    let contact = world.bigin.model().add_contact(fields);
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    assert_eq!(world.bigin.model().contacts().count(), 1);
    assert_eq!(world.lead_says("Ada", "biginContactId"), Some(contact));
    assert_eq!(world.contact_says("Ada", "Last_Name").as_deref(), Some("Example"));
    assert_eq!(
        world.contact_says("Ada", "Title").as_deref(),
        Some("Dr"),
        "what the lead does not say stays"
    );
    world.finish().await;
}

#[actix_web::test]
async fn all_tags_are_added_in_one_call_and_those_that_a_contact_has_stay() {
    let world = World::with(|settings| settings.bigin.tags = vec!["DBR_Dashboard_Import".into(), "Hot".into()]).await;
    let there = [("Last_Name", "Old"), ("Email", "ada@example.org")];
    let fields = there.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
    let contact = world.bigin.model().add_contact(fields);
    world.bigin.model().tag_by_hand(&contact, "Customer");
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    assert_eq!(
        world.bigin.model().contact(&contact).unwrap().tags,
        ["Customer", "DBR_Dashboard_Import", "Hot"]
    );
    assert_eq!(world.bigin.model().count(CallKind::AddTags), 1);
    world.finish().await;
}

#[actix_web::test]
async fn leads_that_wait_at_the_same_moment_share_their_calls() {
    let world = World::new().await;
    for number in 0..100 {
        let lead = with(lead(&format!("Lead{number}")), json!({ "crmStatus": "REQUESTED" }));
        world.sanity.model().publish(lead).unwrap();
    }
    world.deliver().await;
    world.run_to_the_end().await;
    {
        let model = world.bigin.model();
        assert_eq!(model.contacts().count(), 100);
        // The first call of a process is small: how long a record takes is not known yet.
        assert_eq!((model.count(CallKind::Upsert), model.count(CallKind::AddTags)), (2, 2));
        assert_eq!(model.grants(), 1);
    }
    assert!(world.sanity.model().calls_of(Kind::Mutate) <= 3);
    world.finish().await;
}

#[actix_web::test]
async fn a_thousand_leads_at_once_cost_few_credits_and_one_token() {
    let world = World::new().await;
    world.bigin.model().switches.latency = std::time::Duration::from_millis(150);
    for number in 0..1000 {
        let lead = with(lead(&format!("Lead{number}")), json!({ "crmStatus": "REQUESTED" }));
        // A tenth has no email address; each of these has a phone number of its own.
        let lead = if number % 10 == 0 {
            with(
                lead,
                json!({ "emailAddress": null, "phoneNumber": format!("07700 900{:03}", number / 10) }),
            )
        } else {
            with(lead, json!({ "phoneNumber": null }))
        };
        world.sanity.model().publish(lead).unwrap();
    }
    world.deliver().await;
    world.run_to_the_end().await;
    {
        let mut model = world.bigin.model();
        assert_eq!(model.contacts().count(), 1000);
        assert!(model.credits_used() <= 300, "{} credits", model.credits_used());
        assert_eq!(model.grants(), 1);
    }
    assert_eq!(world.ledger().await.sent, 1000);
    world.finish().await;
}

#[actix_web::test]
async fn an_edit_during_the_delay_is_upserted_again_before_the_tag() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world
        .sanity
        .model()
        .edit(&id("Ada"), json!({ "postcode": "SO14 0AA" }))
        .unwrap();
    world.pass(secs(15)).await;
    assert_eq!(world.state("Ada").await, "upserted", "upserted again, and waiting anew");
    world.pass(secs(15)).await;
    assert_eq!(world.contact_says("Ada", "Mailing_Zip").as_deref(), Some("SO14 0AA"));
    let (_, sync) = world.get("/api/syncs/1").await;
    assert_eq!(
        sync["action"], "insert",
        "this sync has made the contact, however often it upserted it"
    );
    assert_eq!(
        world.story("Ada").await,
        ["created", "upserted", "changed", "upserted", "tagged", "written_back"]
    );
    assert_eq!(world.bigin.model().contacts().count(), 1);
    world.finish().await;
}

#[actix_web::test]
async fn a_corrected_email_does_not_make_a_second_contact() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world
        .sanity
        .model()
        .edit(&id("Ada"), json!({ "emailAddress": "ada.right@example.org" }))
        .unwrap();
    world.run_to_the_end().await;
    {
        let model = world.bigin.model();
        let emails: Vec<_> = model
            .contacts()
            .map(|(_, contact)| contact.text("Email").unwrap().to_owned())
            .collect();
        assert_eq!(emails, ["ada.right@example.org"]);
    }
    world.finish().await;
}

#[actix_web::test]
async fn a_busy_conversation_does_not_hold_the_tag_back_for_ever() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    for round in 0..6 {
        world
            .sanity
            .model()
            .edit(&id("Ada"), json!({ "postcode": format!("PO{round} 1AA") }))
            .unwrap();
        world.pass(secs(15)).await;
    }
    assert_eq!(world.state("Ada").await, "sent");
    let changed = world
        .story("Ada")
        .await
        .iter()
        .filter(|what| *what == "changed")
        .count();
    assert_eq!(changed, 3);
    world.finish().await;
}

#[actix_web::test]
async fn a_lead_that_is_withdrawn_during_the_delay_is_not_tagged() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world
        .sanity
        .model()
        .edit(&id("Ada"), json!({ "crmStatus": "NOT_SENT" }))
        .unwrap();
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "cancelled");
    assert_eq!(world.bigin.model().count(CallKind::AddTags), 0);
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("NOT_SENT"));
    world.finish().await;
}

#[actix_web::test]
async fn a_lead_that_goes_away_ends_its_sync_at_every_step() {
    for (step, gone) in [(Stage::Upsert, true), (Stage::Tag, false), (Stage::WriteBack, true)] {
        let world = World::new().await;
        world.request(lead("Ada")).await;
        if step != Stage::Upsert {
            world.run(Stage::Upsert).await;
        }
        if step == Stage::WriteBack {
            world.clock.advance(secs(15));
            world.run(Stage::Tag).await;
        }
        if gone {
            world.sanity.model().delete(&id("Ada")).unwrap();
        } else {
            world.sanity.model().unpublish(&id("Ada")).unwrap();
        }
        world.run_to_the_end().await;
        assert_eq!(world.state("Ada").await, "lead_deleted", "before {step:?}");
        world.finish().await;
    }
}

#[actix_web::test]
async fn drafts_and_versions_carry_the_result_too() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world
        .sanity
        .model()
        .edit_draft(&id("Ada"), json!({ "address": "2 Invented Street" }))
        .unwrap();
    world.sanity.model().make_version("rSpring", &id("Ada")).unwrap();
    world.run_due().await;
    world.pass(secs(15)).await;
    for copy in [
        format!("drafts.{}", id("Ada")),
        format!("versions.rSpring.{}", id("Ada")),
    ] {
        let model = world.sanity.model();
        assert_eq!(model.text(&copy, "crmStatus"), Some("SENT"), "{copy}");
        assert_eq!(
            model.text(&copy, "lastSyncedAt"),
            Some("2026-11-22T10:00:15Z"),
            "{copy}"
        );
    }
    assert_eq!(
        world.sanity.model().text(&format!("drafts.{}", id("Ada")), "address"),
        Some("2 Invented Street"),
        "what the editor is writing stays"
    );
    world.finish().await;
}

#[actix_web::test]
async fn a_stale_draft_that_is_published_gets_its_result_back_without_a_second_sync() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    let stale = world.sanity.model().document(&id("Ada")).unwrap().clone();
    world.run_due().await;
    world.pass(secs(15)).await;
    let upserts = world.bigin.model().count(CallKind::Upsert);

    world.clock.advance(secs(3600));
    world
        .sanity
        .model()
        .publish(with(
            json!(stale),
            json!({ "_rev": null, "_updatedAt": null, "_createdAt": null }),
        ))
        .unwrap();
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(world.story("Ada").await, ["created", "restored", "written_back"]);
    assert_eq!(
        world.lead_says("Ada", "lastSyncedAt").as_deref(),
        Some("2026-11-22T10:00:15Z")
    );
    assert_eq!(world.bigin.model().count(CallKind::Upsert), upserts);
    assert_eq!(world.bigin.model().count(CallKind::AddTags), 1);
    world.finish().await;
}

#[actix_web::test]
async fn a_second_request_on_purpose_is_carried_out() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    world.clock.advance(secs(3600));
    world.sanity.model().request(&id("Ada")).unwrap();
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(
        world.story("Ada").await,
        ["created", "upserted", "tagged", "written_back"]
    );
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    assert_eq!(world.bigin.model().count(CallKind::AddTags), 2);
    assert_eq!(world.bigin.model().contacts().count(), 1);
    world.finish().await;
}

#[actix_web::test]
async fn a_request_that_the_write_back_overwrote_is_carried_out() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.clock.advance(secs(15));
    world.run(Stage::Tag).await;
    // Asked again after the tag worker's read, with other data; the webhook is still on its way when the result is written.
    world.clock.advance(secs(6));
    let id = id("Ada");
    world
        .sanity
        .model()
        .edit(&id, json!({ "crmStatus": "NOT_SENT", "postcode": "SO14 0AA" }))
        .unwrap();
    world.sanity.model().request(&id).unwrap();
    world.run(Stage::WriteBack).await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    assert_ne!(world.contact_says("Ada", "Mailing_Zip").as_deref(), Some("SO14 0AA"));

    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(world.contact_says("Ada", "Mailing_Zip").as_deref(), Some("SO14 0AA"));
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    assert_eq!(world.ledger().await.created, 2);
    world.finish().await;
}

#[actix_web::test]
async fn a_request_that_joins_between_the_tag_and_the_write_back_goes_round_again() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.clock.advance(secs(15));
    world.run(Stage::Tag).await;
    world.clock.advance(secs(1));
    let id = id("Ada");
    world
        .sanity
        .model()
        .edit(&id, json!({ "crmStatus": "NOT_SENT", "postcode": "SO14 0AA" }))
        .unwrap();
    world.sanity.model().request(&id).unwrap();
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(
        world.story("Ada").await,
        [
            "created",
            "upserted",
            "tagged",
            "coalesced",
            "asked_again",
            "upserted",
            "tagged",
            "written_back"
        ]
    );
    assert_eq!(world.contact_says("Ada", "Mailing_Zip").as_deref(), Some("SO14 0AA"));
    world.finish().await;
}

#[actix_web::test]
async fn a_bad_email_fails_with_a_sentence_and_the_mended_lead_is_sent() {
    let world = World::new().await;
    world
        .request(with(lead("Ada"), json!({ "emailAddress": "ada at example" })))
        .await;
    world.request(lead("Grace")).await;
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("FAILED"));
    assert_eq!(
        world.lead_says("Ada", "crmError").as_deref(),
        Some("Bigin rejected Email: not an email address")
    );
    assert_eq!(world.lead_says("Ada", "lastSyncedAt"), None);
    assert_eq!(
        world.lead_says("Grace", "crmStatus").as_deref(),
        Some("SENT"),
        "one bad lead hurts only itself"
    );

    world.clock.advance(secs(60));
    world
        .sanity
        .model()
        .edit(&id("Ada"), json!({ "emailAddress": "ada@example.org" }))
        .unwrap();
    world.sanity.model().request(&id("Ada")).unwrap();
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    assert_eq!(world.lead_says("Ada", "crmError"), None);
    world.finish().await;
}

#[actix_web::test]
async fn a_lead_without_any_name_is_told_so_and_never_sent() {
    let world = World::new().await;
    world
        .request(with(lead("Ada"), json!({ "firstName": null, "secondName": " " })))
        .await;
    world.run_to_the_end().await;
    assert_eq!(
        world.lead_says("Ada", "crmError").as_deref(),
        Some("The lead has no name: fill in the first or last name")
    );
    assert_eq!(world.bigin.model().count(CallKind::Upsert), 0);
    world.finish().await;
}

#[actix_web::test]
async fn a_lead_without_an_email_is_looked_up_by_its_phone_however_it_is_spelled() {
    let world = World::new().await;
    let there = [("Last_Name", "Old"), ("Phone", "07700 900123")];
    let fields = there.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
    let contact = world.bigin.model().add_contact(fields);
    world
        .request(with(
            lead("Ada"),
            json!({ "emailAddress": null, "phoneNumber": "+44 7700 900123" }),
        ))
        .await;
    world
        .request(with(
            lead("Grace"),
            json!({ "emailAddress": null, "phoneNumber": "07700 900456" }),
        ))
        .await;
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "biginContactId"), Some(contact));
    assert_eq!(world.bigin.model().contacts().count(), 2);
    assert_eq!(world.lead_says("Grace", "crmStatus").as_deref(), Some("SENT"));
    world.finish().await;
}

#[actix_web::test]
async fn two_leads_with_one_email_share_a_contact_and_its_delay() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.clock.advance(secs(10));
    world
        .request(with(
            lead("Grace"),
            json!({ "emailAddress": "ADA@example.org", "phoneNumber": null }),
        ))
        .await;
    world.run_due().await;
    world.pass(secs(5)).await;
    assert_eq!(
        world.state("Ada").await,
        "upserted",
        "the other's upsert has moved the tag of their contact"
    );
    world.run_to_the_end().await;
    assert_eq!(world.bigin.model().contacts().count(), 1);
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    assert_eq!(world.lead_says("Grace", "crmStatus").as_deref(), Some("SENT"));
    world.finish().await;
}

#[actix_web::test]
async fn a_lead_duplicated_in_studio_does_not_take_over_the_first_ones_contact() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    world.clock.advance(secs(60));
    world.sanity.model().duplicate(&id("Ada"), &id("Grace")).unwrap();
    let draft = format!("drafts.{}", id("Grace"));
    let mended = json!({ "firstName": "Grace", "emailAddress": "grace@example.org", "phoneNumber": null, "crmStatus": "REQUESTED" });
    assert!(world.sanity.model().document(&draft).is_some());
    world.sanity.model().edit_draft(&id("Grace"), mended).unwrap();
    world.sanity.model().publish_draft(&id("Grace")).unwrap();
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(world.bigin.model().contacts().count(), 2);
    assert_eq!(world.contact_says("Ada", "First_Name").as_deref(), Some("Ada"));
    assert_eq!(world.contact_says("Grace", "First_Name").as_deref(), Some("Grace"));
    world.finish().await;
}

#[actix_web::test]
async fn with_a_lead_id_field_a_lead_without_email_is_recognised_by_it() {
    let world = World::with(|settings| settings.bigin.lead_id_field = Some("Lead_ID".into())).await;
    world.bigin.model().add_field("Lead_ID", "Lead ID", "text", 255, true);
    world
        .request(with(lead("Ada"), json!({ "emailAddress": null, "phoneNumber": null })))
        .await;
    world.run_due().await;
    assert_eq!(
        world.bigin.model().contacts().next().unwrap().1.text("Lead_ID"),
        Some("lead-ada")
    );
    world.run_to_the_end().await;
    assert_eq!(world.bigin.model().count(CallKind::Coql), 0);
    world.finish().await;
}

#[actix_web::test]
async fn a_webhook_that_never_came_is_found_by_reconciliation_and_counted() {
    let world = World::new().await;
    world.sanity.model().webhooks.lose_next(1);
    world.request(lead("Ada")).await;
    let round = || bigin_sync::workers::reconcile::round(&world.app.context, secs(60), secs(30));
    assert_eq!(round().await.unwrap(), Some(0), "not before it has waited");
    world.clock.advance(secs(31));
    assert_eq!(round().await.unwrap(), Some(1));
    assert_eq!(round().await.unwrap(), Some(0), "never while a sync is active");
    world.run_to_the_end().await;
    assert_eq!(round().await.unwrap(), Some(0));
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    assert_eq!(world.ledger().await.created_by_reconciliation, 1);
    world.finish().await;
}

#[actix_web::test]
async fn finished_syncs_and_old_deliveries_are_forgotten_and_the_contact_is_not() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    let forget = || bigin_sync::workers::retention::round(&world.app.context, secs(3600));
    assert_eq!(forget().await.unwrap(), 0);
    world.clock.advance(secs(3700));
    assert_eq!(forget().await.unwrap(), 1);
    assert!(world.ledger().await.balances(), "the ledger remembers");

    world
        .sanity
        .model()
        .edit(
            &id("Ada"),
            json!({ "emailAddress": "ada.new@example.org", "biginContactId": null }),
        )
        .unwrap();
    world.sanity.model().request(&id("Ada")).unwrap();
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(
        world.bigin.model().contacts().count(),
        1,
        "known by the store's memory of the lead"
    );
    world.finish().await;
}
