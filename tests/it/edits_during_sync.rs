//! Edits, requests, withdrawals and deletions at every moment of a sync: `SENT` is true in the end.

use std::time::Duration;

use bigin_sync::domain::lead::REQUESTED;
use bigin_sync::fake::bigin::{CallKind, Fault};
use bigin_sync::fake::sanity::{By, Fault as SanityFault, Kind};
use bigin_sync::store::Stage;
use bigin_sync::workers;
use serde_json::{Value, json};

use crate::process::eventually;
use crate::world::{World, id, lead, secs, with};

/// How long an answer is held back, so that something can happen meanwhile.
const HELD: Duration = Duration::from_millis(300);

/// Every moment of a journey, in its order.
const MOMENTS: [Moment; 9] = [
    Moment::BeforeTheUpsert,
    Moment::AfterTheFirstRead,
    Moment::DuringTheUpsert,
    Moment::InTheDelay,
    Moment::DuringTheTag,
    Moment::BeforeTheWriteBack,
    Moment::BetweenTheLastReadAndTheWriteBack,
    Moment::WhenWrittenAndNotYetRecorded,
    Moment::AfterTheEnd,
];

#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
enum Moment {
    BeforeTheUpsert,
    AfterTheFirstRead,
    DuringTheUpsert,
    InTheDelay,
    DuringTheTag,
    BeforeTheWriteBack,
    BetweenTheLastReadAndTheWriteBack,
    WhenWrittenAndNotYetRecorded,
    AfterTheEnd,
}

/// What a journey waits for when something comes in between.
#[derive(Clone, Copy)]
enum Held {
    Read,
    Bigin(CallKind),
    Commit,
}

impl Held {
    fn hold(self, world: &World) {
        match self {
            Self::Read => world.fail_sanity(Kind::Doc, SanityFault::Hang(HELD), 1),
            Self::Bigin(kind) => world.fail_bigin(kind, Fault::Hang(HELD), 1),
            Self::Commit => world.fail_sanity(Kind::Mutate, SanityFault::Hang(HELD), 1),
        }
    }

    fn calls(self, world: &World) -> usize {
        match self {
            Self::Read => world.sanity_calls(Kind::Doc),
            Self::Bigin(kind) => world.bigin_calls(kind),
            Self::Commit => world
                .sanity
                .model()
                .transactions
                .iter()
                .filter(|transaction| transaction.by == By::Api)
                .count(),
        }
    }
}

impl Moment {
    /// The step that it lies before, where it lies between two.
    fn before(self) -> Option<Stage> {
        match self {
            Self::BeforeTheUpsert => Some(Stage::Upsert),
            Self::InTheDelay => Some(Stage::Tag),
            Self::BeforeTheWriteBack => Some(Stage::WriteBack),
            _ => None,
        }
    }

    /// The step that it lies in, and the answer that has to be held back.
    fn within(self) -> Option<(Stage, Held)> {
        match self {
            Self::AfterTheFirstRead => Some((Stage::Upsert, Held::Read)),
            Self::DuringTheUpsert => Some((Stage::Upsert, Held::Bigin(CallKind::Upsert))),
            Self::DuringTheTag => Some((Stage::Tag, Held::Bigin(CallKind::AddTags))),
            Self::BetweenTheLastReadAndTheWriteBack => Some((Stage::WriteBack, Held::Read)),
            Self::WhenWrittenAndNotYetRecorded => Some((Stage::WriteBack, Held::Commit)),
            _ => None,
        }
    }
}

/// Lets a requested lead travel, does something to it at the moment, and lets it travel on to its end.
async fn at(moment: Moment, world: &World, act: impl Fn(&World)) {
    for stage in Stage::ALL {
        if moment.before() == Some(stage) {
            act(world);
            world.deliver().await;
        }
        if stage == Stage::Tag {
            world.clock.advance(secs(15));
        }
        if (moment, stage) == (Moment::BetweenTheLastReadAndTheWriteBack, Stage::WriteBack) {
            // The revision that the tag worker read is too old by now.
            world.clock.advance(secs(6));
        }
        match moment.within() {
            Some((within, held)) if within == stage => interfere(world, stage, held, &act).await,
            _ => world.run(stage).await,
        }
    }
    if moment == Moment::AfterTheEnd {
        // Two revisions of one second are told apart by nobody but the Content Lake.
        world.clock.advance(secs(1));
        act(world);
        world.deliver().await;
    }
    world.run_to_the_end().await;
}

/// One step, with something done to the lead while an answer is held back.
async fn interfere(world: &World, stage: Stage, held: Held, act: impl Fn(&World)) {
    held.hold(world);
    let before = held.calls(world);
    let something = async {
        eventually("the call is under way", || async {
            (held.calls(world) > before).then_some(())
        })
        .await;
        act(world);
        world.deliver().await;
    };
    let (stepped, ()) = tokio::join!(workers::step(&world.app.context, stage), something);
    stepped.unwrap();
}

/// A lead whose email Bigin refuses.
fn bad() -> Value {
    with(lead("Ada"), json!({ "emailAddress": "ada@example,org" }))
}

#[actix_web::test]
async fn edit_during_delay_is_upserted() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.edit("Ada", json!({ "postcode": "SO14 0AA" }));
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
    assert_eq!(world.contact_count(), 1);
    world.finish().await;
}

#[actix_web::test]
async fn withdrawn_during_delay_gets_no_tag() {
    let world = World::new().await;
    world.request(lead("Ada")).await;
    world.run_due().await;
    world.edit("Ada", json!({ "crmStatus": "NOT_SENT" }));
    world.run_to_the_end().await;
    assert_eq!(world.state("Ada").await, "cancelled");
    assert_eq!(world.bigin_calls(CallKind::AddTags), 0);
    assert_eq!(world.lead_says("Ada", "crmStatus").as_deref(), Some("NOT_SENT"));
    world.finish().await;
}

