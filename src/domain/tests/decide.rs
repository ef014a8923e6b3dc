//! What each worker does with a lead that it has just read.

use super::*;
use crate::domain::decide::{
    BeforeTag, BeforeUpsert, BeforeWriteBack, MAX_UNREQUESTED_EDITS, View, before_tag, before_upsert,
    before_write_back, known_contact, restores, seen_again, stale_upsert, still_upserted,
};
use crate::domain::lead::LeadRead;
use crate::domain::lead_link::LeadLink;
use crate::domain::reject_reason::RejectReason;
use crate::domain::state::Event;

fn read(lead: Option<Lead>) -> LeadRead {
    LeadRead {
        published: lead,
        drafts_and_versions: Vec::new(),
    }
}

fn is_manual(state: State) -> SyncJob {
    let lead = LeadId::parse("lead-1").unwrap();
    let sync = SyncJob::create(SyncId(1), lead, Source::Manual, None, at(0));
    SyncJob { state, ..sync }
}

fn by_webhook(state: State) -> SyncJob {
    SyncJob {
        state,
        ..sync(Some(revision(10, "r10")))
    }
}

/// What every worker makes of a lead, in a word each; `None` where it goes on.
fn settled(sync: &SyncJob, link: &LeadLink, lead: Option<Lead>) -> [Option<&'static str>; 3] {
    let read = read(lead);
    let view = View {
        sync,
        link,
        read: &read,
    };
    let upsert = match before_upsert(view) {
        BeforeUpsert::Event(event) => Some(event.label()),
        BeforeUpsert::Send(_) => None,
    };
    let tag = match before_tag(view) {
        BeforeTag::Event(event) => Some(event.label()),
        BeforeTag::Tag(_) => None,
    };
    let write_back = match before_write_back(view) {
        BeforeWriteBack::Event(event) => Some(event.label()),
        BeforeWriteBack::Write(_) => None,
    };
    [upsert, tag, write_back]
}

#[test]
fn a_lead_goes_on_where_it_asks_or_a_person_does_or_its_request_was_overwritten() {
    let link = LeadLink {
        seen: Some(revision(9, "r9")),
        ..LeadLink::default()
    };
    let (webhook, person) = (by_webhook(tagged()), is_manual(tagged()));
    let mut retry = by_webhook(tagged());
    // The lead was read since the request that it began with.
    retry.requests.revision = None;
    retry.coalesce(Source::Retry, None);
    retry.requests.count = webhook.requests.count;
    let go_on = [None; 3];
    let withdrawn = [Some("withdrawn"); 3];
    let cases = [
        ("it asks", &webhook, Some(REQUESTED), go_on),
        ("it was withdrawn", &webhook, Some(NOT_SENT), withdrawn),
        ("its status was taken away", &webhook, None, withdrawn),
        ("its request was overwritten", &webhook, Some(SENT), go_on),
        ("a person asks", &person, Some(NOT_SENT), go_on),
        ("a person asks, and it has no status", &person, None, go_on),
        ("a retry, and it still carries the result", &retry, Some(FAILED), go_on),
        ("a retry of what was sent", &retry, Some(SENT), go_on),
        ("a retry, and it was withdrawn", &retry, Some(NOT_SENT), withdrawn),
        ("a retry, and its status was taken away", &retry, None, withdrawn),
    ];
    for (label, sync, status, expected) in cases {
        assert_eq!(settled(sync, &link, Some(lead(status))), expected, "{label}");
    }
    assert_eq!(settled(&person, &link, None), [Some("lead_deleted"); 3]);
}

#[test]
fn who_asked_after_the_read_is_heard_before_anything_is_written() {
    let mut sync = by_webhook(tagged());
    sync.coalesce(Source::Webhook, None);
    let [_, _, write_back] = settled(&sync, &LeadLink::default(), None);
    assert_eq!(
        write_back,
        Some("requested_again"),
        "even where the lead is gone: the next read says so"
    );
}

/// What the write-back worker does with a lead that carries this.
fn written(state: State, change: impl FnOnce(&mut Lead)) -> Option<&'static str> {
    let mut lead = lead(Some(SENT));
    lead.contact = Some(contact("7"));
    lead.last_synced_at = Some(at(30));
    lead.crm_error = Some(RejectReason::NameMissing.to_string());
    change(&mut lead);
    settled(&is_manual(state), &LeadLink::default(), Some(lead))[2]
}

