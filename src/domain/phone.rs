//! Phone numbers: one canonical spelling to send and to compare, and the usual ones to look up.

use phonenumber::country::Id;
use phonenumber::metadata::{DATABASE, Descriptor};
use phonenumber::{Metadata, Mode, PhoneNumber, Type};

/// Longest text that is looked at; E.164 has at most 15 digits, and Bigin's Phone takes 50 characters.
const MAX_LENGTH: usize = 64;

/// The kinds of numbers that people have, and that can be called from abroad.
const KINDS: [Type; 9] = [
    Type::FixedLine,
    Type::Mobile,
    Type::TollFree,
    Type::PremiumRate,
    Type::SharedCost,
    Type::PersonalNumber,
    Type::Voip,
    Type::Pager,
    Type::Uan,
];

/// The number in E.164 (`+447700900123`), where `text` is a possible number; one without a country code is taken to be
/// of `region` (`GB`).
///
/// Possible, not assigned: the numbering plans change faster than the tables, and the ranges kept for fiction (07700
/// 900xxx) are not assigned. A number with an extension has no E.164 form, so that it is kept as it was typed.
pub fn canonical(text: &str, region: &str) -> Option<String> {
    parse(text, region).map(|number| e164(&number))
}

/// Like [`canonical`], and whether the number is known to be its own canonical form in this region, so that it need not be
/// parsed again.
pub fn canonical_for_good(text: &str, region: &str) -> Option<(String, bool)> {
    let number = parse(text, region)?;
    let is_for_good = metadata(region).is_some_and(|(_, home)| has_no_prefix(&number, home));
    Some((e164(&number), is_for_good))
}

/// Whether a number of the region has nothing more that the library takes for the prefix of calls within it. Some plans
/// have numbers that begin like their own prefix: of `+13432346`, read in Barbados, it makes `+12463432346`.
fn has_no_prefix(number: &PhoneNumber, home: &Metadata) -> bool {
    let national = number.national().to_string();
    let prefix = home.national_prefix();
    let pattern = home.national_prefix_for_parsing();
    number.code().value() == home.country_code()
        && prefix.is_none_or(|prefix| !national.starts_with(prefix))
        && pattern.is_none_or(|pattern| pattern.find(&national).is_none_or(|found| found.start() > 0))
}

/// The usual spellings of one number, for an exact-match lookup: as given, then E.164, international, national,
/// national without spaces, with `00`, and digits only. Without repeats and at most 8; only the text itself where it is
/// no number, and none where it is blank.
pub fn spellings(text: &str, region: &str) -> Vec<String> {
    let mut all = vec![text.trim().to_owned()];
    if let Some(number) = parse(text, region) {
        let written = |mode| number.format().mode(mode).to_string();
        let (canonical, national) = (e164(&number), written(Mode::National));
        let (digits, national_digits) = (digits(&canonical), digits(&national));
        let abroad = format!("00{digits}");
        all.extend([
            canonical,
            written(Mode::International),
            national,
            national_digits,
            abroad,
            digits,
        ]);
    }
    let mut distinct: Vec<String> = Vec::new();
    for spelling in all {
        if !spelling.is_empty() && !distinct.contains(&spelling) {
            distinct.push(spelling);
        }
    }
    distinct
}

/// Whether numbers without a country code can be read as ones of this region: an ISO 3166 code in capitals, like `GB`.
pub fn is_region(region: &str) -> bool {
    // Not by the numbering plans: they take megabytes and tens of milliseconds, which a start need not wait for.
    region.parse::<Id>().is_ok()
}

fn metadata(region: &str) -> Option<(Id, &'static Metadata)> {
    Some((region.parse().ok()?, DATABASE.by_id(region)?))
}

fn parse(text: &str, region: &str) -> Option<PhoneNumber> {
    if text.trim().is_empty() {
        return None;
    }
    let home = metadata(region);
    let number = bare(text, home.map(|(_, metadata)| metadata))?;
    let id = home.map(|(id, _)| id);
    let parsed = if number.starts_with('+') {
        // The library strips the national prefix of the region it is given: with GB it would take the 0 from an Italian
        // number, where it belongs to it. So the region is named only for its own numbers.
        let foreign = phonenumber::parse(None, &number).ok()?;
        match home {
            Some((id, metadata)) if metadata.country_code() == foreign.code().value() => {
                phonenumber::parse(Some(id), &number).ok()?
            }
            _ => foreign,
        }
    } else {
        phonenumber::parse(Some(id?), &number).ok()?
    };
    is_possible(&parsed).then_some(parsed)
}

