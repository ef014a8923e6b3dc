//! Settings are written into an env file so that all other lines stay as they are, nobody else can read it, and it is never
//! half written.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::Sources;

/// Where the env file is: the one that is named, else beside the settings' file.
pub(super) fn path(sources: &Sources) -> PathBuf {
    let beside = || {
        let folder = sources.config.as_deref().and_then(Path::parent);
        folder.map(|folder| folder.join(".env"))
    };
    let named = sources.env_file.clone();
    named.or_else(beside).unwrap_or_else(|| PathBuf::from(".env"))
}

/// Sets each name to its value: in its own line where it has one, at the end where not. The file gets mode 0600.
///
/// # Errors
/// The file or its folder cannot be read or written; it is as it was then.
pub(super) fn set(path: &Path, settings: &[(&str, &str)]) -> anyhow::Result<()> {
    let what = || format!("{} cannot be written", path.display());
    let before = match std::fs::read_to_string(path) {
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
    file.write_all(after.as_bytes()).with_context(what)?;
    file.as_file().sync_all().with_context(what)?;
    file.persist(path).with_context(what)?;
    Ok(())
}

fn with(before: &str, settings: &[(&str, &str)]) -> String {
    let mut lines: Vec<String> = before.lines().map(str::to_owned).collect();
    for (name, value) in settings {
        let line = format!("{name}={}", quoted(value));
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
}