#[test]
fn only_this_very_result_is_taken_for_written() {
    let status = |text: &str| Some(text.to_owned());
    assert_eq!(written(tagged(), |_| {}), Some("written_back"));
    assert_eq!(
        written(tagged(), |lead| lead.last_synced_at = Some(at(29))),
        None,
        "an older one"
    );
    assert_eq!(
        written(tagged(), |lead| lead.contact = Some(contact("8"))),
        None,
        "another contact"
    );
    assert_eq!(
        written(tagged(), |lead| lead.crm_status = status(REQUESTED)),
        None,
        "it asks again"
    );
    assert_eq!(written(tagged(), |lead| lead.crm_status = status(FAILED)), None);

    assert_eq!(written(rejected(), |_| {}), None, "SENT is not FAILED");
    let failed = |lead: &mut Lead| lead.crm_status = status(FAILED);
    assert_eq!(written(rejected(), failed), Some("written_back"));
    let other_reason = |lead: &mut Lead| {
        failed(lead);
        lead.crm_error = Some("no email".to_owned());
    };
    assert_eq!(written(rejected(), other_reason), None, "another reason");
    assert_eq!(written(upserted(), |_| {}), None, "there is no result yet");
}

/// Whether a lead that renders to what was sent last gets its result back.
fn is_restored(sync: &SyncJob, lead: &Lead, forget: impl FnOnce(&mut LeadLink)) -> bool {
    let mut link = LeadLink {
        contact: Some(contact("7")),
        sent_hash: Some("hash".to_owned()),
        synced_at: Some(at(5)),
        seen: Some(revision(9, "r9")),
        cancelled_at: None,
        ambiguous_until: None,
        created_from: None,
    };
    forget(&mut link);
    let read = read(Some(lead.clone()));
    let view = View {
        sync,
        link: &link,
        read: &read,
    };
    restores(view, lead, "hash").is_some()
}

#[test]
fn a_result_is_restored_only_to_a_lead_that_asks() {
    let open = sync(Some(revision(10, "r10")));
    let stale = lead(Some(REQUESTED));
    let with_time = |seconds| Lead {
        last_synced_at: Some(at(seconds)),
        ..stale.clone()
    };
    assert!(is_restored(&open, &stale, |_| {}));
    assert!(is_restored(&open, &with_time(4), |_| {}), "it carries an older time");
    assert!(!is_restored(&open, &with_time(5), |_| {}), "it asks on purpose");
    assert!(
        !is_restored(&open, &lead(Some(SENT)), |_| {}),
        "its request was overwritten"
    );
    assert!(
        !is_restored(&is_manual(open.state.clone()), &stale, |_| {}),
        "a person asks"
    );
    let other = |link: &mut LeadLink| link.sent_hash = Some("other".to_owned());
    assert!(!is_restored(&open, &stale, other), "it has other data");
    assert!(
        !is_restored(&open, &stale, |link| link.sent_hash = None),
        "it failed last"
    );
    assert!(
        !is_restored(&open, &stale, |link| link.contact = None),
        "its contact is gone"
    );
    assert!(
        !is_restored(&open, &stale, |link| link.synced_at = None),
        "it was never sent"
    );
}

#[test]
fn what_is_restored_is_what_was_written_last() {
    let open = sync(Some(revision(10, "r10")));
    let link = LeadLink {
        contact: Some(contact("7")),
        sent_hash: Some("hash".to_owned()),
        synced_at: Some(at(5)),
        seen: None,
        cancelled_at: None,
        ambiguous_until: None,
        created_from: None,
    };
    let lead = lead(Some(REQUESTED));
    let read = read(Some(lead.clone()));
    let view = View {
        sync: &open,
        link: &link,
        read: &read,
    };
    let expected = Event::Restored {
        delivered: Delivered {
            action: Action::Update,
            ..delivered()
        },
        seen: seen(Some(revision(10, "r10"))),
        synced_at: at(5),
    };
    assert_eq!(restores(view, &lead, "hash"), Some(expected));
}

