//! The four sources of settings, and their precedence.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{ConfigError, DEFAULTS, PLAIN, SECRETS, read_secret};

/// The default settings file.
const CONFIG_FILE: &str = "bigin-sync.toml";

/// Settings as text, by name in capitals, and the problems of their files.
#[derive(Default)]
pub struct Layers {
    /// The first overrides the others: environment, `.env`, file, defaults.
    layers: Vec<BTreeMap<String, String>>,
    mapping: BTreeMap<String, String>,
    errors: Vec<ConfigError>,
}

/// The environment of this process, without values that are not UTF-8.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

impl Layers {
    /// The built-in defaults only; reads nothing of this machine.
    pub fn defaults() -> Self {
        let mut layers = Self::default();
        let defaults = layers.table(Path::new("config/default.toml"), DEFAULTS);
        layers.layers = vec![defaults];
        layers
    }

    /// Reads the files. A named file must exist; a default file need not.
    pub fn read(config: Option<&Path>, env_file: Option<&Path>, environment: BTreeMap<String, String>) -> Self {
        let mut layers = Self::defaults();
        let file = config.map_or_else(|| PathBuf::from(CONFIG_FILE), Path::to_owned);
        let beside = file.parent().map(|folder| folder.join(".env")).unwrap_or_default();
        let dotenv = env_file.map_or(beside, Path::to_owned);

        let dotenv = layers.dotenv(&dotenv, env_file.is_some());
        let text = layers.text_of(&file, config.is_some());
        let file = layers.table(&file, &text);
        layers.layers.splice(0..0, [environment, dotenv, file]);
        for layer in &mut layers.layers {
            // Containers set an empty value for "not set".
            layer.retain(|_, value| !value.is_empty());
        }
        layers
    }

    /// The problems of the files.
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }

    /// Bigin field → template: the defaults, overridden by the file. An empty template removes a field.
    pub(super) fn mapping(&self) -> BTreeMap<String, String> {
        self.mapping
            .iter()
            .filter(|(_, template)| !template.is_empty())
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    }

    /// A setting, from the first layer that has it or its `NAME_FILE`.
    ///
    /// # Errors
    /// The file cannot be read, or both are set.
    pub fn get(&self, name: &str) -> Result<Option<String>, ConfigError> {
        if !SECRETS.contains(&name) {
            return Ok(self.layers.iter().find_map(|layer| layer.get(name)).cloned());
        }
        let file_name = format!("{name}_FILE");
        for layer in &self.layers {
            match (layer.get(name), layer.get(&file_name)) {
                (Some(_), Some(_)) => {
                    return Err(ConfigError::invalid(
                        name,
                        format!("and {file_name} are both set: remove one"),
                    ));
                }
                (Some(value), None) => return Ok(Some(value.clone())),
                (None, Some(path)) => {
                    let value = read_secret(Path::new(path));
                    return value
                        .map(Some)
                        .map_err(|error| ConfigError::invalid(&file_name, format!("is {path:?}: {error}")));
                }
                (None, None) => {}
            }
        }
        Ok(None)
    }

    /// Whether a setting, or the file of a secret, is set outside the defaults.
    pub fn is_set(&self, name: &str) -> bool {
        let file = format!("{name}_FILE");
        let gives = |layer: &BTreeMap<String, String>| layer.contains_key(name) || layer.contains_key(&file);
        self.layers.iter().rev().skip(1).any(gives)
    }

    /// `PORT`, which hosting services set.
    pub(super) fn port(&self) -> Option<&String> {
        self.layers.iter().take(2).find_map(|layer| layer.get("PORT"))
    }

    fn dotenv(&mut self, path: &Path, named: bool) -> BTreeMap<String, String> {
        let text = self.text_of(path, named);
        // Some editors add a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let mut settings = BTreeMap::new();
        for pair in dotenvy::from_read_iter(text.as_bytes()) {
            match pair {
                Ok((name, value)) => {
                    settings.insert(name, value);
                }
                Err(error) => self.errors.push(bad_line(path, text, &error)),
            }
        }
        self.errors.extend(substituted(text).map(|(line, name)| {
            let place = place(path, Some(line));
            let problem = format!("contains a '$', which starts a variable: put the value in single quotes ({place})");
            ConfigError::invalid(name, problem)
        }));
        settings
    }

    /// The text of a file; empty where there is none.
    fn text_of(&mut self, path: &Path, named: bool) -> String {
        if !named && !path.exists() {
            return String::new();
        }
        std::fs::read_to_string(path).unwrap_or_else(|error| {
            self.errors
                .push(ConfigError::file(place(path, None), format!("cannot be read: {error}")));
            String::new()
        })
    }

    fn table(&mut self, path: &Path, text: &str) -> BTreeMap<String, String> {
        let mut error = |line, problem| self.errors.push(ConfigError::file(place(path, line), problem));
        let table: toml::Table = text.parse().unwrap_or_else(|fault: toml::de::Error| {
            // The error itself quotes the line, which may contain a secret.
            let line = fault
                .span()
                .map(|span| text[..span.start.min(text.len())].lines().count().max(1));
            error(line, format!("invalid TOML: {}", fault.message()));
            toml::Table::new()
        });
        let mut settings = BTreeMap::new();
        for (key, value) in table {
            match value {
                toml::Value::Table(templates) if key == "mapping" => {
                    for (field, template) in templates {
                        match template {
                            toml::Value::String(template) => drop(self.mapping.insert(field, template)),
                            _ => error(None, format!("the mapping of {field:?} must be a text")),
                        }
                    }
                }
                _ if key == "mapping" => error(None, "mapping must be a table: [mapping]".to_owned()),
                _ if !is_known(&key) => error(line_of(text, &key), unknown_key(&key)),
                _ => match as_text(&value) {
                    Some(text) => drop(settings.insert(key.to_uppercase(), text)),
                    None => error(None, format!("{key} must be a text, a number or a list of texts")),
                },
            }
        }
        settings
    }
}

