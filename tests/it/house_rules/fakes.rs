//! A simulated service that shared code with the product would share its mistakes, and no test could show them.

use super::source::{Source, of_this_package};
use super::{assert_kept, check};

/// What the simulated services may import of the product.
const SHARED: &[&str] = &["clock", "random"];

#[test]
fn the_fakes_share_no_code_with_the_product() {
    assert_kept(shared(&of_this_package()));
}

fn shared(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources.iter().filter(|source| source.top() == Some("fake")) {
        for (line, target) in source.imports() {
            let Some(top) = target.first() else { continue };
            if top != "fake" && !SHARED.contains(&top.as_str()) {
                faults.push(format!(
                    "{}:{line}: a simulated service imports {}; write what the real one does, which may be something else",
                    source.path,
                    target.join("::"),
                ));
            }
        }
    }
    faults
}

#[test]
fn finds_code_shared_with_the_product() {
    let path = "src/fake/sanity/webhook.rs";
    let found = |text: &str, fault: &str| check(shared, &[(path, text)], &[fault]);
    found(
        "use crate::domain::lead::REQUESTED;",
        "src/fake/sanity/webhook.rs:1: a simulated service imports domain::lead::REQUESTED",
    );
    found(
        "fn f() { super::super::super::signature::sign() }",
        "src/fake/sanity/webhook.rs:1: a simulated service imports signature::sign",
    );
    let fine = "use crate::clock::after;\nuse crate::random;\nuse super::model::Model;\nuse crate::fake::server;";
    check(shared, &[(path, fine)], &[]);
    check(shared, &[("src/http/api.rs", "use crate::domain::lead;")], &[]);
}
