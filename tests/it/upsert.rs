//! The upsert: what the contact gets, when calls are shared, and contacts that are gone.

use bigin_sync::domain::state::State;
use bigin_sync::fake::bigin::{CallKind, Fault};
use bigin_sync::fake::sanity::Kind;
use bigin_sync::store::Stage;
use bigin_sync::workers::{self, Stepped};
use serde_json::json;

use crate::world::{World, lead, secs, with};

/// At most this many steps of all workers; whether they came to rest.
pub async fn rests_within(world: &World, steps: usize) -> bool {
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
async fn default_mapping_fills_contact() {
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
async fn updates_existing_contact() {
    let world = World::new().await;
    let there = [("Last_Name", "Old"), ("Email", "ada@example.org"), ("Title", "Dr")];
    let fields = there.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
    let contact = world.bigin.model().add_contact(fields);
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    assert_eq!(world.contact_count(), 1);
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
async fn waiting_leads_share_calls() {
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
    assert!(world.sanity_calls(Kind::Mutate) <= 3);
    world.finish().await;
}

#[actix_web::test]
async fn thousand_leads_cost_few_credits() {
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
async fn action_stays_insert_after_edit() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.edit("Ada", json!({ "postcode": "SO14 0AA" }));
    world.run_to_the_end().await;
    let State::Sent { delivered, .. } = world.sync("Ada").await.sync.state else {
        panic!("not sent");
    };
    assert_eq!(delivered.action.label(), "insert");
    world.finish().await;
}

#[actix_web::test]
async fn recreates_contact_deleted_in_delay() {
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
async fn recreates_contact_deleted_after_sent() {
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
        world.set_requested("Ada");
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
async fn recreates_contact_known_to_lead_only() {
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
async fn gives_up_contact_that_comes_and_goes() {
    let world = World::new().await;
    let gone = Fault::EveryRecord("RECORD_NOT_FOUND".into());
    world.fail_bigin(CallKind::AddTags, gone, usize::MAX);
    world.request(lead("Ada")).await;
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "failed");
    assert_eq!(
        world.lead_says("Ada", "crmError").as_deref(),
        Some(
            "Bigin accepted the lead, and then reported that its contact does not exist. Search for the contact in Bigin, then send the lead again"
        )
    );
    let calls = world.bigin.model().calls.len();
    assert!(calls < 1_500, "{calls} calls in a day");
    world.bigin.model().clear_faults();
    world.finish().await;
}