/// A file, and a line of it.
fn place(path: &Path, line: Option<usize>) -> String {
    let line = line.map(|line| format!(", line {line}")).unwrap_or_default();
    format!("{}{line}", path.display())
}

fn line_of(text: &str, key: &str) -> Option<usize> {
    let is_key = |line: &str| line.split_once('=').is_some_and(|(name, _)| name.trim() == key);
    text.lines().position(is_key).map(|at| at + 1)
}

/// An unknown key of the settings file, with the setting that it resembles.
fn unknown_key(key: &str) -> String {
    let lower = key.to_lowercase();
    let known = super::names().map(str::to_lowercase);
    let similar = known.map(|name| (distance(&lower, &name), name)).min();
    let hint = match similar {
        Some((0..=2, name)) => format!(". Did you mean {name}?"),
        _ => String::new(),
    };
    format!("unknown setting {key:?}{hint}")
}

/// The number of inserted, deleted, replaced or swapped characters between two texts.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(x != y);
            let mut best = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// The number of a line of `.env` that cannot be parsed, without its text, which may contain a secret.
fn bad_line(path: &Path, text: &str, error: &dotenvy::Error) -> ConfigError {
    let dotenvy::Error::LineParse(bad, _) = error else {
        return ConfigError::file(place(path, None), "cannot be read");
    };
    // The parser's text may be the value only, and continue over the next lines if a quote is not closed.
    let first = bad.lines().next().unwrap_or_default().trim_end();
    let found = text.lines().position(|line| line.trim_end().ends_with(first));
    let line = found.filter(|_| !first.is_empty()).map(|at| at + 1);
    let problem = "not a NAME=value line; put a value with spaces, quotes or '#' in single quotes";
    ConfigError::file(place(path, line), problem)
}

/// Lines in which `.env` would replace `$` and a name by the variable's value: a secret with a `$` would silently change.
fn substituted(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(at, line)| {
        let (name, value) = line.split_once('=')?;
        let name = name.trim().trim_start_matches("export ").trim();
        let ours = name == "PORT" || is_setting(name);
        let quoted = value.trim_start().starts_with('\'');
        let plain = value.replace("\\$", "");
        (ours && !quoted && plain.contains('$')).then_some((at + 1, name))
    })
}

/// Whether this is a setting's name, in capitals.
fn is_setting(name: &str) -> bool {
    let secret = name.strip_suffix("_FILE").unwrap_or(name);
    PLAIN.contains(&name) || SECRETS.contains(&secret)
}

fn is_known(key: &str) -> bool {
    let lower = key.chars().all(|c| !c.is_uppercase());
    lower && is_setting(&key.to_uppercase())
}

fn as_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            texts.map(|texts| texts.join(","))
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}
