//! `bigin-sync doctor` for one lead, and the guided test.

use bigin_sync::fake::bigin::CallKind;
use serde_json::json;

use crate::world::{lead, with};

use super::{Clinic, TAG, refusal};

#[actix_web::test]
async fn shows_fields_without_values() {
    let clinic = Clinic::new().await;
    let (code, out, err) = clinic.run(&["--lead", "lead-ada"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let (_, shown) = out.split_once("Fields to send").unwrap();
    insta::assert_snapshot!(shown, @r"
     for lead-ada
      Description          text, 79 characters
      Email                text, 15 characters
      First_Name           text, 3 characters
      Last_Name            text, 7 characters
      Lead_ID              text, 8 characters
      Lead_Source          text, 13 characters
      Lead_Status          text, 3 characters
      Mailing_Street       text, 17 characters
      Mailing_Zip          text, 8 characters
      Phone                text, 13 characters

    1 warning, 24 passed, 1 skipped
    ");
    assert_eq!(clinic.stage.bigin.model().contacts().count(), 0);

    let (code, out, err) = clinic.run_showing(&["--lead", "lead-ada", "--show-values"]).await;
    assert!(
        code == 0 && out.contains("Email") && out.contains(": ada@example.org"),
        "{out}"
    );
    assert!(err.contains("personal data"), "{err}");
}

#[actix_web::test]
async fn failed_lead_is_explained() {
    let clinic = Clinic::new().await;
    let nameless = json!({ "firstName": null, "secondName": null });
    clinic
        .stage
        .sanity
        .model()
        .publish(with(lead("Grace"), nameless))
        .unwrap();
    clinic.stage.sanity.model().publish(lead("Mary")).unwrap();
    clinic.stage.sanity.model().unpublish("lead-mary").unwrap();
    for (id, words) in [
        (
            "lead-grace",
            "lead-grace would be rejected: The lead has no name: fill in the first or last name",
        ),
        ("lead-mary", "publish it: there is only a draft"),
        ("lead-nobody", "copy the ID from the Studio"),
    ] {
        let (code, out, _) = clinic.run(&["--lead", id]).await;
        assert!(code == 1 && out.contains(words), "{id}: {out}");
    }
    let (code, _, err) = clinic.run(&["--lead", "drafts.lead-mary"]).await;
    assert!(code == 2 && err.contains("not the id of a published document"), "{err}");
}

#[actix_web::test]
async fn guided_test_sends_invented_contact() {
    let clinic = Clinic::new().await;
    let (code, out, err) = clinic.run(&["--guided-test"]).await;
    assert!(
        code == 2 && out.is_empty() | (out == "\n") && err.contains("--yes"),
        "{out}{err}"
    );
    assert_eq!(
        clinic.stage.bigin.model().contacts().count(),
        0,
        "without a confirmation"
    );

    let (code, out, _) = clinic.run(&["--guided-test", "--yes"]).await;
    assert_eq!(code, 0, "{out}");
    let (id, contact) = {
        let model = clinic.stage.bigin.model();
        let (id, contact) = model.contacts().next().unwrap();
        (id.to_owned(), contact.clone())
    };
    assert_eq!(
        (contact.text("Last_Name"), contact.tags.as_slice()),
        (Some("Bigin-Sync"), [TAG.to_owned()].as_slice())
    );
    insta::assert_snapshot!(out.replace(&id, "ID"), @r#"
    Created the contact ID: "Test Bigin-Sync".
    Added the tag DBR_Dashboard_Import.

    Now look in Bigin, for a minute or two:
      1. Is the contact "Test Bigin-Sync" there, with the tag?
      2. Did your automation run: is the contact in the pipeline, is the task there, was the message sent?

    If only 1 is true, the automation waits for something else. Bigin documents rules that run when a contact is created or edited,
    and none that runs when a tag is added; this test shows whether a tag counts as an edit. Check that the rule runs on edits and
    has this tag as its condition, with the same upper and lower case. If it still does not run, try a longer TAG_DELAY.

    Delete the contact in Bigin afterwards: bigin-sync deletes nothing.
    "#);
}

#[actix_web::test]
async fn failed_guided_test_says_what_is_left() {
    let clinic = Clinic::new().await;
    let refused = refusal("OAUTH_SCOPE_MISMATCH");
    clinic.stage.bigin.model().fail_next(CallKind::AddTags, refused, 1);
    let (code, out, err) = clinic.run(&["--guided-test", "--yes"]).await;
    assert!(code == 1 && out.contains("Created the contact"), "{out}");
    assert!(
        err.contains(", which stays in Bigin: ") && err.contains("ZohoBigin.modules.contacts.ALL"),
        "{err}"
    );
}
