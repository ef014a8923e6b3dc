//! The answers that can be given by flags, and the questions for the rest.

use std::path::PathBuf;

use anyhow::bail;

use super::session::{Desk, Kind, Question, line_of, missing};
use crate::cli::{Sources, Usage};

const EXAMPLES: &str = "\
Examples:
  bigin-sync setup                 asks for what it needs, and says where to find it
  bigin-sync setup --test-lead     and sends an invented lead through all of it at the end
  bigin-sync setup --yes --sanity-project-id abc123 --sanity-token-file token --management-token-file developer \\
      --bigin-client-id 1000.ABC --bigin-client-secret-file secret --bigin-code 1000.abc.def \\
      --public-url https://crm.example.org

What is set already, in bigin-sync.toml, the env file or the environment, is not asked for again, so it can be run again at any
time. It shows what it will change before it changes anything. Settings go into the env file, which nobody else can read then.

The management token is one of the role Developer or Administrator (sanity.io/manage, API, Tokens), also taken from
SANITY_MANAGEMENT_TOKEN. It makes or changes the webhook, and is never stored. Without it the webhook is made by hand: what to
type is shown.

Exit 0: everything is set up. 1: something has failed, which is shown. 2: wrong usage; where nobody can be asked, an answer is
missing.";

/// The answers, for those who know them.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(in crate::cli) struct Options {
    /// The Sanity project that the leads are in [default: SANITY_PROJECT_ID, or it is asked for]
    #[arg(long, value_name = "ID")]
    pub(super) sanity_project_id: Option<String>,
    /// Its dataset [default: SANITY_DATASET, or production]
    #[arg(long, value_name = "NAME")]
    pub(super) sanity_dataset: Option<String>,
    /// The document type of a lead [default: SANITY_LEAD_TYPE, or dbrLead]
    #[arg(long, value_name = "TYPE")]
    pub(super) sanity_lead_type: Option<String>,
    /// A file with a token of the role Editor [default: SANITY_API_WRITE_TOKEN, or it is asked for]
    #[arg(long, value_name = "FILE")]
    pub(super) sanity_token_file: Option<PathBuf>,
    /// A file with a token for Sanity's management API, which is not stored [default: SANITY_MANAGEMENT_TOKEN, or it is asked for]
    #[arg(long, value_name = "FILE")]
    pub(super) management_token_file: Option<PathBuf>,
    /// The self client's id [default: BIGIN_CLIENT_ID, or it is asked for]
    #[arg(long, value_name = "ID")]
    pub(super) bigin_client_id: Option<String>,
    /// A file with the self client's secret [default: BIGIN_CLIENT_SECRET, or it is asked for]
    #[arg(long, value_name = "FILE")]
    pub(super) bigin_client_secret_file: Option<PathBuf>,
    /// us, eu, in, au, cn, jp, sa or ca [default: BIGIN_DATA_CENTER, or it is found out]
    #[arg(long, value_name = "NAME")]
    pub(super) bigin_data_center: Option<String>,
    /// A code of Zoho's API console; not used where the refresh token works
    #[arg(long, value_name = "CODE")]
    pub(super) bigin_code: Option<String>,
    /// The tags that Bigin's automation waits for, with commas between them [default: BIGIN_TAGS, or DBR_Dashboard_Import]
    #[arg(long, value_name = "TAGS")]
    pub(super) bigin_tags: Option<String>,
    /// Where the service is reached from the internet [default: PUBLIC_URL, or it is asked for]
    #[arg(long, value_name = "URL")]
    pub(super) public_url: Option<String>,
    /// Change what is shown without asking
    #[arg(long)]
    pub(super) yes: bool,
    /// At the end, put an invented lead into Sanity and wait until the service has sent it
    #[arg(long)]
    pub(super) test_lead: bool,
    #[command(flatten)]
    pub(super) sources: Sources,
}

