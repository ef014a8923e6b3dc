//! Settings are written into an env file so that all other lines stay as they are, nobody else can read it, and it is never
//! half written.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tempfile::NamedTempFile;

use super::{Sources, Usage};
use crate::config::Layers;

/// Where the env file is: the one that is named, else beside the settings' file.
pub(super) fn path(sources: &Sources) -> PathBuf {
    let beside = || {
        let folder = sources.config.as_deref().and_then(Path::parent);
        folder.map(|folder| folder.join(".env"))
    };
    let named = sources.env_file.clone();
    named.or_else(beside).unwrap_or_else(|| PathBuf::from(".env"))
}

/// Whether what the env file says of a setting is what counts.
///
/// # Errors
/// What is set elsewhere goes before it.
pub(super) fn has_the_last_word(
    setting: &str,
    environment: &BTreeMap<String, String>,
    layers: &Layers,
) -> Result<(), Usage> {
    let file = format!("{setting}_FILE");
    let is_given = |name: &&str| environment.get(*name).is_some_and(|value| !value.is_empty());
    if let Some(name) = [setting, &file].into_iter().find(is_given) {
        return Err(Usage(format!(
            "{name} is set in the environment, which goes before the env file: change it there"
        )));
    }
    if layers.is_set(&file) {
        return Err(Usage(format!("{file} names a file with that secret: change it there")));
    }
    Ok(())
}

/// Whether others on this machine can read it.
pub(super) fn is_open(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.mode() & 0o077 != 0)
}

/// Whether these settings could be written: to be known before something is used up for their values.
///
/// # Errors
/// As of [`set`].
pub(super) fn check(path: &Path, names: &[&str]) -> anyhow::Result<()> {
    let settings: Vec<(&str, &str)> = names.iter().map(|name| (*name, "1000.abc.def")).collect();
    prepare(path, &settings).map(drop)
}

/// Sets each name to its value: in its own line where it has one, at the end where not. The file gets mode 0600, and stays
/// its owner's.
///
/// # Errors
/// The file or its folder cannot be read or written, or would not say what it is to say; it is as it was then.
pub(super) fn set(path: &Path, settings: &[(&str, &str)]) -> anyhow::Result<()> {
    let (file, path) = prepare(path, settings)?;
    file.persist(&path)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(())
}

/// The new file, beside the old one, and the old one's path.
fn prepare(path: &Path, settings: &[(&str, &str)]) -> anyhow::Result<(NamedTempFile, PathBuf)> {
    let what = || format!("{} cannot be written", path.display());
    // Where it is a link, the file behind it is what others read.
    let path = match path.is_symlink() {
        true => path.canonicalize().with_context(what)?,
        false => path.to_owned(),
    };
    let before = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(what),
    };
    let after = with(&before, settings);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .with_context(what)?;
    if let (Ok(old), Ok(new)) = (std::fs::metadata(&path), file.as_file().metadata())
        && old.uid() != new.uid()
    {
        std::os::unix::fs::fchown(file.as_file(), Some(old.uid()), Some(old.gid()))
            .with_context(|| format!("{} belongs to somebody else: do this as its owner", path.display()))?;
    }
    file.write_all(after.as_bytes()).with_context(what)?;
    for (name, value) in settings {
        if !says(file.path(), name, value) {
            bail!(
                "{name} cannot be set in {}: a text before it has no end",
                path.display()
            );
        }
    }
    file.as_file().sync_all().with_context(what)?;
    Ok((file, path))
}

/// Whether a file, as it will be read, gives a name this value.
fn says(path: &Path, name: &str, value: &str) -> bool {
    let Ok(read) = dotenvy::from_path_iter(path) else {
        return false;
    };
    let given = read.map_while(Result::ok).filter(|(given, _)| given == name).last();
    given.is_some_and(|(_, given)| given == value)
}

fn with(before: &str, settings: &[(&str, &str)]) -> String {
    // Every line keeps its own end.
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
        // The last one has the last word where a name stands twice, so none of the others may stay.
        let place = lines.iter().position(own);
        lines.retain(|line| !own(line));
        lines.insert(place.unwrap_or(lines.len()).min(lines.len()), line);
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Between single quotes nothing means anything but itself, and between double quotes what a backslash stands before.
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
    fn a_setting_takes_its_own_line_and_leaves_the_others_as_they_are() {
        let before = "# Bigin\nBIGIN_CLIENT_ID=1000.A\nexport BIGIN_REFRESH_TOKEN='old'\n\nTAG_DELAY=15s\nBIGIN_REFRESH_TOKEN=older\n";
        let after = with(
            before,
            &[("BIGIN_REFRESH_TOKEN", "1000.new"), ("BIGIN_DATA_CENTER", "eu")],
        );
        assert_eq!(
            after,
            "# Bigin\nBIGIN_CLIENT_ID=1000.A\nBIGIN_REFRESH_TOKEN=1000.new\n\nTAG_DELAY=15s\nBIGIN_DATA_CENTER=eu\n"
        );
        assert_eq!(with("", &[("A", "b c$d")]), "A='b c$d'\n");
        assert_eq!(with("A=1\r\nB=2\r\n", &[("A", "3")]), "A=3\r\nB=2\r\n");
    }

    #[test]
    fn what_is_written_is_read_and_nobody_elses_business() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        std::fs::write(&path, "KEPT=1").unwrap();
        let odd = r#"it's "$HOME" \n, or so"#;
        set(&path, &[("SECRET", "a b#c$d\"e"), ("ODD", odd)]).unwrap();
        let read: Vec<_> = dotenvy::from_path_iter(&path).unwrap().map(Result::unwrap).collect();
        assert_eq!(
            read,
            [
                ("KEPT".into(), "1".into()),
                ("SECRET".into(), "a b#c$d\"e".into()),
                ("ODD".into(), odd.into())
            ]
        );
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(set(&folder.path().join("nowhere/.env"), &[]).is_err());
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left over"
        );
    }

    #[test]
    fn a_file_that_would_not_say_it_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        let note = "NOTE=\"first\nA=old\nlast\"\n";
        std::fs::write(&path, note).unwrap();
        let refused = check(&path, &["A"]).unwrap_err().to_string();
        assert!(refused.starts_with("A cannot be set in "), "{refused}");
        set(&path, &[("A", "new")]).unwrap_err();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), note);
    }

    #[test]
    fn a_link_stays_one_and_the_file_behind_it_keeps_its_owner() {
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
