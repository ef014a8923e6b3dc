//! The tags that a contact gets.

use bigin_sync::fake::bigin::CallKind;
use serde_json::json;

use crate::sync::ends_sent;
use crate::world::{World, lead};

#[actix_web::test]
async fn adds_all_in_one_call_and_keeps_others() {
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
    assert_eq!(world.bigin_calls(CallKind::AddTags), 1);
    world.finish().await;
}

#[actix_web::test]
async fn parses_text_and_object() {
    for objects in [false, true] {
        let world = World::new().await;
        world.bigin.model().switches.tags_as_objects = objects;
        world.request(lead("Ada")).await;
        ends_sent(world, "tags").await;
    }
}
