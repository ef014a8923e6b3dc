//! What becomes of conversations, odd ones and long ones too.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn london() -> TimeZone {
    TimeZone::get("Europe/London").unwrap()
}

fn told(value: &Value) -> String {
    conversation(value, &london(), LIMIT)
}

fn said(message: &str) -> Value {
    json!({"from": "lead", "message": message})
}

#[test]
fn a_conversation_is_one_paragraph_a_message() {
    let value = json!([
        {"_key": "a", "timestamp": "2025-10-27T14:03:22.000Z", "from": "ai", "message": "Good afternoon"},
        {"_key": "b", "timestamp": "2025-10-27T14:05:00.000Z", "from": "lead", "message": "Hello,\nwho is it?"},
    ]);
    insta::assert_snapshot!(told(&value), @r"
    [27/10/2025, 14:03:22] AI: Good afternoon

    [27/10/2025, 14:05:00] Lead: Hello,
    who is it?
    ");
}

#[test]
fn times_follow_the_clocks_going_back() {
    let value = json!([
        {"timestamp": "2025-10-26T00:30:00Z", "from": "ai", "message": "summer time"},
        {"timestamp": "2025-10-26T01:30:00Z", "from": "ai", "message": "an hour later"},
    ]);
    insta::assert_snapshot!(told(&value), @r"
    [26/10/2025, 01:30:00] AI: summer time

    [26/10/2025, 01:30:00] AI: an hour later
    ");
}

#[test]
fn odd_parts_are_tolerated() {
    let at = "2025-10-27T14:03:22Z";
    let rows = [
        ("nothing", json!(null), ""),
        ("no messages", json!([]), ""),
        ("blank text", json!("  \n "), ""),
        ("empty JSON text", json!("[]"), ""),
        ("plain text", json!(" They rang on Monday. "), "They rang on Monday."),
        ("plain text that begins like JSON", json!("[Mon] rang"), "[Mon] rang"),
        ("JSON text", json!(r#"[{"from":"ai","message":"Hi"}]"#), "AI: Hi"),
        ("JSON text of one message", json!(r#" {"message":"Hi"}"#), "Lead: Hi"),
        ("one message", json!({"from": "ai", "message": "Hi"}), "AI: Hi"),
        ("a number", json!(42), "42"),
        ("AI in capitals", json!([{"from": " AI ", "message": "Hi"}]), "AI: Hi"),
        ("no sender", json!([{"message": "Hi"}]), "Lead: Hi"),
        (
            "sender that is no text",
            json!([{"from": 1, "message": "Hi"}]),
            "Lead: Hi",
        ),
        ("no message", json!([{"timestamp": at, "from": "ai"}]), ""),
        (
            "null message",
            json!([{"from": "ai", "message": null}, said("Hi")]),
            "Lead: Hi",
        ),
        (
            "blank message",
            json!([{"from": "ai", "message": " "}, said("Hi")]),
            "Lead: Hi",
        ),
        (
            "message that is no text",
            json!([{"message": {"a": [1, true]}}]),
            r#"Lead: {"a":[1,true]}"#,
        ),
        ("bare text", json!(["Hi", null, ""]), "Hi"),
        (
            "milliseconds",
            json!([{"timestamp": 1_761_573_802_000_i64, "message": "Hi"}]),
            "[27/10/2025, 14:03:22] Lead: Hi",
        ),
        (
            "unreadable time",
            json!([{"timestamp": "Monday", "message": "Hi"}]),
            "[Monday] Lead: Hi",
        ),
        ("blank time", json!([{"timestamp": " ", "message": "Hi"}]), "Lead: Hi"),
        ("null time", json!([{"timestamp": null, "message": "Hi"}]), "Lead: Hi"),
    ];
    for (label, value, expected) in rows {
        assert_eq!(told(&value), expected, "{label}");
    }
}

#[test]
fn the_order_is_that_of_the_array_unless_it_is_plainly_newest_first() {
    let at = |time: &str, message: &str| json!({"timestamp": format!("2025-10-27T{time}Z"), "message": message});
    let rows = [
        (
            "oldest first",
            json!([at("10:00:00", "a"), at("11:00:00", "b"), at("12:00:00", "c")]),
            "abc",
        ),
        (
            "newest first",
            json!([at("12:00:00", "c"), at("11:00:00", "b"), at("10:00:00", "a")]),
            "abc",
        ),
        (
            "mixed up",
            json!([at("11:00:00", "a"), at("10:00:00", "b"), at("12:00:00", "c")]),
            "abc",
        ),
        ("all at once", json!([at("10:00:00", "a"), at("10:00:00", "b")]), "ab"),
        (
            "one without time",
            json!([at("12:00:00", "a"), {"message": "b"}, at("10:00:00", "c")]),
            "abc",
        ),
    ];
    for (label, value, expected) in rows {
        let order: String = told(&value).lines().filter_map(|line| line.chars().last()).collect();
        assert_eq!(order, expected, "{label}");
    }
}

#[test]
fn a_conversation_that_exactly_fits_is_whole_and_one_over_loses_its_oldest() {
    // "Lead: " and the blank lines between count.
    let fits = [
        said(&"a".repeat(9_990)),
        said(&"b".repeat(9_990)),
        said(&"c".repeat(LIMIT - 3 * 6 - 4 - 2 * 9_990)),
    ];
    let whole = told(&json!(fits));
    assert_eq!(length(&whole), LIMIT);
    assert!(whole.starts_with("Lead: aaa"));

    let [a, b, _] = fits;
    let over = told(&json!([a, b, said(&"c".repeat(LIMIT - 3 * 6 - 4 - 2 * 9_990 + 1))]));
    assert!(
        over.starts_with("[… 1 older message left out]\n\nLead: bbb"),
        "{}",
        &over[..60]
    );
    assert!(over.ends_with('c') && length(&over) <= LIMIT);
}

#[test]
fn the_line_about_older_messages_counts_within_the_limit() {
    let messages: Vec<_> = (0..20).map(|n| said(&format!("number {n:02}"))).collect();
    let tight = |limit| conversation(&json!(messages), &london(), limit);
    // The notice takes 30, a message 15, a blank line 2.
    insta::assert_snapshot!(tight(64), @r"
    [… 18 older messages left out]

    Lead: number 18

    Lead: number 19
    ");
    assert_eq!(length(&tight(64)), 64);
    insta::assert_snapshot!(tight(63), @r"
    [… 19 older messages left out]

    Lead: number 19
    ");
    assert_eq!(tight(47), tight(63));
    assert_eq!(tight(46), "Lead: number 19", "the notice gives way to the message");
}

#[test]
fn a_message_that_is_too_long_by_itself_loses_its_end() {
    let long = json!([said(&"x".repeat(100))]);
    let tight = |limit| conversation(&long, &london(), limit);
    // The remark takes 34.
    assert_eq!(tight(44), "Lead: xxxx [… rest of this message left out]");
    assert_eq!(tight(35), "L [… rest of this message left out]");
    assert_eq!(
        tight(34),
        format!("Lead: {}", "x".repeat(28)),
        "the remark gives way to the message"
    );
}

#[test]
fn characters_count_as_utf_16_units() {
    let message = said(&"😀".repeat((LIMIT - 6) / 2));
    assert_eq!(length(&told(&json!([message]))), LIMIT);
    let over = told(&json!([said("old"), said(&"😀".repeat((LIMIT - 6) / 2 + 1))]));
    assert!(over.starts_with("[… 1 older message left out]\n\nLead: 😀"));
    assert!(over.ends_with("😀 [… rest of this message left out]"));
    assert!((LIMIT - 1..=LIMIT).contains(&length(&over)), "{}", length(&over));
}

#[test]
fn a_plain_text_that_is_too_long_keeps_its_end() {
    let text = "x".repeat(LIMIT) + "the end";
    let kept = told(&json!(text));
    assert!(
        kept.starts_with("[… 44 older characters left out]\n\nxxx"),
        "{}",
        &kept[..60]
    );
    assert!(kept.ends_with("the end") && length(&kept) <= LIMIT);
}

fn message() -> impl Strategy<Value = Value> {
    let time = prop_oneof![
        Just(json!(null)),
        Just(json!("2025-10-27T10:00:00Z")),
        any::<i64>().prop_map(Value::from)
    ];
    let text = prop_oneof![
        "[a-z😀é\n ]{0,40}".prop_map(Value::from),
        any::<bool>().prop_map(Value::from)
    ];
    (time, "ai|AI|lead|", text)
        .prop_map(|(timestamp, from, message)| json!({"timestamp": timestamp, "from": from, "message": message}))
}

proptest! {
    #[test]
    fn no_conversation_is_longer_than_its_limit(
        messages in prop::collection::vec(message(), 0..30), limit in 0usize..600, as_text: bool,
    ) {
        let value = if as_text { json!(json!(messages).to_string()) } else { json!(messages) };
        let kept = conversation(&value, &london(), limit);
        prop_assert!(length(&kept) <= limit, "{} > {limit}", length(&kept));
    }

    #[test]
    fn the_newest_message_is_kept_whole_where_it_fits(
        messages in prop::collection::vec("[a-z]{1,40}", 1..30), limit in 90usize..600,
    ) {
        let value: Vec<_> = messages.iter().map(|message| said(message)).collect();
        let kept = conversation(&json!(value), &london(), limit);
        let newest = format!("Lead: {}", messages.last().unwrap());
        prop_assert!(kept.ends_with(&newest));
    }

    #[test]
    fn no_plain_text_is_longer_than_its_limit(text in "[a-z😀é\n ]{0,200}", limit in 0usize..120) {
        prop_assert!(length(&end(&text, limit)) <= limit);
    }
}
