//! Tests of what the workers share: the deadline of a call, and the keyed hash of a record.

use super::*;

#[test]
fn a_call_is_over_before_its_lease() {
    let seconds = |lease: u64, held: u64| {
        let deadline = deadline(Duration::from_secs(lease), Duration::from_secs(held));
        deadline.map(|deadline| deadline.as_secs())
    };
    let cases = [
        ("two thirds of the lease", (3, 0), Some(2)),
        ("and no more than 30 s", (100, 0), Some(30)),
        ("however long the lease", (3_600, 0), Some(30)),
        ("also where the lease is half over", (60, 30), Some(30)),
        ("never past the lease", (60, 50), Some(10)),
        ("as long as the call has a chance", (60, 56), Some(4)),
        ("the lease is as good as over", (60, 57), None),
        ("the lease is over", (60, 60), None),
        ("it was over long ago", (60, 6_000), None),
    ];
    for (label, (lease, held), expected) in cases {
        assert_eq!(seconds(lease, held), expected, "{label}");
    }
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
