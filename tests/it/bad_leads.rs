//! Leads that Bigin rejects: the error names a field and no value, and the corrected lead is sent.

use bigin_sync::fake::bigin::CallKind;
use bigin_sync::fake::sanity::{Fault as SanityFault, Kind};
use bigin_sync::store::Stage;
use serde_json::json;

use crate::world::{World, lead, secs, with};

/// Edits the lead and asks again, as an editor does once told what is wrong.
async fn mend(world: &World, name: &str, fields: serde_json::Value) {
    world.clock.advance(secs(60));
    world.edit(name, fields);
    world.set_requested(name);
    world.deliver().await;
}

fn assert_sent(world: &World, name: &str) {
    assert_eq!(world.lead_says(name, "crmStatus").as_deref(), Some("SENT"), "{name}");
    assert_eq!(world.lead_says(name, "crmError"), None, "{name}");
    assert!(world.lead_says(name, "lastSyncedAt").is_some(), "{name}");
}

#[actix_web::test]
async fn names_field_and_limit_but_no_value() {
    let long = "Ada".repeat(40);
    let cases = [
        (
            json!({ "postcode": "P".repeat(31) }),
            "Bigin rejected Mailing_Zip: longer than 30 characters",
        ),
        (
            json!({ "firstName": long }),
            "Bigin rejected First_Name: longer than 40 characters",
        ),
        (
            json!({ "emailAddress": format!("{long}@example.org") }),
            "Bigin rejected Email: longer than 100 characters",
        ),
        (
            json!({ "emailAddress": "ada at home" }),
            "Bigin rejected Email: not an email address",
        ),
    ];
    for (fields, expected) in cases {
        let world = World::new().await;
        world.request(with(lead("Ada"), fields)).await;
        world.run_to_the_end().await;
        assert_eq!(
            world.lead_says("Ada", "crmStatus").as_deref(),
            Some("FAILED"),
            "{expected}"
        );
        assert_eq!(world.lead_says("Ada", "crmError").as_deref(), Some(expected));
        let good = json!({ "postcode": "PO16 7GZ", "firstName": "Ada", "emailAddress": "ada@example.org" });
        mend(&world, "Ada", good).await;
        world.run_to_the_end().await;
        assert_sent(&world, "Ada");
        world.finish().await;
    }
}

#[actix_web::test]
async fn names_contact_that_has_the_value() {
    let world = World::new().await;
    world.bigin.model().set_unique("Phone", true);
    let (email, phone) = {
        let mut model = world.bigin.model();
        let mut contact = |field: &str, value: &str| {
            model.add_contact(
                [
                    ("Last_Name".to_owned(), json!("Other")),
                    (field.to_owned(), json!(value)),
                ]
                .into(),
            )
        };
        (contact("Email", "ada@example.org"), contact("Phone", "+447700900123"))
    };
    world
        .request(with(lead("Ada"), json!({ "phoneNumber": "07700 900123" })))
        .await;
    world.run_to_the_end().await;
    assert_eq!(
        world.lead_says("Ada", "crmError"),
        Some(format!("Bigin rejected Phone: contact {phone} already has this value"))
    );
    mend(&world, "Ada", json!({ "phoneNumber": "07700 900124" })).await;
    world.run_to_the_end().await;
    assert_sent(&world, "Ada");
    assert_eq!(world.lead_says("Ada", "biginContactId"), Some(email));
    assert_eq!(world.contact_count(), 2);
    world.finish().await;
}

#[actix_web::test]
async fn fix_during_write_back_restarts_sync() {
    // The lead is mended before the result is written, after it is written and not yet known to be, and in between.
    for moment in ["before", "after a lost reply", "after a conflict"] {
        let world = World::new().await;
        world
            .request(with(lead("Ada"), json!({ "emailAddress": "ada at home" })))
            .await;
        world.run(Stage::Upsert).await;
        assert_eq!(world.state("Ada").await, "rejected");
        let fault = match moment {
            "before" => None,
            "after a lost reply" => Some(SanityFault::LostReply),
            _ => Some(SanityFault::Status(500)),
        };
        if let Some(fault) = fault {
            world.fail_sanity(Kind::Mutate, fault, 1);
            world.run(Stage::WriteBack).await;
        }
        mend(&world, "Ada", json!({ "emailAddress": "ada@example.org" })).await;
        world.run_to_the_end().await;
        assert_sent(&world, "Ada");
        assert_eq!(world.contact_count(), 1, "{moment}");
        world.finish().await;
    }
}

#[actix_web::test]
async fn bad_email_fails_and_fixed_lead_is_sent() {
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
    world.edit("Ada", json!({ "emailAddress": "ada@example.org" }));
    world.set_requested("Ada");
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    assert_eq!(world.lead_says("Ada", "crmError"), None);
    world.finish().await;
}

#[actix_web::test]
async fn nameless_lead_fails_unsent() {
    let world = World::new().await;
    world
        .request(with(lead("Ada"), json!({ "firstName": null, "secondName": " " })))
        .await;
    world.run_to_the_end().await;
    assert_eq!(
        world.lead_says("Ada", "crmError").as_deref(),
        Some("The lead has no name: fill in the first or last name")
    );
    assert_eq!(world.bigin_calls(CallKind::Upsert), 0);
    world.finish().await;
}
