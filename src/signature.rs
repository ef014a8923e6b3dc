//! Sanity's webhook signatures: `t=<unix milliseconds>,v1=<base64url of HMAC-SHA256>` over the raw bytes of `<t>.<body>`.
//!
//! Follows the official toolkit (source of @sanity/webhook 4.0.4): its verifier computes the whole header value again and
//! compares it as text, so that exactly one spelling of a signature is good. Padding, a space after the comma, a leading
//! zero or stray bits in the last character are all refused. Unlike the toolkit, this compares in constant time, accepts
//! two secrets while one is being replaced, and can refuse old signatures (Sanity itself sets no limit).

use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use crate::crypto::{self, MacKey};

/// The header the signature travels in.
pub const HEADER: &str = "sanity-webhook-signature";

/// 2021-01-01 in milliseconds. What is smaller was not signed by Sanity: most likely it counts seconds, as Stripe's does.
pub const MINIMUM_TIMESTAMP_MS: u64 = 1_609_459_200_000;

/// Whole numbers above this have no exact double, so that no JavaScript ever prints them as they were received.
const MAXIMUM_TIMESTAMP_MS: u64 = (1 << 53) - 1;

/// The secrets of which any one makes a signature good. Their text is used as it is: nothing is trimmed or decoded.
#[derive(Debug, Clone)]
pub struct Secrets {
    current: SecretString,
    previous: Option<SecretString>,
}

/// A secret without a character, which anybody could sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook secret must not be empty")]
pub struct EmptySecret;

impl Secrets {
    /// The secret Sanity signs with, and the one before it while it is being replaced.
    ///
    /// # Errors
    /// [`EmptySecret`] where one of them has no characters.
    pub fn new(current: SecretString, previous: Option<SecretString>) -> Result<Self, EmptySecret> {
        let is_empty = |secret: &SecretString| secret.expose_secret().is_empty();
        if is_empty(&current) || previous.as_ref().is_some_and(is_empty) {
            return Err(EmptySecret);
        }
        Ok(Self { current, previous })
    }
}

/// Why a request's signature is not accepted. Nothing of the header or of the body is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no signature header: the webhook has no secret set, or it is not Sanity that calls.
    #[error("the request has no signature header")]
    Missing,
    /// No secret of ours made this signature for this body.
    #[error("the signature is invalid")]
    Invalid,
    /// The signature is good, and older than the limit that was set.
    #[error("the signature is too old")]
    TooOld,
    /// The signature header has no value.
    #[error("the signature header is empty")]
    Empty,
    /// The header comes more than once.
    #[error("there is more than one signature header")]
    Multiple,
    /// The header is not of the form `t=…,v1=…`.
    #[error("the signature header is not of the form t=…,v1=…")]
    Malformed,
    /// The timestamp lies before 2021.
    #[error("the signature's timestamp is not a unix time in milliseconds")]
    TimestampTooSmall,
    /// An empty body cannot be signed.
    #[error("the request has no body, which cannot be signed")]
    EmptyBody,
}

impl SignatureError {
    /// Whether the request is malformed (the toolkit's `WebhookSignatureFormatError`, HTTP 400) rather than not proven to be
    /// Sanity's (`WebhookSignatureValueError`, HTTP 401).
    pub fn is_malformed(self) -> bool {
        match self {
            Self::Missing | Self::Invalid | Self::TooOld => false,
            Self::Empty | Self::Multiple | Self::Malformed | Self::TimestampTooSmall | Self::EmptyBody => true,
        }
    }

    /// The HTTP status that answers it: 400 or 401. Sanity never sends again after either.
    pub fn status(self) -> u16 {
        if self.is_malformed() { 400 } else { 401 }
    }
}

/// What a signature header says. Decoding proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// When it was signed, in unix milliseconds.
    pub timestamp_ms: u64,
    /// The `v1` part as it was sent.
    pub v1: String,
}

