"""Does with Zoho's own client what the service does. Standard input: {url, client_id, client_secret, refresh_token};
standard output: what the client made of each answer, by the name of the step."""

import json
import sys
import tempfile

from zcrmsdk import OAuthClient, RestClient
from zcrmsdk.CLException import ZCRMException
from zcrmsdk.Operations import ZCRMModule, ZCRMRecord

USER = "owner@example.org"


def initialize(given, tokens):
    RestClient.ZCRMRestClient.initialize(
        {
            "apiBaseUrl": given["url"],
            # The client is made for Zoho CRM and puts /crm/ in front; this takes it away again.
            "apiVersion": "../bigin/v1",
            "accounts_url": given["url"],
            # An empty text counts as missing, and the client then fails where it wants to log.
            "applicationLogFilePath": " ",
            "client_id": given["client_id"],
            "client_secret": given["client_secret"],
            "currentUserEmail": USER,
            "redirect_uri": "https://example.org/none",
            "sandbox": "false",
            "token_persistence_path": tokens,
        }
    )
    client = OAuthClient.ZohoOAuth.get_client_instance()
    client.generate_access_token_from_refresh_token(given["refresh_token"], USER)
    return client.get_access_token(USER)


def upsert(*records):
    contacts = []
    for fields in records:
        contact = ZCRMRecord.get_instance("Contacts")
        for name, value in fields.items():
            contact.set_field_value(name, value)
        contacts.append(contact)
    answer = ZCRMModule.get_instance("Contacts").upsert_records(contacts, ["Email"], ["workflow"])
    items = [
        {
            "code": item.code,
            "status": item.status,
            "message": item.message,
            "action": item.upsert_action,
            "duplicate_field": item.upsert_duplicate_field,
            "field": item.details.get("api_name"),
        }
        for item in answer.bulk_entity_response
    ]
    return answer.status_code, items, [contact.entity_id for contact in answer.data]


def refusal(call):
    try:
        return {"done": call().status_code}
    except ZCRMException as error:
        return {"status": error.status_code, "code": error.error_code}


def main():
    given = json.load(sys.stdin)
    results = {}
    with tempfile.TemporaryDirectory() as tokens:
        results["has_token"] = bool(initialize(given, tokens))

        status, items, ids = upsert(
            {"Last_Name": "Lovelace", "Email": "ada@example.org", "Phone": "+447700900123"},
            {"Last_Name": "Hopper", "Email": "not an address"},
            {"Last_Name": "King", "Email": "ADA@example.org"},
            {"Last_Name": "Curie", "Email": "marie@example.org"},
        )
        results["upsert"] = {"status": status, "items": items, "same": ids[0] == ids[1], "contacts": len(set(ids))}
        ada, marie = ids[0], ids[2]

        contacts = ZCRMModule.get_instance("Contacts")
        single = ZCRMRecord.get_instance("Contacts", ada).add_tags(["DBR_Dashboard_Import"])
        results["tag_one"] = {
            "status": single.status_code,
            "code": single.code,
            "message": single.message,
            "tags": [tag.name for tag in single.data.tag_list],
        }
        several = contacts.add_tags_to_multiple_records(["Second", "Third"], [ada, marie])
        results["tag_several"] = {
            "status": several.status_code,
            "messages": [item.message for item in several.bulk_entity_response],
            "tags": [[tag.name for tag in contact.tag_list] for contact in several.data],
        }
        mixed = contacts.add_tags_to_multiple_records(["Second"], ["1234567890123456789", ada])
        results["tag_stranger"] = [item.code for item in mixed.bulk_entity_response]
        results["tag_too_long"] = refusal(lambda: contacts.add_tags_to_multiple_records(["x" * 26], [ada]))
    print(json.dumps(results))


main()
