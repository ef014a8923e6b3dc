//! Writes settings into an env file: other lines are unchanged, only the owner can read it, and it is replaced atomically.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tempfile::NamedTempFile;

use super::{Sources, Usage};
use crate::config::Layers;

/// The named env file, else the one beside the settings file.
pub(super) fn path(sources: &Sources) -> PathBuf {
    let beside = || {
        let folder = sources.config.as_deref().and_then(Path::parent);
        folder.map(|folder| folder.join(".env"))
    };
    let named = sources.env_file.clone();
    named.or_else(beside).unwrap_or_else(|| PathBuf::from(".env"))
}

/// Checks that the env file's value of a setting would be used.
///
/// # Errors
/// Another source overrides it.
pub(super) fn check_not_overridden(
    setting: &str,
    environment: &BTreeMap<String, String>,
    layers: &Layers,
) -> Result<(), Usage> {
    let file = format!("{setting}_FILE");
    let is_set = |name: &&str| environment.get(*name).is_some_and(|value| !value.is_empty());
    if let Some(name) = [setting, &file].into_iter().find(is_set) {
        return Err(Usage(format!(
            "{name} is set in the environment, which overrides the env file: change it there"
        )));
    }
    if layers.is_set(&file) {
        return Err(Usage(format!(
            "{file} is set, so the secret comes from that file: change it there"
        )));
    }
    Ok(())
}

/// Whether other users of this machine can read it.
pub(super) fn is_readable_by_others(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.mode() & 0o077 != 0)
}

/// Checks that [`set`] would succeed, for callers whose values can be obtained only once.
///
/// # Errors
/// As for [`set`].
pub(super) fn check(path: &Path, names: &[&str]) -> anyhow::Result<()> {
    let settings: Vec<(&str, &str)> = names.iter().map(|name| (*name, "1000.abc.def")).collect();
    prepare(path, &settings).map(drop)
}

/// Sets each name to its value, in its present line or in a new one at the end. The file gets mode 0600 and keeps its owner.
///
/// # Errors
/// The file or its folder cannot be read or written, or would not parse to these values. It is unchanged then.
pub(super) fn set(path: &Path, settings: &[(&str, &str)]) -> anyhow::Result<()> {
    let (file, path) = prepare(path, settings)?;
    file.persist(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// The new file, beside the old one, and the path to replace.
fn prepare(path: &Path, settings: &[(&str, &str)]) -> anyhow::Result<(NamedTempFile, PathBuf)> {
    let what = || format!("cannot write {}", path.display());
    // Of a link, the target is replaced: other programs may read it too.
    let path = match path.is_symlink() {
        true => path.canonicalize().with_context(what)?,
        false => path.to_owned(),
    };
    let before = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(what),
    };
    let after = updated(&before, settings);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .with_context(what)?;
    if let (Ok(old), Ok(new)) = (std::fs::metadata(&path), file.as_file().metadata())
        && old.uid() != new.uid()
    {
        std::os::unix::fs::fchown(file.as_file(), Some(old.uid()), Some(old.gid()))
            .with_context(|| format!("{} belongs to another user: run this as its owner", path.display()))?;
    }
    file.write_all(after.as_bytes()).with_context(what)?;
    for (name, value) in settings {
        if !has_value(file.path(), name, value) {
            bail!(
                "cannot set {name} in {}: a quoted value above it is not closed",
                path.display()
            );
        }
    }
    file.as_file().sync_all().with_context(what)?;
    Ok((file, path))
}

/// Whether the file parses to this value of a name.
fn has_value(path: &Path, name: &str, value: &str) -> bool {
    let Ok(read) = dotenvy::from_path_iter(path) else {
        return false;
    };
    let found = read.map_while(Result::ok).filter(|(found, _)| found == name).last();
    found.is_some_and(|(_, found)| found == value)
}

fn updated(before: &str, settings: &[(&str, &str)]) -> String {
    // Every line keeps its own line break.
    let mut lines: Vec<String> = before.split('\n').map(str::to_owned).collect();
    if lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    let end = if before.contains("\r\n") { "\r" } else { "" };
    for (name, value) in settings {
        let line = format!("{name}={}{end}", quoted(value));
        let own = |line: &String| {
            let line = line.trim_start();
            let line = line.strip_prefix("export ").unwrap_or(line);
            line.split_once('=').is_some_and(|(found, _)| found.trim() == *name)
        };
        // The last line of a name counts, so all others are removed.
        let position = lines.iter().position(own);
        lines.retain(|line| !own(line));
        lines.insert(position.unwrap_or(lines.len()).min(lines.len()), line);
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Single quotes where possible: nothing is special between them. In double quotes special characters need a backslash.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:/@,+=".contains(c);
    if value.chars().all(plain) {
        return value.to_owned();
    }
    if !value.contains('\'') {
        return format!("'{value}'");
    }
    let mut text = String::from('"');
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$') {
            text.push('\\');
        }
        text.push(c);
    }
    text + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_only_the_lines_of_a_setting() {
        let before = "# Bigin\nBIGIN_CLIENT_ID=1000.A\nexport BIGIN_REFRESH_TOKEN='old'\n\nTAG_DELAY=15s\nBIGIN_REFRESH_TOKEN=older\n";
        let after = updated(
            before,
            &[("BIGIN_REFRESH_TOKEN", "1000.new"), ("BIGIN_DATA_CENTER", "eu")],
        );
        assert_eq!(
            after,
            "# Bigin\nBIGIN_CLIENT_ID=1000.A\nBIGIN_REFRESH_TOKEN=1000.new\n\nTAG_DELAY=15s\nBIGIN_DATA_CENTER=eu\n"
        );
        assert_eq!(updated("", &[("A", "b c$d")]), "A='b c$d'\n");
        assert_eq!(updated("A=1\r\nB=2\r\n", &[("A", "3")]), "A=3\r\nB=2\r\n");
    }

    #[test]
    fn written_values_parse_and_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        std::fs::write(&path, "KEPT=1").unwrap();
        let special = r#"it's "$HOME" \n, or so"#;
        set(&path, &[("SECRET", "a b#c$d\"e"), ("SPECIAL", special)]).unwrap();
        let read: Vec<_> = dotenvy::from_path_iter(&path).unwrap().map(Result::unwrap).collect();
        assert_eq!(
            read,
            [
                ("KEPT".into(), "1".into()),
                ("SECRET".into(), "a b#c$d\"e".into()),
                ("SPECIAL".into(), special.into())
            ]
        );
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(set(&folder.path().join("nowhere/.env"), &[]).is_err());
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }

    #[test]
    fn unclosed_quote_leaves_the_file_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        let note = "NOTE=\"first\nA=old\nlast\"\n";
        std::fs::write(&path, note).unwrap();
        let error = check(&path, &["A"]).unwrap_err().to_string();
        assert!(error.starts_with("cannot set A in "), "{error}");
        set(&path, &[("A", "new")]).unwrap_err();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), note);
    }

    #[test]
    fn link_stays_and_its_target_keeps_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("settings"), folder.path().join(".env"));
        std::fs::write(&file, "A=1\n").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let is_root = std::os::unix::fs::chown(&file, Some(65534), Some(65534)).is_ok();
        set(&link, &[("A", "2")]).unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "A=2\n");
        let owner = std::fs::metadata(&file).unwrap().uid();
        assert!(!is_root || owner == 65534, "{owner}");
    }
}
