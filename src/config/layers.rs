//! The four places a setting can be in, and which of them wins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{DEFAULTS, PLAIN, SECRETS, read_secret};

/// The file that is read where none is named.
const CONFIG_FILE: &str = "bigin-sync.toml";

/// Settings as text, by name in capitals, and what could not be read.
#[derive(Debug, Default)]
pub struct Layers {
    /// The first has the last word: environment, `.env`, file, defaults.
    layers: Vec<BTreeMap<String, String>>,
    mapping: BTreeMap<String, String>,
    faults: Vec<String>,
}

/// The environment of this process. Values that are not UTF-8 are no settings of ours.
#[expect(clippy::disallowed_methods, reason = "this is the one reading of the environment")]
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

impl Layers {
    /// The built-in defaults alone: nothing of this machine is read.
    pub fn defaults() -> Self {
        let mut layers = Self::default();
        let defaults = layers.table("the built-in defaults", DEFAULTS);
        layers.layers = vec![defaults];
        layers
    }

    /// Reads the files. One that is named must be there; the usual ones are read where they are there.
    pub fn read(config: Option<&Path>, env_file: Option<&Path>, environment: BTreeMap<String, String>) -> Self {
        let mut layers = Self::defaults();
        let file = config.map_or_else(|| PathBuf::from(CONFIG_FILE), Path::to_owned);
        let beside = file.parent().map(|folder| folder.join(".env")).unwrap_or_default();
        let dotenv = env_file.map_or(beside, Path::to_owned);

        let dotenv = layers.dotenv(&dotenv, env_file.is_some());
        let file = layers.file(&file, config.is_some());
        layers.layers.splice(0..0, [environment, dotenv, file]);
        for layer in &mut layers.layers {
            // An empty value is how containers spell "not set".
            layer.retain(|_, value| !value.is_empty());
        }
        layers
    }

    /// What could not be read, one sentence each.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// Bigin field → template: the defaults, with those of the file over them. An empty template takes a field out.
    pub fn mapping(&self) -> BTreeMap<String, String> {
        self.mapping
            .iter()
            .filter(|(_, template)| !template.is_empty())
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    }

    /// A setting, from the first layer that has it, or from the file that its `NAME_FILE` names.
    pub(super) fn get(&self, name: &str) -> Result<Option<String>, String> {
        if !SECRETS.contains(&name) {
            return Ok(self.layers.iter().find_map(|layer| layer.get(name)).cloned());
        }
        let file_name = format!("{name}_FILE");
        for layer in &self.layers {
            match (layer.get(name), layer.get(&file_name)) {
                (Some(_), Some(_)) => {
                    return Err(format!("{name} and {file_name} are both set: take one of them away"));
                }
                (Some(value), None) => return Ok(Some(value.clone())),
                (None, Some(path)) => {
                    let value = read_secret(Path::new(path));
                    return value
                        .map(Some)
                        .map_err(|error| format!("{file_name} is {path:?}: {error}"));
                }
                (None, None) => {}
            }
        }
        Ok(None)
    }

    /// Whether a setting is given anywhere but in the defaults.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.layers.iter().rev().skip(1).any(|layer| layer.contains_key(name))
    }

    /// `PORT`, as hosting services set it.
    pub(super) fn port(&self) -> Option<&String> {
        self.layers.iter().take(2).find_map(|layer| layer.get("PORT"))
    }

    fn dotenv(&mut self, path: &Path, named: bool) -> BTreeMap<String, String> {
        if !named && !path.exists() {
            return BTreeMap::new();
        }
        let read = dotenvy::from_path_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        match read {
            Ok(pairs) => pairs.into_iter().collect(),
            Err(dotenvy::Error::LineParse(_, position)) => {
                // The line itself may hold a secret.
                self.faults.push(format!(
                    "{} has a line that is not NAME=value, near character {position} of it",
                    path.display()
                ));
                BTreeMap::new()
            }
            Err(error) => {
                self.faults.push(format!("{} cannot be read: {error}", path.display()));
                BTreeMap::new()
            }
        }
    }

    fn file(&mut self, path: &Path, named: bool) -> BTreeMap<String, String> {
        if !named && !path.exists() {
            return BTreeMap::new();
        }
        match std::fs::read_to_string(path) {
            Ok(text) => self.table(&path.display().to_string(), &text),
            Err(error) => {
                self.faults.push(format!("{} cannot be read: {error}", path.display()));
                BTreeMap::new()
            }
        }
    }

    fn table(&mut self, origin: &str, text: &str) -> BTreeMap<String, String> {
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                // The error would quote the line, which may hold a secret.
                let line = error
                    .span()
                    .map_or(0, |span| text[..span.start.min(text.len())].lines().count().max(1));
                self.faults
                    .push(format!("{origin} is not TOML, at line {line}: {}", error.message()));
                return BTreeMap::new();
            }
        };
        let mut settings = BTreeMap::new();
        for (key, value) in table {
            if key == "mapping" {
                self.mapping_table(origin, value);
            } else if !is_known(&key) {
                self.faults.push(format!("{origin} has an unknown key {key:?}"));
            } else if let Some(text) = as_text(&value) {
                settings.insert(key.to_uppercase(), text);
            } else {
                self.faults.push(format!(
                    "{origin} has {key:?}, which must be a text, a number or a list of texts"
                ));
            }
        }
        settings
    }

    fn mapping_table(&mut self, origin: &str, value: toml::Value) {
        let toml::Value::Table(table) = value else {
            self.faults
                .push(format!("{origin} has \"mapping\", which must be a table: [mapping]"));
            return;
        };
        for (field, template) in table {
            if let Some(template) = template.as_str() {
                self.mapping.insert(field, template.to_owned());
            } else {
                self.faults
                    .push(format!("{origin} has a mapping of {field:?} that is not a text"));
            }
        }
    }
}

fn is_known(key: &str) -> bool {
    let name = key.to_uppercase();
    let lower = key.chars().all(|c| !c.is_uppercase());
    let secret = name.strip_suffix("_FILE").unwrap_or(&name);
    lower && (PLAIN.contains(&name.as_str()) || SECRETS.contains(&secret))
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