#[actix_web::test]
async fn request_at_any_moment() {
    for moment in MOMENTS {
        let world = World::new().await;
        world.request(lead("Ada")).await;
        at(moment, &world, |world| {
            // Only a change into REQUESTED is a request.
            world.edit("Ada", json!({ "crmStatus": "NOT_SENT", "postcode": "SO14 0AA" }));
            world.edit("Ada", json!({ "crmStatus": REQUESTED }));
        })
        .await;
        assert_eq!(
            world.lead_says("Ada", "crmStatus").as_deref(),
            Some("SENT"),
            "{moment:?}"
        );
        assert_eq!(
            world.contact_says("Ada", "Mailing_Zip").as_deref(),
            Some("SO14 0AA"),
            "{moment:?}"
        );
        assert_eq!(world.contact_count(), 1, "{moment:?}");
        world.finish().await;
    }
}

#[actix_web::test]
async fn unchanged_request_at_any_moment() {
    for moment in MOMENTS {
        let world = World::new().await;
        world.request(lead("Ada")).await;
        at(moment, &world, |world| {
            world.edit("Ada", json!({ "crmStatus": "NOT_SENT" }));
            world.edit("Ada", json!({ "crmStatus": REQUESTED }));
        })
        .await;
        assert_eq!(
            world.lead_says("Ada", "crmStatus").as_deref(),
            Some("SENT"),
            "{moment:?}"
        );
        world.finish().await;
    }
}

#[actix_web::test]
async fn withdrawal_at_any_moment() {
    for moment in MOMENTS {
        let world = World::new().await;
        world.request(lead("Ada")).await;
        at(moment, &world, |world| {
            world.edit("Ada", json!({ "crmStatus": "NOT_SENT" }))
        })
        .await;
        assert_eq!(
            world.lead_says("Ada", "crmStatus").as_deref(),
            Some("NOT_SENT"),
            "{moment:?}"
        );
        let was_sent = moment >= Moment::WhenWrittenAndNotYetRecorded;
        let expected = if was_sent { "sent" } else { "cancelled" };
        assert_eq!(world.state("Ada").await, expected, "{moment:?}");
        let is_tagged = world
            .bigin
            .model()
            .contacts()
            .any(|(_, contact)| !contact.tags.is_empty());
        assert_eq!(is_tagged, moment >= Moment::DuringTheTag, "{moment:?}");
        world.finish().await;
    }
}

#[actix_web::test]
async fn deletion_at_any_moment() {
    for moment in MOMENTS {
        for deleted in [true, false] {
            let world = World::new().await;
            world.request(lead("Ada")).await;
            at(moment, &world, |world| {
                let mut lake = world.sanity.model();
                let gone = if deleted {
                    lake.delete(&id("Ada"))
                } else {
                    lake.unpublish(&id("Ada"))
                };
                gone.unwrap();
            })
            .await;
            assert!(world.sanity.model().document(&id("Ada")).is_none(), "{moment:?}");
            let was_sent = moment >= Moment::WhenWrittenAndNotYetRecorded;
            let expected = if was_sent { "sent" } else { "lead_deleted" };
            assert_eq!(world.state("Ada").await, expected, "{moment:?}");
            world.finish().await;
        }
    }
}

#[actix_web::test]
async fn corrected_email_at_any_moment() {
    for moment in MOMENTS.into_iter().filter(|moment| *moment < Moment::DuringTheTag) {
        let world = World::new().await;
        world.request(lead("Ada")).await;
        at(moment, &world, |world| {
            world.edit("Ada", json!({ "emailAddress": "ada.byron@example.org" }))
        })
        .await;
        let emails: Vec<_> = {
            let crm = world.bigin.model();
            let emails = crm.contacts().filter_map(|(_, contact)| contact.text("Email"));
            emails.map(str::to_owned).collect()
        };
        assert_eq!(emails, ["ada.byron@example.org"], "{moment:?}");
        world.finish().await;
    }
}

#[actix_web::test]
async fn fix_before_failure_is_written() {
    for (stage, held) in [
        (Stage::Upsert, Held::Bigin(CallKind::Upsert)),
        (Stage::WriteBack, Held::Read),
    ] {
        let world = World::new().await;
        world.request(bad()).await;
        if stage == Stage::WriteBack {
            world.run(Stage::Upsert).await;
            world.clock.advance(secs(6));
        }
        interfere(&world, stage, held, |world| {
            world.edit("Ada", json!({ "emailAddress": "ada@example.org" }))
        })
        .await;
        world.run_to_the_end().await;
        assert_eq!(
            world.lead_says("Ada", "crmStatus").as_deref(),
            Some("SENT"),
            "in {stage:?}"
        );
        assert_eq!(world.lead_says("Ada", "crmError"), None);
        world.finish().await;
    }
}

#[actix_web::test]
async fn edited_bad_lead_is_failed_in_the_end() {
    let world = World::new().await;
    world.request(bad()).await;
    for round in 0..10 {
        world.run(Stage::Upsert).await;
        world.edit("Ada", json!({ "postcode": format!("SO14 {round}AA") }));
        // The revision that the upsert worker read is too old by now.
        world.clock.advance(secs(6));
        world.run(Stage::WriteBack).await;
        if world.lead_says("Ada", "crmStatus").as_deref() == Some("FAILED") {
            assert_eq!(round, 3);
            return world.finish().await;
        }
    }
    panic!("the lead is never told");
}