impl Signature {
    /// Reads a header value as generously as the toolkit's decoder does (`^t=(\d+)[, ]+v1=([^, ]+)$` after trimming); the
    /// comparison in [`verify`] is what is strict.
    ///
    /// # Errors
    /// `Empty`, `Malformed`, or `Invalid` for a timestamp too large for any signer to have written.
    pub fn decode(header: &[u8]) -> Result<Self, SignatureError> {
        if header.is_empty() {
            return Err(SignatureError::Empty);
        }
        let text = std::str::from_utf8(header).map_err(|_| SignatureError::Malformed)?;
        let (digits, v1) = split(text.trim()).ok_or(SignatureError::Malformed)?;
        let timestamp_ms = digits.parse::<u64>().map_err(|_| SignatureError::Invalid)?;
        if timestamp_ms > MAXIMUM_TIMESTAMP_MS {
            return Err(SignatureError::Invalid);
        }
        Ok(Self {
            timestamp_ms,
            v1: v1.to_owned(),
        })
    }
}

/// The digits of `t` and the text of `v1`, neither of them empty.
fn split(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("t=")?;
    let (digits, rest) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
    let v1 = rest.trim_start_matches([',', ' ']);
    let separated = v1.len() < rest.len();
    let v1 = v1.strip_prefix("v1=")?;
    let good = separated && !digits.is_empty() && !v1.is_empty() && !v1.contains([',', ' ']);
    good.then_some((digits, v1))
}

/// Signs a body as Sanity does: the whole header value.
pub fn sign(body: &[u8], timestamp_ms: u64, secret: &[u8]) -> String {
    let v1 = MacKey::new(secret).mac(&[timestamp_ms.to_string().as_bytes(), b".", body]);
    format!("t={timestamp_ms},v1={}", crypto::base64url(&v1))
}

/// The one signature header of a request, as it was sent, and what it says. This can be known before the body is read, and
/// proves nothing.
///
/// # Errors
/// `Missing`, `Multiple`, or why [`Signature::decode`] cannot read it.
pub fn sole_header<'a>(headers: impl IntoIterator<Item = &'a [u8]>) -> Result<(&'a [u8], Signature), SignatureError> {
    let mut headers = headers.into_iter();
    let header = headers.next().ok_or(SignatureError::Missing)?;
    if headers.next().is_some() {
        return Err(SignatureError::Multiple);
    }
    Ok((header, Signature::decode(header)?))
}

/// Checks the signature of a request: `headers` are all values of [`HEADER`] it came with, `body` its bytes as received.
/// Signatures older than `max_age` at `now` are refused, where there is a `max_age`; those from a clock ahead of ours are not.
///
/// # Errors
/// [`SignatureError`] says why the request is not accepted.
pub fn verify<'a>(
    headers: impl IntoIterator<Item = &'a [u8]>,
    body: &[u8],
    secrets: &Secrets,
    max_age: Option<Duration>,
    now: Timestamp,
) -> Result<(), SignatureError> {
    let (header, signature) = sole_header(headers)?;
    let signed_at = signature.timestamp_ms;
    if body.is_empty() {
        return Err(SignatureError::EmptyBody);
    }
    if signed_at < MINIMUM_TIMESTAMP_MS {
        return Err(SignatureError::TimestampTooSmall);
    }
    if !is_signed(header, body, signed_at, secrets) {
        return Err(SignatureError::Invalid);
    }
    match max_age {
        Some(max_age) if age(signed_at, now) > max_age => Err(SignatureError::TooOld),
        _ => Ok(()),
    }
}

/// Whether one of the secrets makes this very header. Takes as long whichever of them does, and wherever they differ.
fn is_signed(header: &[u8], body: &[u8], signed_at: u64, secrets: &Secrets) -> bool {
    let mut good = false;
    for secret in [Some(&secrets.current), secrets.previous.as_ref()]
        .into_iter()
        .flatten()
    {
        let expected = sign(body, signed_at, secret.expose_secret().as_bytes());
        good |= crypto::is_equal(expected.as_bytes(), header);
    }
    good
}

