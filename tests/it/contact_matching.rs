//! Which contact a lead becomes: no contact is duplicated, and no lead takes over the contact of another.

use std::collections::BTreeSet;
use std::time::Duration;

use bigin_sync::fake::bigin::{CallKind, Fault};
use bigin_sync::store::{Prefer, Stage};
use bigin_sync::workers::step;
use serde_json::{Value, json};

use crate::ambiguous_inserts::without_email;
use crate::world::{World, id, lead, secs, with};

/// A lead that says nothing of itself but its name, which is the same for all of them.
pub fn bare(of: &str) -> Value {
    let same = json!({ "firstName": "Ada", "emailAddress": null, "phoneNumber": null });
    with(lead(of), same)
}

/// The most records of one call of a kind.
fn most_records(world: &World, kind: CallKind) -> usize {
    let model = world.bigin.model();
    let calls = model.calls.iter().filter(|call| call.kind == kind);
    calls.map(|call| call.records).max().unwrap_or_default()
}

#[actix_web::test]
async fn corrected_email_keeps_contact() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.edit("Ada", json!({ "emailAddress": "ada.right@example.org" }));
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
async fn finds_phone_in_any_spelling() {
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
    assert_eq!(world.contact_count(), 2);
    assert_eq!(world.lead_says("Grace", "crmStatus").as_deref(), Some("SENT"));
    world.finish().await;
}

#[actix_web::test]
async fn shared_email_shares_contact_and_delay() {
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
    assert_eq!(world.contact_count(), 1);
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("SENT"));
    assert_eq!(world.lead_says("Grace", "crmStatus").as_deref(), Some("SENT"));
    world.finish().await;
}

#[actix_web::test]
async fn duplicated_lead_gets_its_own_contact() {
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
    assert_eq!(world.contact_count(), 2);
    assert_eq!(world.contact_says("Ada", "First_Name").as_deref(), Some("Ada"));
    assert_eq!(world.contact_says("Grace", "First_Name").as_deref(), Some("Grace"));
    world.finish().await;
}

#[actix_web::test]
async fn lead_id_field_finds_contact() {
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
    assert_eq!(world.bigin_calls(CallKind::Coql), 0);
    world.finish().await;
}

