//! What becomes of a record where the organisation's fields are known.

use serde_json::json;

use super::*;
use crate::domain::mapping::tests::{ada, default_mapping, lead, mapping, org, shown};

#[test]
fn what_the_organisation_lacks_goes_to_the_end_of_description() {
    let fields = org(&[
        ("Last_Name", "text", Some(80), false),
        ("First_Name", "text", Some(40), false),
        ("Email", "email", Some(100), false),
        ("Phone", "phone", Some(50), true),
        ("Description", "textarea", Some(32_000), false),
    ]);
    let mut document = ada();
    document["address"] = json!("1 Solar Street\nHarbour Side");
    let record = default_mapping().render(lead(document), Some(&fields)).unwrap();
    insta::assert_snapshot!(record.text("Description").unwrap(), @r"
    [27/07/2025, 15:03:22] AI: Good afternoon

    Lead Source: DBR Dashboard
    Lead Status: HOT
    Mailing City: Fareham
    Mailing Street: 1 Solar Street Harbour Side
    Mailing Zip: PO16 7XX
    Phone: +447700900123
    ");
    assert_eq!(
        record.fields().map(|(name, _)| name).collect::<Vec<_>>(),
        ["Description", "Email", "First_Name", "Last_Name"]
    );
}

#[test]
fn the_extras_make_a_description_by_themselves_and_go_where_it_is_missing() {
    let mut quiet = ada();
    quiet["conversationHistory"] = json!(null);
    let with = org(&[
        ("Last_Name", "text", None, false),
        ("Description", "textarea", None, false),
    ]);
    let templates = [
        ("Lead_Source", "DBR Dashboard"),
        ("Description", "{{ conversationHistory|conversation }}"),
    ];
    let record = mapping(&templates).render(lead(quiet.clone()), Some(&with)).unwrap();
    assert_eq!(record.text("Description"), Some("Lead Source: DBR Dashboard"));
    let unmapped = mapping(&templates[..1]).render(lead(quiet), Some(&with)).unwrap();
    assert_eq!(unmapped.text("Description"), Some("Lead Source: DBR Dashboard"));

    for without in [org(&[]), org(&[("Description", "textarea", None, true)])] {
        let record = default_mapping().render(lead(ada()), Some(&without)).unwrap();
        assert_eq!(shown(&record), "Last_Name = \"Søn-O'Brien & Co\"\n");
    }
}

#[test]
fn what_a_lead_lacks_is_no_line_of_description() {
    let fields = org(&[
        ("Last_Name", "text", None, false),
        ("Description", "textarea", None, false),
    ]);
    let templates = [("Lead_Source", "{{ nothing }}"), ("Lead_Status", "{{ status }}")];
    let document = json!({"secondName": "Example", "status": "HOT"});
    let record = mapping(&templates).render(lead(document), Some(&fields)).unwrap();
    assert_eq!(record.text("Description"), Some("Lead Status: HOT"));
}

#[test]
fn the_conversation_gives_way_to_the_extras() {
    let templates = [
        ("Note", "{{ note }}"),
        ("Description", "Campaign\n\n{{ conversationHistory|conversation }}"),
    ];
    let fields = |length| {
        org(&[
            ("Last_Name", "text", None, false),
            ("Description", "textarea", Some(length), false),
        ])
    };
    let history: Vec<_> = (10..20).map(|n| json!({"message": format!("number {n}")})).collect();
    let document = json!({"secondName": "Example", "note": "keep me", "conversationHistory": history});
    let rendered = |length| mapping(&templates).render(lead(document.clone()), Some(&fields(length)));
    let described = |length| {
        let record = rendered(length).unwrap();
        record.text("Description").unwrap_or_default().to_owned()
    };
    let whole = described(32_000);
    assert_eq!(described(length(&whole)), whole, "exactly fits");
    let one_less = described(length(&whole) - 1);
    assert!(
        one_less.contains("older messages left out") && one_less.ends_with("Note: keep me"),
        "{one_less}"
    );
    insta::assert_snapshot!(described(90), @r"
    Campaign

    [… 8 older messages left out]

    Lead: number 18

    Lead: number 19

    Note: keep me
    ");
    let newest = described(25);
    assert!(
        newest.ends_with("number 19\n\nNote: keep me"),
        "the newest words rather than none: {newest}"
    );
    assert_eq!(described(14), "Note: keep me", "only the extras fit");
    assert_eq!(
        rendered(12).unwrap_err().to_string(),
        "Bigin has no field Note, and Description is full, so its value cannot be added there. Shorten it"
    );
    for limit in 13..250 {
        assert!(length(&described(limit)) <= limit, "{limit}");
    }
}

#[test]
fn a_long_conversation_and_extras_stay_within_the_default_length() {
    let fields = org(&[
        ("Last_Name", "text", None, false),
        ("Description", "textarea", None, false),
    ]);
    let history: Vec<_> = (0..4_000).map(|n| json!({"message": format!("number {n}")})).collect();
    let note = "n".repeat(5_000);
    let document = json!({"secondName": "Example", "note": note, "conversationHistory": history});
    let templates = [
        ("Note", "{{ note }}"),
        ("Description", "{{ conversationHistory|conversation }}"),
    ];
    let record = mapping(&templates).render(lead(document), Some(&fields)).unwrap();
    let text = record.text("Description").unwrap();
    assert!((31_900..=32_000).contains(&length(text)), "{}", length(text));
    assert!(text.starts_with("[… ") && text.contains("Lead: number 3999\n\nNote: nnn") && text.ends_with(&note));
}

#[test]
fn values_take_the_type_of_their_field() {
    let rows = [
        ("boolean", "yes", json!(true)),
        ("boolean", "False", json!(false)),
        ("boolean", "1", json!(true)),
        ("boolean", "perhaps", json!("perhaps")),
        ("integer", "12", json!(12)),
        ("integer", "12.5", json!("12.5")),
        ("double", "12.5", json!(12.5)),
        ("double", "12", json!(12)),
        ("double", "NaN", json!("NaN")),
        ("currency", "99.90", json!(99.9)),
        ("currency", "£99", json!("£99")),
        ("text", "12", json!("12")),
        ("lookup", "Example Ltd", json!("Example Ltd")),
        ("picklist", "true", json!("true")),
    ];
    for (data_type, text, expected) in rows {
        let fields = org(&[("Last_Name", "text", None, false), ("Thing", data_type, Some(1), false)]);
        let document = json!({"secondName": "Example", "a": text});
        let record = mapping(&[("Thing", "{{ a }}")])
            .render(lead(document), Some(&fields))
            .unwrap();
        let sent = record
            .fields()
            .find(|(name, _)| *name == "Thing")
            .map(|(_, value)| value.clone());
        assert_eq!(sent, Some(expected), "{text} as {data_type}");
    }
}