fn age(signed_at_ms: u64, now: Timestamp) -> Duration {
    let now_ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
    Duration::from_millis(now_ms.saturating_sub(signed_at_ms))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RESUME: &str = r#"{"_id":"resume"}"#;
    const GOOD: &str = "t=1633519811129,v1=tLa470fx7qkLLEcMOcEUFuBbRSkGujyskxrNXcoh0N0";

    fn secrets(current: &str, previous: Option<&str>) -> Secrets {
        Secrets::new(current.into(), previous.map(Into::into)).unwrap()
    }

    fn check(header: &str, body: &str, secret: &str) -> Result<(), SignatureError> {
        verify(
            [header.as_bytes()],
            body.as_bytes(),
            &secrets(secret, None),
            None,
            Timestamp::UNIX_EPOCH,
        )
    }

    #[test]
    fn what_the_official_toolkit_signs_is_accepted_and_signed_alike() {
        let cases = [
            (RESUME, "test", GOOD),
            (
                r#"{"title":"GROQ-Hooks are neat"}"#,
                "try-me",
                "t=1633518820676,v1=e7C9h2sfbFfc4V7TEz7PSOp4IoNzl0UdVsBV-1wgdeA",
            ),
            (
                r#"{"t":"a \u0026 b"}"#,
                "test",
                "t=1700000000000,v1=6dxSihZr2AZO-VRH6rugWhPSPniUVCjgtlkqv_yVPIU",
            ),
            (
                r#"{"t":"a & b"}"#,
                "test",
                "t=1700000000000,v1=YXl1hsc0yST19tkXY0qiqg_GlU0l2r5sojSf96S1J0U",
            ),
            (
                "{\"_id\":\"a\"}\n",
                "test",
                "t=1700000000000,v1=Hl1e8b-01Q0huda2f9mnfDAYDtkivSYjZ2T6DlVDlxU",
            ),
            (
                r#"{"_id":"lead-1","crmStatus":"REQUESTED","name":"Zoë ☃ 🎉"}"#,
                "s3cr3t-key",
                "t=1767225600000,v1=34jaisr4v7mWzUssOCiXl-VHK_zYHRIhcDI9vVCyDGI",
            ),
            (
                "null",
                "test",
                "t=1700000000000,v1=0Dz4RFoDYwWPOvYjjoRkv0bm_WOrPxgxNj4TFo_r6Wk",
            ),
            (
                r#"{"_id":"a"}"#,
                "test",
                "t=1609459200000,v1=IryFHjBkJGfQgYO6V1-cH9yv3zXhn2lGms2auzF4KlU",
            ),
        ];
        for (body, secret, header) in cases {
            assert_eq!(check(header, body, secret), Ok(()), "{body}");
            let at = Signature::decode(header.as_bytes()).unwrap().timestamp_ms;
            assert_eq!(sign(body.as_bytes(), at, secret.as_bytes()), header, "{body}");
        }
    }

    #[test]
    fn every_other_spelling_of_a_good_signature_is_refused() {
        use SignatureError::{Empty, Invalid, Malformed, TimestampTooSmall};
        let v1 = "tLa470fx7qkLLEcMOcEUFuBbRSkGujyskxrNXcoh0N0";
        let cases = [
            ("another timestamp", format!("t=1633519811128,v1={v1}"), Invalid),
            ("stray bits in the last character", GOOD.replace("0N0", "0N1"), Invalid),
            ("space after the comma", format!("t=1633519811129, v1={v1}"), Invalid),
            ("space for the comma", format!("t=1633519811129 v1={v1}"), Invalid),
            ("two commas", format!("t=1633519811129,,v1={v1}"), Invalid),
            ("trailing space", format!("{GOOD} "), Invalid),
            ("leading space", format!(" {GOOD}"), Invalid),
            ("padding", format!("{GOOD}="), Invalid),
            ("leading zero", format!("t=01633519811129,v1={v1}"), Invalid),
            ("one character short", GOOD[..GOOD.len() - 1].to_owned(), Invalid),
            ("one character long", format!("{GOOD}A"), Invalid),
            (
                "timestamp beyond all doubles",
                format!("t=99999999999999999999,v1={v1}"),
                Invalid,
            ),
            (
                "timestamp beyond exact doubles",
                format!("t=9007199254740993,v1={v1}"),
                Invalid,
            ),
            ("a second signature", format!("{GOOD},v1={v1}"), Malformed),
            ("another version", GOOD.replace("v1=", "v5="), Malformed),
            ("seconds", format!("t=1633519811,v1={v1}"), TimestampTooSmall),
            ("just too early", format!("t=1609459199999,v1={v1}"), TimestampTooSmall),
            ("upper case", GOOD.replace("t=", "T="), Malformed),
            ("signed timestamp", format!("t=+1633519811129,v1={v1}"), Malformed),
            ("negative timestamp", format!("t=-1633519811129,v1={v1}"), Malformed),
            ("other digits", format!("t=١٦٣٣,v1={v1}"), Malformed),
            ("no timestamp", format!("t=,v1={v1}"), Malformed),
            ("no separator", format!("t=1633519811129v1={v1}"), Malformed),
            ("no signature", "t=1633519811129,v1=".to_owned(), Malformed),
            ("only the signature", v1.to_owned(), Malformed),
            ("only spaces", "  ".to_owned(), Malformed),
            ("nothing", String::new(), Empty),
        ];
        for (label, header, expected) in cases {
            assert_eq!(check(&header, RESUME, "test"), Err(expected), "{label}");
        }
    }

    #[test]
    fn a_signature_is_good_for_one_body_and_one_secret_only() {
        use SignatureError::{EmptyBody, Invalid};
        let cases = [
            ("another body", r#"{"_id":"structure"}"#, "test", Invalid),
            ("the body with a line end", "{\"_id\":\"resume\"}\n", "test", Invalid),
            ("the body spelt differently", r#"{"_id": "resume"}"#, "test", Invalid),
            ("another secret", RESUME, "tset", Invalid),
            ("the secret with a space", RESUME, "test ", Invalid),
            ("no body", "", "test", EmptyBody),
        ];
        for (label, body, secret, expected) in cases {
            assert_eq!(check(GOOD, body, secret), Err(expected), "{label}");
        }
    }

    #[test]
    fn a_request_has_exactly_one_signature_header() {
        let check = |headers: &[&str]| {
            verify(
                headers.iter().map(|header| header.as_bytes()),
                RESUME.as_bytes(),
                &secrets("test", None),
                None,
                Timestamp::UNIX_EPOCH,
            )
        };
        assert_eq!(check(&[]), Err(SignatureError::Missing));
        assert_eq!(check(&[GOOD]), Ok(()));
        assert_eq!(check(&[GOOD, GOOD]), Err(SignatureError::Multiple));
    }

    #[test]
    fn both_secrets_are_good_while_one_is_being_replaced() {
        let check = |secrets: &Secrets| {
            verify(
                [GOOD.as_bytes()],
                RESUME.as_bytes(),
                secrets,
                None,
                Timestamp::UNIX_EPOCH,
            )
        };
        assert_eq!(check(&secrets("test", Some("older"))), Ok(()));
        assert_eq!(check(&secrets("newer", Some("test"))), Ok(()));
        assert_eq!(check(&secrets("newer", Some("older"))), Err(SignatureError::Invalid));
    }

    #[test]
    fn an_empty_secret_is_none() {
        assert_eq!(Secrets::new("".into(), None).unwrap_err(), EmptySecret);
        assert_eq!(Secrets::new("test".into(), Some("".into())).unwrap_err(), EmptySecret);
    }

    #[test]
    fn old_signatures_are_refused_only_where_a_limit_is_set() {
        let signed = Timestamp::from_millisecond(1_633_519_811_129).unwrap();
        let check = |max_age: Option<u64>, age_ms: i64| {
            let now = signed + jiff::SignedDuration::from_millis(age_ms);
            let max_age = max_age.map(Duration::from_secs);
            verify(
                [GOOD.as_bytes()],
                RESUME.as_bytes(),
                &secrets("test", None),
                max_age,
                now,
            )
        };
        assert_eq!(check(None, 1_000_000_000_000), Ok(()));
        assert_eq!(check(Some(300), 300_000), Ok(()));
        assert_eq!(check(Some(300), 300_001), Err(SignatureError::TooOld));
        assert_eq!(check(Some(300), -3_600_000), Ok(()), "a clock ahead of ours");
    }

    #[test]
    fn an_old_forgery_is_called_a_forgery() {
        let forged = GOOD.replace("0N0", "0N1");
        let answer = verify(
            [forged.as_bytes()],
            RESUME.as_bytes(),
            &secrets("test", None),
            Some(Duration::from_secs(1)),
            Timestamp::MAX,
        );
        assert_eq!(answer, Err(SignatureError::Invalid));
    }

    #[test]
    fn errors_are_sorted_as_the_toolkit_sorts_them() {
        use SignatureError::{Empty, EmptyBody, Invalid, Malformed, Missing, Multiple, TimestampTooSmall, TooOld};
        for error in [Missing, Invalid, TooOld] {
            assert_eq!((error.is_malformed(), error.status()), (false, 401), "{error}");
        }
        for error in [Empty, Multiple, Malformed, TimestampTooSmall, EmptyBody] {
            assert_eq!((error.is_malformed(), error.status()), (true, 400), "{error}");
        }
    }

    #[test]
    fn the_decoder_reads_what_the_toolkit_reads() {
        let header = b"t=1633470609222,v1=7kTYPaw6SmCoN2VJzFL24oEjV-ac7lRwbljOkh7d13A";
        let expected = Signature {
            timestamp_ms: 1_633_470_609_222,
            v1: "7kTYPaw6SmCoN2VJzFL24oEjV-ac7lRwbljOkh7d13A".to_owned(),
        };
        assert_eq!(Signature::decode(header), Ok(expected));
    }

    #[test]
    fn a_time_is_read_up_to_the_last_whole_number_that_has_a_double() {
        let decode = |digits: &str| Signature::decode(format!("t={digits},v1=x").as_bytes());
        assert_eq!(decode("9007199254740991").unwrap().timestamp_ms, 9_007_199_254_740_991);
        assert_eq!(decode("9007199254740992"), Err(SignatureError::Invalid));
    }

    #[test]
    fn secrets_do_not_show_in_a_log() {
        let shown = format!("{:?}", secrets("s3cr3t-key", Some("s3cr3t-old")));
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }

    fn timestamps() -> impl Strategy<Value = u64> {
        MINIMUM_TIMESTAMP_MS..=MAXIMUM_TIMESTAMP_MS
    }

    proptest! {
        #[test]
        fn what_was_signed_verifies(body in prop::collection::vec(any::<u8>(), 1..200), at in timestamps(), secret in ".{1,100}") {
            let header = sign(&body, at, secret.as_bytes());
            let answer = verify([header.as_bytes()], &body, &secrets(&secret, Some("other")), None, Timestamp::MAX);
            prop_assert_eq!(answer, Ok(()));
        }

        #[test]
        fn a_flipped_bit_is_noticed_wherever_it_is(
            body in prop::collection::vec(any::<u8>(), 1..50), at in timestamps(), place in any::<prop::sample::Index>(), bit in 0..8u8,
        ) {
            let header = sign(&body, at, b"test");
            let mut sent = [header.as_bytes(), body.as_slice()].concat();
            let place = place.index(sent.len());
            sent[place] ^= 1 << bit;
            let (header, body) = sent.split_at(header.len());
            prop_assert!(verify([header], body, &secrets("test", None), None, Timestamp::UNIX_EPOCH).is_err());
        }

        #[test]
        fn no_header_is_too_strange(header in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(verify([header.as_slice()], b"null", &secrets("test", None), None, Timestamp::UNIX_EPOCH).is_err());
        }

        #[test]
        fn no_header_that_looks_right_is_too_strange(header in "[t=v1, 0-9A-Za-z_-]{0,80}|t=[0-9]{0,30}[, ]{0,3}v1=.{0,50}") {
            prop_assert!(check(&header, "null", "test").is_err());
        }

        #[test]
        fn a_header_is_good_only_where_it_is_to_the_letter_what_a_secret_makes_of_the_body(
            body in "[a-z]{1,4}", at in timestamps(), by in 0..3usize,
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0..7u8, any::<u8>()), 0..4),
        ) {
            let ours = ["current", "previous"];
            let mut header = sign(body.as_bytes(), at, ["current", "previous", "another"][by].as_bytes()).into_bytes();
            for (place, edit, byte) in edits {
                let place = place.index(header.len());
                match edit {
                    0 => header[place] = byte,
                    1 => header.insert(place, byte),
                    2 if header.len() > 1 => drop(header.remove(place)),
                    3 => header.truncate(place.max(1)),
                    4 => header.push(b' '),
                    5 => header.insert(0, b' '),
                    _ => header.extend_from_within(place..),
                }
            }
            let good = ours.iter().any(|secret| sign(body.as_bytes(), at, secret.as_bytes()).as_bytes() == header);
            let answer = verify([header.as_slice()], body.as_bytes(), &secrets(ours[0], Some(ours[1])), None, Timestamp::MAX);
            prop_assert_eq!(answer.is_ok(), good);
        }
    }
}
