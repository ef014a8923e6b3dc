//! Tests of reasons: their codes, their keys, what they advise.

use super::*;

/// One of each, in the order of the variants.
fn reasons() -> [RejectReason; 20] {
    let field = || "Email".to_owned();
    let service_code = || "INTERNAL_ERROR".to_owned();
    [
        RejectReason::InvalidValue {
            field: field(),
            expected: Some("email".to_owned()),
        },
        RejectReason::ValueTooLong {
            field: field(),
            max: 40,
        },
        RejectReason::ValueRequired { field: field() },
        RejectReason::DuplicateValue {
            field: None,
            contact: ContactId::parse("7618134000000646044"),
        },
        RejectReason::ApprovalPending,
        RejectReason::RecordRejected {
            field: Some(field()),
            service_code: service_code(),
        },
        RejectReason::NameMissing,
        RejectReason::NoRoom { field: field() },
        RejectReason::TemplateFailed {
            field: field(),
            error: "no filter".to_owned(),
        },
        RejectReason::LeadTooLarge,
        RejectReason::LeadUnreadable,
        RejectReason::LeadNotRendered,
        RejectReason::LeadMissing,
        RejectReason::SearchForbidden {
            service_code: service_code(),
        },
        RejectReason::CallFailed {
            what: "Bigin returned an error".to_owned(),
            service_code: service_code(),
        },
        RejectReason::NotAccepted {
            service_code: service_code(),
        },
        RejectReason::TagNotAdded {
            service_code: service_code(),
        },
        RejectReason::ContactContradicted,
        RejectReason::WriteConflict,
        RejectReason::WriteContention,
    ]
}

#[test]
fn stored_reason_is_read_back_under_its_code() {
    let reasons = reasons();
    assert_eq!(reasons.each_ref().map(RejectReason::code), RejectReason::CODES);
    for reason in reasons {
        let stored = serde_json::to_value(&reason).unwrap();
        assert_eq!(stored["code"], reason.code());
        assert_eq!(serde_json::from_value::<RejectReason>(stored).unwrap(), reason);
        let key = ReasonKey::of(&reason);
        assert_eq!(ReasonKey::parse(&key.to_string()), key);
        assert!(!reason.to_string().ends_with('.') && reason.advice().ends_with('.'));
    }
}

#[test]
fn failures_are_grouped_by_code_and_by_the_field_where_there_is_one() {
    let keys = reasons().map(|reason| ReasonKey::of(&reason).to_string());
    let of_fields: Vec<_> = keys.iter().filter(|key| key.contains(':')).collect();
    let expected = [
        "invalid_value:Email",
        "value_too_long:Email",
        "value_required:Email",
        "record_rejected:Email",
        "no_room:Email",
        "template_failed:Email",
    ];
    assert_eq!(of_fields, expected);
    let duplicate = RejectReason::DuplicateValue {
        field: Some("Email".to_owned()),
        contact: None,
    };
    assert_eq!(ReasonKey::of(&duplicate).to_string(), "duplicate_value:Email");
}

#[test]
fn a_code_selects_every_field_and_a_field_only_itself() {
    let cases = [
        ("invalid_value", "invalid_value:Email", true),
        ("invalid_value", "invalid_value", true),
        ("invalid_value:Email", "invalid_value:Email", true),
        ("invalid_value:Email", "invalid_value:Phone", false),
        ("invalid_value:Email", "invalid_value", false),
        ("invalid_value:Email", "value_required:Email", false),
        ("invalid_value", "name_missing", false),
    ];
    for (selected, key, expected) in cases {
        let covers = ReasonKey::parse(selected).covers(&ReasonKey::parse(key));
        assert_eq!(covers, expected, "{selected} selects {key}");
    }
}

#[test]
fn the_advice_on_a_value_names_what_the_field_takes_where_bigin_says_so() {
    let cases = [
        (Some("email"), "Correct the email address"),
        (Some("phone"), "Correct the phone number"),
        (Some("integer"), "takes another kind of value"),
        (None, "takes another kind of value"),
    ];
    for (expected, words) in cases {
        let reason = RejectReason::InvalidValue {
            field: "Email".to_owned(),
            expected: expected.map(str::to_owned),
        };
        assert!(reason.advice().contains(words), "{expected:?}: {}", reason.advice());
    }
}
