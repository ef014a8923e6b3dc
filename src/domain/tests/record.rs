//! What a record takes, and what the organisation's fields take.

use serde_json::{Value, json};

use crate::domain::record::{Action, Field, OrgFields, Record};

#[test]
fn what_an_upsert_did_has_bigins_own_name() {
    assert_eq!(Action::ALL.map(Action::label), ["insert", "update"]);
    for action in Action::ALL {
        assert_eq!(Action::from_label(action.label()), Some(action));
    }
    assert_eq!(Action::from_label("upsert"), None);
}

#[test]
fn a_record_takes_nothing_blank() {
    let mut record = Record::default();
    for (field, value) in [("A", Value::Null), ("B", json!("")), ("C", json!(" \n"))] {
        record.set(field, value);
    }
    assert_eq!(record, Record::default());
    for (field, value) in [("D", json!(0)), ("E", json!(false)), ("F", json!(" x "))] {
        record.set(field, value);
    }
    let fields: Vec<&str> = record.fields().map(|(name, _)| name).collect();
    assert_eq!(fields, ["D", "E", "F"]);
    assert_eq!((record.text("D"), record.text("F")), (None, Some(" x ")));
    assert_eq!(record.size(), 6);
    assert_eq!(record.canonical(), br#"{"D":0,"E":false,"F":" x "}"#);
}

#[test]
fn a_record_in_a_log_names_its_fields_and_no_values() {
    let mut record = Record::default();
    record.set("Email", "ada@example.org".into());
    let shown = format!("{record:?}");
    assert!(shown.contains("Email") && !shown.contains("ada"), "{shown}");
}

#[test]
fn a_field_is_written_unless_it_is_read_only_and_checked_only_where_it_is_unique() {
    let field = |unique, read_only| Field {
        label: "Label".to_owned(),
        data_type: "text".to_owned(),
        length: None,
        unique,
        read_only,
    };
    let fields = OrgFields(
        [
            ("Plain", field(false, false)),
            ("Unique", field(true, false)),
            ("Locked", field(true, true)),
        ]
        .map(|(name, field)| (name.to_owned(), field))
        .into(),
    );
    let of = |name: &str| (fields.writable(name).is_some(), fields.is_unique(name));
    assert_eq!(of("Plain"), (true, false));
    assert_eq!(of("Unique"), (true, true));
    assert_eq!(of("Locked"), (false, true));
    assert_eq!(of("Missing"), (false, false));
}