/// The digits alone, with a `+` before them where the text has one or dials abroad.
///
/// Letters and anything else make it no number: the library reads letters as on a keypad, and would turn
/// "0770 090 Jo" into another number.
fn bare(text: &str, home: Option<&Metadata>) -> Option<String> {
    let text = text.trim();
    let text = text.strip_prefix("tel:").unwrap_or(text);
    if text.len() > MAX_LENGTH {
        return None;
    }
    let mut number = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' => number.push(c),
            '+' if number.is_empty() => number.push(c),
            '-' | '(' | ')' | '.' | '\u{2010}'..='\u{2015}' | '\u{2212}' => {}
            // Marks of writing direction come along when a number is copied from an address book.
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}' | '\u{feff}' => {}
            c if c.is_whitespace() => {}
            _ => return None,
        }
    }
    let abroad = home.and_then(|metadata| metadata.international_prefix()?.find(&number));
    match abroad {
        Some(found) if found.start() == 0 => Some(format!("+{}", &number[found.end()..])),
        _ => Some(number),
    }
}

/// Whether some region of its country code has numbers that begin like it and are as long.
fn is_possible(number: &PhoneNumber) -> bool {
    let national = number.national().to_string();
    let length = |kind: &Descriptor| {
        kind.possible_length()
            .iter()
            .any(|length| usize::from(*length) == national.len())
    };
    let regions = DATABASE.by_code(&number.code().value()).unwrap_or_default();
    regions.iter().map(|region| region.descriptors()).any(|numbers| {
        // The library keeps the possible lengths by kind of number only.
        numbers.general().is_match(&national) && KINDS.iter().filter_map(|kind| numbers.get(*kind)).any(length)
    })
}

