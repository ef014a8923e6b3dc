//! What holds in every state. What may never happen between two (a tag that comes early, `SENT` of what Bigin does not have,
//! a return at once and uncounted) is noted by the step that does it, in [`World::broken`].

use super::world::{Doc, History, Status, World};

/// The first sentence that is not true of a state.
pub(super) fn broken(world: &World) -> Option<&'static str> {
    let rules: [(bool, &'static str); 4] = [
        (has_one_contact_each(world), "a lead made a second contact"),
        (is_balanced(world), "the ledger does not balance"),
        (is_every_request_answered(world), "a request was lost"),
        (
            is_sent_true(world),
            "a lead says SENT, and Bigin has not what it asked for, or no tag",
        ),
    ];
    let not_true = rules.into_iter().find(|(holds, _)| !holds);
    world.broken.or(not_true.map(|(_, sentence)| sentence))
}

/// Guarantee 2. Leads with one email share a contact.
fn has_one_contact_each(world: &World) -> bool {
    world.scenario.leads.iter().all(|identity| {
        let contacts = world.bigin.contacts.iter();
        contacts
            .filter(|contact| contact.identity == identity.number() && !contact.is_gone)
            .count()
            <= 1
    })
}

/// Guarantee 1: what was created has ended or is active.
fn is_balanced(world: &World) -> bool {
    let active = world.store.rows.iter().flatten().count();
    usize::from(world.store.created) == usize::from(world.store.ended) + active
}

/// Guarantee 1: once all has ended, no lead asks any more. A person who has cancelled has the last word.
fn is_every_request_answered(world: &World) -> bool {
    holds_at_rest(world, |doc, history| {
        history.is_cancelled || doc.status != Status::Requested
    })
}

/// Guarantee 3: once all has ended, what a lead says is true. Before that, a request may be on its way.
fn is_sent_true(world: &World) -> bool {
    holds_at_rest(world, |doc, history| {
        history.is_cancelled || doc.status != Status::Sent || history.may_be_sent(Some(history.asked.0))
    })
}

fn holds_at_rest(world: &World, is_true: impl Fn(&Doc, &History) -> bool) -> bool {
    let mut leads = world.docs.iter().zip(&world.history);
    !world.is_at_rest() || leads.all(|(doc, history)| doc.as_ref().is_none_or(|doc| is_true(doc, history)))
}
