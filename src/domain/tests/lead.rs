//! Which of two revisions is the later one, and what may be an id.

use super::*;

#[test]
fn a_revision_may_follow_another_of_the_same_second() {
    let unknown = Revision {
        updated_at: at(10),
        rev: None,
    };
    let cases = [
        ("a later second", revision(11, "b"), revision(10, "a"), true),
        (
            "a later second, the same name",
            revision(11, "a"),
            revision(10, "a"),
            true,
        ),
        ("an earlier second", revision(9, "b"), revision(10, "a"), false),
        (
            "the same second, another name",
            revision(10, "b"),
            revision(10, "a"),
            true,
        ),
        ("the very same", revision(10, "a"), revision(10, "a"), false),
        (
            "the same second, without a name",
            unknown.clone(),
            revision(10, "a"),
            false,
        ),
        (
            "the same second, after one without a name",
            revision(10, "a"),
            unknown,
            true,
        ),
    ];
    for (label, one, other, follows) in cases {
        assert_eq!(one.may_follow(&other), follows, "{label}");
    }
}

#[test]
fn the_later_of_two_revisions_counts_and_the_first_where_neither_is() {
    let (early, late) = (revision(10, "a"), revision(11, "b"));
    let cases = [
        (Some(&early), Some(&late), Some(&late)),
        (Some(&late), Some(&early), Some(&late)),
        (Some(&early), Some(&early), Some(&early)),
        (None, Some(&early), Some(&early)),
        (Some(&early), None, Some(&early)),
        (None, None, None),
    ];
    for (one, other, expected) in cases {
        let later = Revision::later(one.cloned(), other.cloned());
        assert_eq!(later.as_ref(), expected, "{one:?} and {other:?}");
    }
}

#[test]
fn the_id_of_a_lead_is_that_of_a_published_document() {
    let longest = "x".repeat(128);
    for good in ["a", "lead-1", "A.b_c-9", "_x", "drafts", "versions-1", &longest] {
        let id = LeadId::parse(good).unwrap();
        assert_eq!((id.as_str(), id.to_string().as_str()), (good, good));
    }
    let too_long = "x".repeat(129);
    for bad in [
        "",
        "drafts.a",
        "versions.r.a",
        "-a",
        ".a",
        "a b",
        "a/b",
        "ä",
        "*",
        &too_long,
    ] {
        assert!(LeadId::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn the_id_of_a_contact_is_digits() {
    let longest = "9".repeat(30);
    for good in ["0", "7618134000000646043", &longest] {
        assert_eq!(contact(good).as_str(), good);
    }
    let too_long = "9".repeat(31);
    for bad in ["", "a", "12a", "1 2", "-1", "٣", &too_long] {
        assert_eq!(ContactId::parse(bad), None, "{bad:?}");
    }
}

#[test]
fn a_lead_in_a_log_shows_nothing_of_the_person() {
    let mut lead = lead(Some(REQUESTED));
    lead.crm_error = Some("ada@example.org".to_owned());
    let shown = format!("{lead:?}");
    assert!(
        shown.contains("lead-1") && shown.contains(REQUESTED) && !shown.contains("ada"),
        "{shown}"
    );
}
