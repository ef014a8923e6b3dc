//! Leads that Bigin does not take: each is told why in words that name a field and no value, can be mended, and costs
//! the others nothing.

use bigin_sync::fake::bigin::{CallKind, Fault};
use bigin_sync::fake::sanity::{Fault as SanityFault, Kind};
use bigin_sync::store::Stage;
use serde_json::json;

use crate::world::{World, id, lead, secs, with};

/// Edits the lead and asks again, as an editor does once told what is wrong.
async fn mend(world: &World, name: &str, fields: serde_json::Value) {
    world.clock.advance(secs(60));
    world.sanity.model().edit(&id(name), fields).unwrap();
    world.sanity.model().request(&id(name)).unwrap();
    world.deliver().await;
}

fn assert_sent(world: &World, name: &str) {
    assert_eq!(world.lead_says(name, "crmStatus").as_deref(), Some("SENT"), "{name}");
    assert_eq!(world.lead_says(name, "crmError"), None, "{name}");
    assert!(world.lead_says(name, "lastSyncedAt").is_some(), "{name}");
}

#[actix_web::test]
async fn a_field_that_is_too_long_or_of_the_wrong_type_is_named_with_its_limit_and_not_its_value() {
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
async fn a_value_that_another_contact_has_is_named_with_that_contact() {
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
    assert_eq!(world.bigin.model().contacts().count(), 2);
    world.finish().await;
}

#[actix_web::test]
async fn a_lead_mended_while_its_failure_is_being_written_goes_round_again() {
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
            world.sanity.model().faults.fail_next(Kind::Mutate, fault, 1);
            world.run(Stage::WriteBack).await;
        }
        mend(&world, "Ada", json!({ "emailAddress": "ada@example.org" })).await;
        world.run_to_the_end().await;
        assert_sent(&world, "Ada");
        assert_eq!(world.bigin.model().contacts().count(), 1, "{moment}");
        world.finish().await;
    }
}

#[actix_web::test]
async fn the_culprits_among_a_hundred_are_found_and_cost_the_others_little() {
    for culprits in [&[37][..], &[3, 80], &[1, 2, 60, 61, 99]] {
        let world = World::new().await;
        world.bigin.model().switches.poison = Some("Poison".into());
        for number in 0..100 {
            let address = if culprits.contains(&number) {
                "Poison Lane"
            } else {
                "1 Invented Street"
            };
            world
                .request(with(lead(&format!("Lead{number}")), json!({ "address": address })))
                .await;
        }
        // Bisection goes on over several steps, between which the breaker's pauses pass.
        for _ in 0..30 {
            world.pass(secs(1)).await;
        }
        let upserted = world.bigin.model().contacts().count();
        assert_eq!(upserted, 100 - culprits.len(), "all others");
        let calls = world.bigin.model().count(CallKind::Upsert);
        assert!(
            calls <= 10 + 16 * culprits.len(),
            "{calls} upserts for {} culprits",
            culprits.len()
        );
        for _ in 0..60 {
            world.pass(secs(5)).await;
        }
        assert_eq!(world.ledger().await.sent, u64::try_from(100 - culprits.len()).unwrap());
        world.bigin.model().switches.poison = None;
        world.run_to_the_end().await;
        assert_eq!(world.ledger().await.sent, 100);
        world.finish().await;
    }
}

fn refused_as_a_whole() -> Fault {
    Fault::BodyError {
        status: 400,
        code: "REQUIRED_PARAM_MISSING".into(),
        message: "one of the expected parameter is missing".into(),
    }
}

#[actix_web::test]
async fn a_call_refused_as_a_whole_now_and_then_fails_no_lead_of_it() {
    let world = World::new().await;
    world.bigin.model().fail_next(CallKind::Upsert, refused_as_a_whole(), 2);
    for number in 0..100 {
        world.request(lead(&format!("Lead{number}"))).await;
    }
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 100);
    world.finish().await;
}
