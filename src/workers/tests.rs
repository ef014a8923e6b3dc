//! Tests of what the workers share: the deadline of a call, and keyed hashes.

use super::*;

#[test]
fn a_call_is_over_before_its_lease() {
    for (lease, expected) in [(3, 2), (30, 20), (45, 30), (100, 30), (3_600, 30)] {
        assert_eq!(
            deadline(Duration::from_secs(lease)).as_secs(),
            expected,
            "a lease of {lease} s"
        );
    }
}

#[test]
fn key_is_the_same_for_values_that_bigin_takes_for_the_same() {
    let key = |field, value| Hasher::new(&SecretString::from("client-secret".to_owned())).key(field, value);
    assert_eq!(key("Email", " Ada@Example.org"), key("Email", "ada@example.org"));
    assert_ne!(key("Email", "ada@example.org"), key("Email", "grace@example.org"));
    assert_ne!(key("Email", "ada"), key("Lead_ID", "ada"));
}

#[test]
fn a_hash_tells_nothing_without_the_secret() {
    let hash = |secret: &str, name: &str| {
        let mut record = Record::default();
        record.set("Last_Name", name.into());
        Hasher::new(&SecretString::from(secret.to_owned())).hash(&record)
    };
    let ours = hash("client-secret", "Example");
    assert!(
        ours.len() == 32 && ours.bytes().all(|c| c.is_ascii_hexdigit()),
        "{ours}"
    );
    assert_eq!(hash("client-secret", "Example"), ours, "the same record again");
    assert_ne!(hash("client-secret", "Another"), ours, "another record");
    assert_ne!(hash("another-secret", "Example"), ours, "another secret");
}
