//! Tests of what the workers share: the keyed hash of a record.

use super::*;

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
