//! `POST /api/send-to-bigin` waits for the end of a sync.

use serde_json::json;

use crate::world::{World, id, lead, secs, with};

use super::while_workers_run;

#[actix_web::test]
async fn waits_and_answers() {
    let world = World::with(|settings| settings.send_wait = secs(60)).await;
    world.sanity.model().seed(lead("Ada")).unwrap();
    let (status, body) =
        while_workers_run(&world, world.post("/api/send-to-bigin", json!({ "leadId": id("Ada") }))).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        body,
        json!({
            "success": true,
            "contactId": world.lead_says("Ada", "biginContactId").unwrap(),
            "action": "insert",
            "message": "Contact inserted successfully and tagged in Bigin",
        })
    );
    assert_eq!(
        world.lead_says("Ada", "crmStatus").as_deref(),
        Some("SENT"),
        "whatever crmStatus said before"
    );
    let (status, body) =
        while_workers_run(&world, world.post("/api/send-to-bigin", json!({ "leadId": id("Ada") }))).await;
    assert_eq!((status, &body["action"]), (200, &json!("update")), "{body}");
    assert_eq!(body["message"], "Contact updated successfully and tagged in Bigin");
    world.finish().await;
}

#[actix_web::test]
async fn answers_every_other_end() {
    let world = World::with(|settings| settings.send_wait = secs(60)).await;
    world
        .sanity
        .model()
        .seed(with(lead("Ada"), json!({ "emailAddress": "no address" })))
        .unwrap();
    let cases = [
        (id("Ada"), 422, "Bigin rejected Email: not an email address"),
        (
            "lead-nobody".to_owned(),
            404,
            "There is no published lead with this id.",
        ),
    ];
    for (lead, expected, error) in cases {
        let (status, body) =
            while_workers_run(&world, world.post("/api/send-to-bigin", json!({ "leadId": lead }))).await;
        assert_eq!((status, body["error"].as_str()), (expected, Some(error)));
    }
    world.finish().await;
}

#[actix_web::test]
async fn timeout_still_sends_lead() {
    let world = World::new().await;
    world.sanity.model().seed(lead("Ada")).unwrap();
    let (status, body) = world.post("/api/send-to-bigin", json!({ "leadId": id("Ada") })).await;
    assert_eq!(status, 202);
    assert_eq!(
        (&body["success"], &body["error"]),
        (&json!(false), &json!("still being sent"))
    );
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "sent");
    world.finish().await;
}