fn e164(number: &PhoneNumber) -> String {
    format!("+{}{}", number.code().value(), number.national())
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_region_has_a_numbering_plan() {
        let letters = || 'A'..='Z';
        let codes = letters().flat_map(|one| letters().map(move |other| format!("{one}{other}")));
        let regions: Vec<String> = codes.filter(|code| is_region(code)).collect();
        assert!(regions.len() > 200, "{regions:?}");
        for region in regions {
            assert!(metadata(&region).is_some(), "{region} has none");
        }
    }

    #[test]
    fn one_number_has_one_canonical_form() {
        let rows = [
            ("E.164", "+447700900123", Some("+447700900123")),
            ("national", "07700 900123", Some("+447700900123")),
            (
                "national without its zero, as a spreadsheet leaves it",
                "7700900123",
                Some("+447700900123"),
            ),
            ("country code without plus", "447700900123", Some("+447700900123")),
            ("00", "0044 7700 900123", Some("+447700900123")),
            (
                "both country code and zero",
                "+44 (0)7700 900-123",
                Some("+447700900123"),
            ),
            ("00 and zero", "0044 (0) 7700 900123", Some("+447700900123")),
            ("dots", "07700.900.123", Some("+447700900123")),
            (
                "non-breaking spaces and dash",
                "07700\u{a0}900\u{2011}123",
                Some("+447700900123"),
            ),
            (
                "direction marks",
                "\u{202a}+44 7700 900123\u{202c}",
                Some("+447700900123"),
            ),
            ("tel link", "tel:+44-7700-900123", Some("+447700900123")),
            ("London", "(020) 7946 0018", Some("+442079460018")),
            ("Ireland", "+353 20 915 4321", Some("+353209154321")),
            ("United States", "+1 (202) 555-0123", Some("+12025550123")),
            ("Italy keeps its zero", "+39 02 1234 5678", Some("+390212345678")),
            ("Italy by 00", "0039 02 1234 5678", Some("+390212345678")),
            ("France drops its zero", "+33 (0)1 99 00 12 34", Some("+33199001234")),
            ("too short", "12345", None),
            ("one digit too many", "07700 900 1234", None),
            ("one digit too few", "07700 900 12", None),
            ("far too long", "07700 900123 07700 900124", None),
            ("two numbers", "07700 900123 / 07700 900124", None),
            ("extension", "020 7946 0018 ext. 12", None),
            ("letters", "0770 090 Jo", None),
            ("unknown country code", "+999 123 4567", None),
            ("only zeros", "0000000000", None),
            ("only a plus", "+", None),
            ("words", "none given", None),
            ("a number and a word", "07700 900123 Jo", None),
            ("a plus in the middle", "07700+900123", None),
            ("two pluses", "++44 7700 900123", None),
            ("two pluses apart", "+44 +7700 900123", None),
            ("a plus at the end", "07700 900123+", None),
            ("empty", "", None),
        ];
        for (label, text, expected) in rows {
            assert_eq!(canonical(text, "GB").as_deref(), expected, "{label}");
        }
    }

    #[test]
    fn a_number_may_be_spelled_in_64_bytes_and_no_more() {
        let spread = |length: usize| format!("07700{}900123", " ".repeat(length - 11));
        assert_eq!(canonical(&spread(64), "GB").as_deref(), Some("+447700900123"));
        assert_eq!(canonical(&spread(65), "GB"), None);
    }

    #[test]
    fn most_numbers_are_canonical_for_good() {
        let rows = [
            ("07700 900123", "GB", true),
            ("+44 7700 900123", "GB", true),
            ("(202) 555-0123", "US", true),
            ("02 1234 5678", "IT", true),
            ("+44 7700 900123", "US", false),
            ("11 3432346", "BB", false),
            ("0113 858 0169", "CN", false),
        ];
        for (text, region, expected) in rows {
            let made = canonical_for_good(text, region);
            assert_eq!(
                made.map(|(_, is_for_good)| is_for_good),
                Some(expected),
                "{text} in {region}"
            );
        }
    }

    #[test]
    fn the_region_decides_where_there_is_no_country_code() {
        assert_eq!(canonical("(202) 555-0123", "US").as_deref(), Some("+12025550123"));
        assert_eq!(canonical("011 44 7700 900123", "US").as_deref(), Some("+447700900123"));
        assert_eq!(canonical("07700 900123", "nowhere"), None);
        assert_eq!(
            canonical("+44 7700 900123", "nowhere").as_deref(),
            Some("+447700900123")
        );
    }

    #[test]
    fn a_number_is_looked_up_in_its_usual_spellings() {
        let expected = [
            "07700-900 123",
            "+447700900123",
            "+44 7700 900123",
            "07700 900123",
            "07700900123",
            "00447700900123",
            "447700900123",
        ];
        assert_eq!(spellings(" 07700-900 123 ", "GB"), expected);
        assert_eq!(spellings("+447700900123", "GB"), expected[1..]);
    }

    #[test]
    fn a_text_that_is_no_number_is_looked_up_as_it_is() {
        assert_eq!(spellings(" 020 7946 0018 ext. 12 ", "GB"), ["020 7946 0018 ext. 12"]);
        assert!(spellings("  ", "GB").is_empty());
    }

    proptest! {
        #[test]
        fn a_canonical_number_is_its_own_canonical_form(text in "[+0-9 ()-]{0,24}", region in "GB|US|IT|AR|BR|MX|AU") {
            if let Some(number) = canonical(&text, &region) {
                prop_assert_eq!(canonical(&number, &region), Some(number));
            }
        }

        #[test]
        fn what_is_canonical_for_good_is_never_another_number(
            text in "(|0|00|[+])(44|86|1|375|39)?1{0,3}[0-9]{4,11}", region in "GB|US|IT|AR|BR|MX|AU|BB|BY|CN|TT|VA",
        ) {
            let made = canonical_for_good(&text, &region);
            prop_assert_eq!(made.clone().map(|(number, _)| number), canonical(&text, &region));
            if let Some((number, true)) = made {
                prop_assert_eq!(canonical(&number, &region), Some(number));
            }
        }

        #[test]
        fn every_spelling_is_the_same_number(national in "7[1-9][0-9]{8}") {
            let number = format!("+44{national}");
            for spelling in spellings(&number, "GB") {
                prop_assert_eq!(canonical(&spelling, "GB"), Some(number.clone()));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            prop_assert!(spellings(&text, "GB").len() <= 8);
        }
    }
}
