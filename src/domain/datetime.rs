//! Arithmetic with points in time, and times as leads spell them.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use serde_json::Value;

/// `at` and `by` later, or the end of time where there is no such moment.
pub fn after(at: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// `at` and `by` earlier, or the beginning of time where there is no such moment.
pub fn before(at: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    at.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

/// How long from `now` until `then`; zero if that is past.
pub fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// Reads ISO text (with or without an offset or a time) or milliseconds since 1970, as JavaScript writes them, into the
/// local time of `zone`. Text without an offset is taken to be local time already.
pub fn moment(value: &Value, zone: &TimeZone) -> Option<Zoned> {
    match value {
        Value::String(text) => from_text(text.trim(), zone),
        Value::Number(number) => from_millis(number.as_i64().or_else(|| whole(number.as_f64()?))?, zone),
        _ => None,
    }
}

fn from_text(text: &str, zone: &TimeZone) -> Option<Zoned> {
    // Eleven digits and more: fewer may be a date like 20251027, and are no recent time in milliseconds.
    if text.len() > 10 && text.bytes().all(|c| c.is_ascii_digit()) {
        return from_millis(text.parse().ok()?, zone);
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.to_zoned(zone.clone()));
    }
    text.parse::<DateTime>().ok()?.to_zoned(zone.clone()).ok()
}

fn from_millis(millis: i64, zone: &TimeZone) -> Option<Zoned> {
    Some(Timestamp::from_millisecond(millis).ok()?.to_zoned(zone.clone()))
}

/// The whole part of a number that has come through a floating-point type.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the number is checked to be small enough"
)]
fn whole(number: f64) -> Option<i64> {
    // Beyond 2^53 a double no longer tells neighbouring integers apart, and no time is that far away.
    (number.abs() < 9e15).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn no_time_is_before_the_first_or_after_the_last() {
        let at = Timestamp::from_second;
        let (noon, hour) = (at(43_200).unwrap(), Duration::from_secs(3_600));
        assert_eq!(after(noon, hour), at(46_800).unwrap());
        assert_eq!(before(noon, hour), at(39_600).unwrap());
        for long in [Duration::from_secs(1 << 40), Duration::MAX] {
            assert_eq!(
                (before(noon, long), after(noon, long)),
                (Timestamp::MIN, Timestamp::MAX)
            );
        }
    }

    #[test]
    fn times_are_read_however_a_lead_spells_them() {
        let zone = TimeZone::get("Europe/London").unwrap();
        let rows = [
            (
                "UTC, winter",
                json!("2025-11-27T10:00:00Z"),
                Some("2025-11-27 10:00:00"),
            ),
            (
                "UTC, summer time",
                json!("2025-07-27T10:00:00.250Z"),
                Some("2025-07-27 11:00:00"),
            ),
            (
                "with an offset",
                json!("2025-07-27T10:00:00+05:30"),
                Some("2025-07-27 05:30:00"),
            ),
            (
                "local time",
                json!(" 2025-07-27T10:00:00 "),
                Some("2025-07-27 10:00:00"),
            ),
            ("a date", json!("2025-07-27"), Some("2025-07-27 00:00:00")),
            (
                "milliseconds",
                json!(1_753_610_400_000_i64),
                Some("2025-07-27 11:00:00"),
            ),
            (
                "milliseconds as a double",
                json!(1_753_610_400_000.5),
                Some("2025-07-27 11:00:00"),
            ),
            (
                "milliseconds as text",
                json!("1753610400000"),
                Some("2025-07-27 11:00:00"),
            ),
            (
                "eleven digits as text",
                json!("10000000000"),
                Some("1970-04-26 18:46:40"),
            ),
            ("ten digits are no time in milliseconds", json!("1753610400"), None),
            (
                "eight digits are a date",
                json!("20250727"),
                Some("2025-07-27 00:00:00"),
            ),
            ("words", json!("yesterday"), None),
            ("empty", json!(""), None),
            ("out of range", json!(i64::MAX), None),
            ("too large for any time", json!(1e300), None),
            ("null", json!(null), None),
            ("no time at all", json!({"a": 1}), None),
        ];
        for (label, value, expected) in rows {
            let read = moment(&value, &zone).map(|at| at.strftime("%Y-%m-%d %H:%M:%S").to_string());
            assert_eq!(read.as_deref(), expected, "{label}");
        }
    }

    fn anything() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[-+0-9]{1,20}".prop_map(Value::from),
            "-?[0-9]{4,6}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}(:[0-9]{2})?)?)?"
                .prop_map(Value::from),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_read_as_a_time_is_read_as_the_same_time_again(value in anything(), zone in "Europe/London|Pacific/Apia|UTC") {
            let zone = TimeZone::get(&zone).unwrap();
            if let Some(at) = moment(&value, &zone) {
                prop_assert_eq!(moment(&json!(at.timestamp().to_string()), &zone), Some(at));
            }
        }
    }
}