#[actix_web::test]
async fn lead_id_field_must_be_unique() {
    let world = World::with(|settings| settings.bigin.lead_id_field = Some("Lead_ID".into())).await;
    world.bigin.model().add_field("Lead_ID", "Lead ID", "text", 255, false);
    world.request(lead("Ada")).await;
    world.pass(secs(3_600)).await;
    assert_eq!(world.contact_count(), 0);
    let (_, ready) = world.get("/readyz").await;
    assert!(ready.to_string().contains(r#""code":"lead_id_field""#), "{ready}");
    world.bigin.model().remove_field("Lead_ID");
    world.bigin.model().add_field("Lead_ID", "Lead ID", "text", 255, true);
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}

#[actix_web::test]
async fn shared_name_shares_no_contact() {
    for lost in [0, 1] {
        let world = World::new().await;
        world.fail_bigin(CallKind::Upsert, Fault::LostReply, lost);
        let names = ["Ada", "Grace", "Mary"];
        for name in names {
            world.request(bare(name)).await;
        }
        world.run_to_the_end().await;
        assert_eq!(world.contact_count(), names.len());
        let contacts: BTreeSet<_> = names
            .iter()
            .map(|name| world.lead_says(name, "biginContactId"))
            .collect();
        assert_eq!(contacts.len(), names.len());
        world.finish().await;
    }
}

#[actix_web::test]
async fn namesakes_find_different_contacts() {
    let mut world = World::new().await;
    // So many that two of them travel together after the claim is lost.
    let names = ["Ada", "Grace", "Mary", "Hedy"];
    for name in names {
        world.request(bare(name)).await;
    }
    // The process dies with the claim: Bigin has made a contact of each lead, and which of whom was not recorded.
    let claim = world.store().claim(Stage::Upsert, 10, Prefer::Fresh).await.unwrap();
    assert_eq!(claim.syncs.len(), names.len());
    for _ in names {
        let made = [("First_Name", "Ada"), ("Last_Name", "Example")];
        let made = made.map(|(field, text)| (field.to_owned(), text.into()));
        world.bigin.model().add_contact(made.into());
    }
    world.restart().await;
    world.run_to_the_end().await;
    assert_eq!(world.contact_count(), names.len());
    let contacts = names.map(|name| world.lead_says(name, "biginContactId"));
    assert_eq!(BTreeSet::from(contacts).len(), names.len());
    world.finish().await;
}

#[actix_web::test]
async fn older_namesake_is_left_alone() {
    let world = World::new().await;
    let somebody = [("First_Name", "Ada"), ("Last_Name", "Example")];
    let somebody = somebody.map(|(field, text)| (field.to_owned(), text.into()));
    let there = world.bigin.model().add_contact(somebody.into());
    world.clock.advance(secs(3_600));
    world.request(bare("Ada")).await;
    world.run_to_the_end().await;
    assert_eq!(world.contact_count(), 2);
    assert_eq!(world.changes_of(&there), Vec::<&str>::new());
    world.finish().await;
}

#[actix_web::test]
async fn shared_phone_shares_contact() {
    let world = World::new().await;
    for (name, phone) in [("Ada", "07700 900123"), ("Grace", "+44 7700 900123")] {
        let nameless = json!({ "emailAddress": null, "phoneNumber": phone });
        world.request(with(lead(name), nameless)).await;
    }
    world.run_to_the_end().await;
    assert_eq!(world.contact_count(), 1);
    assert_eq!(world.ledger().await.sent, 2);
    world.finish().await;
}

#[actix_web::test]
async fn shared_email_shares_no_call() {
    let world = World::new().await;
    world.sanity.model().webhooks.lose_next(2);
    let same = json!({ "emailAddress": "ADA@example.org", "phoneNumber": null });
    world.request(with(lead("Ada"), json!({ "phoneNumber": null }))).await;
    world.request(with(lead("Grace"), same)).await;
    world.clock.advance(secs(31));
    world.reconcile().await.unwrap();
    world.run_to_the_end().await;
    assert_eq!(most_records(&world, CallKind::Upsert), 1);
    assert_eq!(world.contact_count(), 1);

    // Their emails part, and the contact they share does not.
    for name in ["Ada", "Grace"] {
        let ada = json!({ "emailAddress": format!("{name}.new@example.org") });
        world.edit(name, ada);
        world.set_requested(name);
    }
    world.deliver().await;
    world.run_to_the_end().await;
    assert_eq!(most_records(&world, CallKind::Update), 1);
    world.finish().await;
}

#[actix_web::test]
async fn shared_phone_delays_no_other_lead() {
    let world = World::new().await;
    for number in 0..150 {
        let same = json!({ "phoneNumber": "07700 900999" });
        world.request(with(lead(&format!("Lead{number}")), same)).await;
    }
    world.clock.advance(Duration::from_millis(1));
    world.request(lead("Ada")).await;
    for _ in 0..4 {
        step(&world.app.context, Stage::Upsert).await.unwrap();
        world.clock.advance(Duration::from_millis(1));
    }
    assert_eq!(world.state("Ada").await, "upserted");
    world.run_to_the_end().await;
    assert_eq!(world.ledger().await.sent, 151);
    world.finish().await;
}

#[actix_web::test]
async fn common_phone_hides_no_other() {
    let world = World::new().await;
    let contact = |phone: &str| {
        let fields = [
            ("Last_Name".to_owned(), json!("Other")),
            ("Phone".to_owned(), json!(phone)),
        ];
        world.bigin.model().add_contact(fields.into())
    };
    for _ in 0..250 {
        contact("+447700900001");
    }
    let own = contact("+447700900002");
    let with_phone = |name: &str, phone: &str| with(without_email(name), json!({ "phoneNumber": phone }));
    world.request(with_phone("Ada", "07700 900001")).await;
    world.request(with_phone("Grace", "07700 900002")).await;
    world.run_to_the_end().await;
    assert_eq!(world.lead_says("Grace", "biginContactId"), Some(own));
    assert_eq!(world.contact_count(), 251, "none is created");
    world.finish().await;
}

#[actix_web::test]
async fn failing_lookup_delays_no_lead_with_email() {
    let world = World::new().await;
    world.fail_bigin(CallKind::Coql, Fault::Html(502), usize::MAX);
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
async fn lookup_failure_in_batch_delays_no_other() {
    let world = World::new().await;
    world.fail_bigin(CallKind::Coql, Fault::Html(502), 1);
    world.request(with(lead("Ada"), json!({ "emailAddress": null }))).await;
    world.request(lead("Grace")).await;
    step(&world.app.context, Stage::Upsert).await.unwrap();
    assert_eq!(
        world.state("Grace").await,
        "requested",
        "an ambiguous end ends the step"
    );
    world.fail_bigin(CallKind::Coql, Fault::Html(502), usize::MAX);
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
async fn hanging_lookup_makes_suspects() {
    let world = World::new().await;
    world.fail_bigin(CallKind::Coql, Fault::Html(502), 1);
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
async fn missing_coql_scope_delays_only_lookups() {
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
