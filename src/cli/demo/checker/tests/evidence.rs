//! Made-up evidence of one lead, in which all guarantees are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::{Evidence, RequestedLead, Rules, Trace};
use crate::domain::lead::{REQUESTED, SENT};
use crate::fake::bigin::{Action, Call, CallKind, Change, Contact};
use crate::fake::sanity::{Attempt, By, Change as LeadChange, Document, Transaction};
use crate::store::Ledger;

pub(super) const TAG: &str = "DBR_Dashboard_Import";

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).unwrap()
}

pub(super) fn object(value: Value) -> Document {
    value.as_object().unwrap().clone()
}

pub(super) fn lead(email: &str, changes: Value) -> Document {
    let mut lead = object(json!({
        "_id": "lead-1", "firstName": "Ada", "secondName": "Example", "emailAddress": email,
        "phoneNumber": "07700 900123", "crmStatus": REQUESTED,
        "conversationHistory": [{"from": "ai", "message": "A roof for the greenhouse?"}],
    }));
    lead.extend(object(changes));
    lead
}

pub(super) fn sent() -> Document {
    let result = json!({"crmStatus": SENT, "biginContactId": "7001", "lastSyncedAt": "2026-11-18T08:00:00Z"});
    lead("ada@example.org", result)
}

pub(super) fn transaction(second: i64, by: By, before: Option<Document>, after: Option<Document>) -> Transaction {
    Transaction {
        id: format!("rev-{second}"),
        at: at(second),
        by,
        documents: vec![LeadChange {
            id: "lead-1".to_owned(),
            before,
            after,
        }],
        indexed: true,
    }
}

pub(super) fn fields(email: &str) -> BTreeMap<String, Value> {
    let fields = json!({
        "First_Name": "Ada", "Last_Name": "Example", "Email": email, "Phone": "+447700900123",
        "Description": "AI: A roof for the greenhouse?\n\nLead Source: DBR Dashboard",
    });
    object(fields).into_iter().collect()
}

pub(super) fn upserted(second: i64, contact: &str, action: Action) -> Change {
    Change::Upserted {
        contact: contact.to_owned(),
        action,
        at: at(second),
        fields: fields("ada@example.org"),
        trigger: None,
    }
}

pub(super) fn tagged(second: i64, contact: &str) -> Change {
    Change::Tagged {
        contact: contact.to_owned(),
        tag: TAG.to_owned(),
        at: at(second),
        added: true,
    }
}

pub(super) fn contact(second: i64, fields: BTreeMap<String, Value>) -> Contact {
    Contact {
        fields,
        tags: vec![TAG.to_owned()],
        created_at: at(second),
        modified_at: at(second),
        deleted: false,
        merged_into: None,
    }
}

pub(super) fn attempt(second: i64, status: Option<u16>, result: &str) -> Attempt {
    Attempt {
        message: "message".to_owned(),
        document: "lead-1".to_owned(),
        at: at(second),
        status,
        answer: status.map(|_| json!({ "result": result })),
    }
}

pub(super) fn call(kind: CallKind, records: usize, in_flight: usize) -> Call {
    Call {
        at: at(1),
        kind,
        records,
        credits: 1,
        status: 200,
        in_flight,
    }
}

/// One lead, requested in second 0, upserted in second 1, tagged in second 16 and written back in second 17.
pub(super) fn good() -> Evidence {
    let requested = lead("ada@example.org", json!({}));
    Evidence {
        rules: Rules {
            tag_delay: Duration::from_secs(15),
            slack: Duration::ZERO,
            max_read_age: Duration::from_secs(1),
            tags: vec![TAG.to_owned()],
            max_grants: 1,
            max_in_flight: 4,
            queued_together: 1,
            by_phone: true,
            region: "GB".to_owned(),
        },
        requested: vec![RequestedLead {
            id: "lead-1".to_owned(),
            name: "Ada Example".to_owned(),
            status: Some(SENT),
            may_fail: false,
        }],
        documents: BTreeMap::from([("lead-1".to_owned(), sent())]),
        transactions: vec![
            transaction(0, By::Studio, None, Some(requested.clone())),
            transaction(17, By::Api, Some(requested), Some(sent())),
        ],
        deliveries: vec![attempt(0, Some(202), "created")],
        removed: BTreeSet::new(),
        contacts: BTreeMap::from([("7001".to_owned(), contact(1, fields("ada@example.org")))]),
        changes: vec![upserted(1, "7001", Action::Insert), tagged(16, "7001")],
        calls: vec![call(CallKind::Token, 0, 0), call(CallKind::Upsert, 1, 1)],
        grants: 1,
        ledger: Some(Ledger {
            accepted: 1,
            created_by_webhook: 1,
            created: 1,
            sent: 1,
            ..Ledger::default()
        }),
        traces: vec![Trace {
            name: "the log".to_owned(),
            bytes: b"sync 1 of lead lead-1: sent".to_vec(),
        }],
        private: vec!["Example".to_owned(), "@example.org".to_owned()],
    }
}