pub(super) const PROJECT_ID: Question = Question {
    setting: "SANITY_PROJECT_ID",
    flag: "--sanity-project-id",
    words: "Sanity project id",
    hint: "The leads are in a project of Sanity: https://sanity.io/manage shows its id, eight letters and digits.",
    kind: Kind::Needed,
};

pub(super) const DATASET: Question = Question {
    setting: "SANITY_DATASET",
    flag: "--sanity-dataset",
    words: "Dataset",
    hint: "A project has datasets; sanity.io/manage lists them.",
    kind: Kind::Default("production"),
};

pub(super) const LEAD_TYPE: Question = Question {
    setting: "SANITY_LEAD_TYPE",
    flag: "--sanity-lead-type",
    words: "Document type of a lead",
    hint: "The type is the name in the Studio's schema: defineType({name: …}).",
    kind: Kind::Default("dbrLead"),
};

pub(super) const SANITY_TOKEN: Question = Question {
    setting: "SANITY_API_WRITE_TOKEN",
    flag: "--sanity-token-file",
    words: "Token (it is not shown)",
    hint: "The service reads leads and writes results: sanity.io/manage, API, Tokens, Add API token, with the permission Editor.",
    kind: Kind::Secret,
};

pub(super) const TAGS: Question = Question {
    setting: "BIGIN_TAGS",
    flag: "--bigin-tags",
    words: "Tag",
    hint: "A tag starts your automation in Bigin, after the contact is there. It is made where Bigin has none of this name.",
    kind: Kind::Default("DBR_Dashboard_Import"),
};

pub(super) const PUBLIC_URL: Question = Question {
    setting: "PUBLIC_URL",
    flag: "--public-url",
    words: "Address (empty: none yet)",
    hint: "Where will the service be reached from the internet, such as https://crm.example.org? Sanity's webhook goes there.\n\
           Without an address leads are found by looking every minute.",
    kind: Kind::Optional,
};

impl Options {
    /// Takes what the flags say for answers.
    ///
    /// # Errors
    /// A file cannot be read, or what is set elsewhere would go before a flag.
    pub(super) fn answer(&self, desk: &mut Desk) -> anyhow::Result<()> {
        let given = [
            ("SANITY_PROJECT_ID", &self.sanity_project_id),
            ("SANITY_DATASET", &self.sanity_dataset),
            ("SANITY_LEAD_TYPE", &self.sanity_lead_type),
            ("BIGIN_TAGS", &self.bigin_tags),
            ("PUBLIC_URL", &self.public_url),
        ];
        for (setting, value) in given {
            if let Some(value) = value {
                desk.answer(setting, value.trim())?;
            }
        }
        if let Some(path) = &self.sanity_token_file {
            desk.answer(SANITY_TOKEN.setting, &line_of(SANITY_TOKEN.flag, path)?)?;
        }
        Ok(())
    }

    /// Whether everything is known without asking.
    ///
    /// # Errors
    /// All that is missing, at once.
    pub(super) fn suffice(&self, desk: &Desk) -> anyhow::Result<()> {
        let mut faults = Vec::new();
        for question in [&PROJECT_ID, &SANITY_TOKEN] {
            if desk.known(question.setting)?.is_none() {
                faults.push(missing(question));
            }
        }
        if desk.known("BIGIN_REFRESH_TOKEN")?.is_none() {
            let given = [
                ("BIGIN_CLIENT_ID", "--bigin-client-id", self.bigin_client_id.is_some()),
                (
                    "BIGIN_CLIENT_SECRET",
                    "--bigin-client-secret-file",
                    self.bigin_client_secret_file.is_some(),
                ),
            ];
            for (setting, flag, is_given) in given {
                if !is_given && desk.known(setting)?.is_none() {
                    faults.push(format!("{setting} is missing: give {flag}"));
                }
            }
            if self.bigin_code.is_none() {
                faults.push(
                    "BIGIN_REFRESH_TOKEN is missing: give --bigin-code, a fresh one of Zoho's API console".to_owned(),
                );
            }
        }
        match faults.as_slice() {
            [] => Ok(()),
            faults => bail!(Usage(faults.join("; "))),
        }
    }
}
