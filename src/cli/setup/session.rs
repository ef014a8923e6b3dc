//! The present settings, the answers so far, and the questions for the rest. A setting that is set is not asked for again.

use std::collections::BTreeMap;

use secrecy::SecretString;

use crate::cli::doctor::{Installation, SharedToken};
use crate::cli::{Sources, Usage, env_file, print, prompt};
use crate::config::{ConfigErrors, Layers};
use crate::crypto;

pub(super) struct Question {
    pub(super) setting: &'static str,
    /// The option that answers it.
    pub(super) flag: &'static str,
    pub(super) prompt: &'static str,
    /// Where the answer is found.
    pub(super) hint: &'static str,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Required,
    /// Required, and hidden while it is typed.
    Secret,
    Default(&'static str),
    Optional,
}

/// The settings, and the answers that override them.
pub(super) struct Session {
    pub(super) sources: Sources,
    environment: BTreeMap<String, String>,
    /// In the order of the questions.
    answers: Vec<(&'static str, String)>,
    /// The answers that were generated.
    generated: Vec<&'static str>,
    /// So that all checks together cost one access token.
    token: SharedToken,
    pub(super) interactive: bool,
}

impl Session {
    /// # Errors
    /// The files cannot be read.
    pub(super) fn open(sources: &Sources, environment: BTreeMap<String, String>) -> anyhow::Result<Self> {
        let session = Self {
            sources: sources.clone(),
            environment,
            answers: Vec::new(),
            generated: Vec::new(),
            token: SharedToken::default(),
            interactive: prompt::is_interactive(),
        };
        ConfigErrors::check(session.layers().errors().to_vec())?;
        Ok(session)
    }

    /// The settings with the answers.
    pub(super) fn layers(&self) -> Layers {
        let answers = self.answers.iter();
        let answers = answers.map(|(name, value)| ((*name).to_owned(), value.clone()));
        let mut environment = self.environment.clone();
        environment.extend(answers);
        self.sources.layers(environment)
    }

    /// The settings without the answers.
    fn layers_before(&self) -> Layers {
        self.sources.layers(self.environment.clone())
    }

    /// The installation with the answers, to check it.
    pub(super) fn installation(&self, management_token: Option<SecretString>) -> anyhow::Result<Installation> {
        Installation::new(&self.layers(), management_token, SharedToken::clone(&self.token))
    }

    /// A setting or an answer, but not a default.
    pub(super) fn get(&self, setting: &str) -> anyhow::Result<Option<String>> {
        get(&self.layers(), setting)
    }

    /// A setting before the answers.
    pub(super) fn get_before(&self, setting: &str) -> anyhow::Result<Option<String>> {
        get(&self.layers_before(), setting)
    }

    /// Adds an answer unless it equals the present setting.
    ///
    /// # Errors
    /// Another source would override it.
    pub(super) fn answer(&mut self, setting: &'static str, value: &str) -> anyhow::Result<()> {
        self.discard(setting);
        if self.get(setting)?.as_deref() == Some(value) {
            return Ok(());
        }
        self.check_not_overridden(setting)?;
        self.answers.push((setting, value.to_owned()));
        Ok(())
    }

    pub(super) fn check_not_overridden(&self, setting: &str) -> Result<(), Usage> {
        env_file::check_not_overridden(setting, &self.environment, &self.layers())
    }

    pub(super) fn discard(&mut self, setting: &str) {
        self.answers.retain(|(name, _)| *name != setting);
        self.generated.retain(|name| *name != setting);
    }

    /// Generates a secret if there is none: 32 random bytes as 43 characters.
    pub(super) fn generate_secret(&mut self, setting: &'static str) -> anyhow::Result<()> {
        if self.get(setting)?.is_none() {
            let secret = crypto::random_token::<32>();
            self.answer(setting, &secret)?;
            self.generated.push(setting);
        }
        Ok(())
    }

    /// Asks for a setting that is not set. With `again` also for one that is, whose value is then the default.
    ///
    /// # Errors
    /// A required answer is missing, and there is no terminal.
    pub(super) fn ask(&mut self, question: &Question, again: bool) -> anyhow::Result<()> {
        let present = self.get(question.setting)?;
        if present.is_some() && !again {
            return Ok(());
        }
        if !self.interactive {
            return match question.kind {
                Kind::Required | Kind::Secret => Err(Usage(missing(question)).into()),
                Kind::Default(_) | Kind::Optional => Ok(()),
            };
        }
        print(&format!("\n{}\n", question.hint))?;
        let default = match question.kind {
            Kind::Default(default) => Some(default),
            _ => None,
        };
        let answer = match question.kind {
            Kind::Secret => prompt::secret(question.prompt, present.is_some())?,
            kind => prompt::text(
                question.prompt,
                present.or(default.map(str::to_owned)),
                kind == Kind::Optional,
            )?,
        };
        if answer.is_empty() {
            return Ok(());
        }
        self.discard(question.setting);
        // A default needs no line in the file.
        if default == Some(answer.as_str()) && !self.layers().is_set(question.setting) {
            return Ok(());
        }
        self.answer(question.setting, &answer)
    }

    /// The lines to write to the env file, without secrets.
    pub(super) fn shown_changes(&self) -> anyhow::Result<Vec<String>> {
        let before = self.layers_before();
        let shown = |(name, value): &(&'static str, String)| {
            Ok(match (crate::config::is_secret(name), get(&before, name)?) {
                (true, None) if self.generated.contains(name) => format!("{name} (generated)"),
                (true, None) => format!("{name} (hidden)"),
                (true, Some(_)) => format!("{name} (new value, hidden)"),
                (false, None) => format!("{name}={value}"),
                (false, Some(was)) => format!("{name}={value} (was {was})"),
            })
        };
        self.answers.iter().map(shown).collect()
    }

    /// Settings that only this process's environment has: a service started elsewhere would miss them.
    pub(super) fn only_in_environment(&self) -> Vec<&'static str> {
        let (here, files) = (self.layers_before(), self.sources.layers(BTreeMap::new()));
        crate::config::names()
            .filter(|name| *name != "RUST_LOG" && here.is_set(name) && !files.is_set(name))
            .collect()
    }

    /// Writes the answers to the env file, which then has them as settings. Returns whether the file has changed.
    ///
    /// # Errors
    /// The file cannot be written; it is unchanged.
    pub(super) fn write(&mut self) -> anyhow::Result<bool> {
        let path = env_file::path(&self.sources);
        let changes = !self.answers.is_empty() || env_file::is_readable_by_others(&path);
        if changes {
            let answers = self.answers.iter();
            let answers: Vec<(&str, &str)> = answers.map(|(name, value)| (*name, value.as_str())).collect();
            env_file::set(&path, &answers)?;
        }
        self.answers.clear();
        self.generated.clear();
        Ok(changes)
    }
}

fn get(layers: &Layers, setting: &str) -> anyhow::Result<Option<String>> {
    if !layers.is_set(setting) {
        return Ok(None);
    }
    Ok(layers.get(setting).map_err(|error| ConfigErrors(vec![error]))?)
}

/// The message for a script.
pub(super) fn missing(question: &Question) -> String {
    format!("{} is missing: use {}", question.setting, question.flag)
}
