//! No file names a folder of one machine or the host of a package registry.

use std::collections::BTreeMap;

use super::assert_kept;
use super::source::texts;

#[test]
fn files_name_no_machine_or_registry() {
    assert_kept(places(&texts()));
}

/// Names that mean something on one machine only, or that belong to how packages are fetched.
fn places(texts: &BTreeMap<String, String>) -> Vec<String> {
    // Put together here, so that this file names none of them either.
    let folders = ["work", "root", "home"].map(|folder| format!("/{folder}/"));
    let hosts = [
        ["index", "crates.io"],
        ["static", "crates.io"],
        ["registry", "npmjs.org"],
        ["registry", "yarnpkg.com"],
        ["files", "pythonhosted.org"],
        ["pypi", "org"],
        ["deb", "debian.org"],
        ["security", "debian.org"],
        ["proxy", "golang.org"],
    ]
    .map(|parts| parts.join("."));
    let mut faults = Vec::new();
    for (path, text) in texts {
        for (line, text) in (1..).zip(text.lines()) {
            for folder in folders.iter().filter(|folder| has_folder(text, folder)) {
                faults.push(format!(
                    "{path}:{line}: {folder} is a folder of one machine; name it from the repository's root"
                ));
            }
            for host in hosts.iter().filter(|host| text.contains(host.as_str())) {
                faults.push(format!(
                    "{path}:{line}: {host} is a registry's host; leave it to the package manager's own settings"
                ));
            }
        }
    }
    faults
}

/// Whether an absolute path in `text` begins with `folder`: neither part of a longer path nor of an address.
fn has_folder(text: &str, folder: &str) -> bool {
    text.match_indices(folder).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || matches!(before, '.' | '-' | '_' | '}' | ')'))
    })
}

#[test]
fn finds_machines_and_registries() {
    let folder = ["", "home", "me"].join("/");
    let host = ["pypi", "org"].join(".");
    let text = format!("fine\nsee {folder}/x\nfrom https://{host}/simple\nhttps://example.org{folder}/x");
    let faults = places(&[("docs/a.md".to_owned(), text)].into());
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("docs/a.md:2: /home"), "{faults:?}");
    assert!(faults[1].starts_with("docs/a.md:3: "), "{faults:?}");
}