#[test]
fn the_contact_of_a_lead_is_known_by_its_sync_then_by_memory_then_by_its_own_field() {
    let requested = |known: Option<&str>, force_create| {
        by_webhook(State::Requested {
            contact: known.map(contact),
            contact_created: false,
            force_create,
        })
    };
    let known = |sync: &SyncJob, remembered: Option<&str>, field: Option<&str>| {
        let link = LeadLink {
            contact: remembered.map(contact),
            ..LeadLink::default()
        };
        let lead = Lead {
            contact: field.map(contact),
            ..lead(Some(REQUESTED))
        };
        let read = read(Some(lead.clone()));
        let view = View {
            sync,
            link: &link,
            read: &read,
        };
        let id = known_contact(view, &lead, |contact| contact.as_str() == "666");
        id.map(|id| id.to_string())
    };
    let (new, begun, force_create) = (
        requested(None, false),
        requested(Some("1"), false),
        requested(None, true),
    );
    assert_eq!(known(&begun, Some("2"), Some("3")).as_deref(), Some("1"));
    assert_eq!(known(&new, Some("2"), Some("3")).as_deref(), Some("2"));
    assert_eq!(known(&new, None, Some("3")).as_deref(), Some("3"));
    assert_eq!(known(&new, None, None), None);
    assert_eq!(known(&new, None, Some("666")), None, "that one is another lead's");
    assert_eq!(
        known(&new, Some("666"), None).as_deref(),
        Some("666"),
        "our own memory is believed"
    );
    assert_eq!(
        known(&force_create, Some("2"), Some("3")),
        None,
        "Bigin has said that it is gone"
    );
}

#[test]
fn an_edit_holds_the_tag_back_for_three_rounds_or_where_it_was_asked_for() {
    let mut sync = by_webhook(upserted());
    assert!(!stale_upsert(&sync, "hash"), "nothing was edited");
    for edits in 0..MAX_UNREQUESTED_EDITS {
        sync.edits = edits;
        assert!(stale_upsert(&sync, "other"));
    }
    sync.edits = MAX_UNREQUESTED_EDITS;
    assert!(!stale_upsert(&sync, "other"));
    sync.coalesce(Source::Webhook, None);
    assert!(stale_upsert(&sync, "other"));
    assert!(
        !stale_upsert(&by_webhook(tagged()), "other"),
        "only what was upserted can be stale"
    );
}

#[test]
fn only_a_lead_at_the_very_revision_that_was_upserted_need_not_be_rendered_again() {
    let requested = lead(Some(REQUESTED));
    assert_eq!(still_upserted(&by_webhook(upserted()), &requested), Some("hash"));
    let mut edited = lead(Some(REQUESTED));
    edited.rev = "r11".to_owned();
    assert_eq!(
        still_upserted(&by_webhook(upserted()), &edited),
        None,
        "in the same second, too"
    );
    let overwritten = State::Upserted {
        delivered: delivered(),
        seen: seen(None),
        tag_not_before: at(25),
    };
    assert_eq!(still_upserted(&by_webhook(overwritten), &requested), None);
    assert_eq!(still_upserted(&by_webhook(tagged()), &requested), None);
}

#[test]
fn a_read_without_content_sees_all_requests_where_the_lead_is_as_it_was_upserted() {
    let overwritten = State::Upserted {
        delivered: delivered(),
        seen: seen(None),
        tag_not_before: at(25),
    };
    let again = Seen {
        requests: 2,
        revision: Some(revision(10, "r10")),
    };
    let cases = [
        ("the same revision", upserted(), "r10", Some(again)),
        ("it was edited", upserted(), "r11", None),
        ("the upsert saw a result of ours", overwritten, "r10", None),
        ("it is tagged already", tagged(), "r10", None),
    ];
    for (label, state, rev, expected) in cases {
        let mut sync = by_webhook(state);
        sync.coalesce(Source::Webhook, None);
        assert_eq!(seen_again(&sync, rev), expected, "{label}");
    }
}

#[test]
fn a_lead_that_was_edited_since_it_was_refused_is_sent_again_for_three_rounds() {
    let unread = State::Rejected {
        reason: RejectReason::NameMissing,
        contact: None,
        seen: seen(None),
    };
    let last = MAX_UNREQUESTED_EDITS;
    let cases = [
        ("it was edited", rejected(), 0, "r11", Some("changed")),
        ("it is as it was", rejected(), 0, "r10", None),
        ("the last round", rejected(), last - 1, "r11", Some("changed")),
        ("no round is left", rejected(), last, "r11", None),
        ("what was refused is not known", unread, 0, "r11", None),
        ("it was not refused", tagged(), 0, "r11", None),
    ];
    for (label, state, edits, rev, expected) in cases {
        let sync = SyncJob {
            edits,
            ..by_webhook(state)
        };
        let mut lead = lead(Some(REQUESTED));
        lead.rev = rev.to_owned();
        let [_, _, write_back] = settled(&sync, &LeadLink::default(), Some(lead));
        assert_eq!(write_back, expected, "{label}");
    }
}
