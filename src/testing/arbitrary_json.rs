//! Strange answers for tests: JSON of any shape, made of the words that the service in question uses, so that much of it
//! nearly fits.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value};

/// What a lead may say of itself, and what must therefore never be repeated.
pub(crate) const PERSONAL: [&str; 5] = [
    "ada@example.org",
    "+44 7700 900123",
    "1 Solar Street",
    "Ada O'Neil",
    "Søn",
];

/// JSON whose objects have these keys, and whose texts are these, personal ones, or any at all.
pub(crate) fn json(keys: &'static [&'static str], texts: &'static [&'static str]) -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        8 => select(texts).prop_map(Value::from),
        3 => select(&PERSONAL[..]).prop_map(Value::from),
        1 => any::<String>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        1 => (0..9i64).prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
    ];
    let tree = leaf.prop_recursive(4, 40, 5, move |inner| {
        let object = prop::collection::btree_map(select(keys).prop_map(str::to_owned), inner.clone(), 0..6);
        prop_oneof![
            1 => prop::collection::vec(inner, 0..4).prop_map(Value::from),
            4 => object.prop_map(|parts| Value::Object(Map::from_iter(parts))),
        ]
    });
    tree.boxed()
}

/// JSON or none, with any status a server may send.
pub(crate) fn answers(
    keys: &'static [&'static str],
    texts: &'static [&'static str],
) -> impl Strategy<Value = (u16, Option<Value>)> {
    let usual = select(vec![
        200u16, 201, 202, 204, 207, 400, 401, 403, 404, 409, 413, 429, 500, 503,
    ]);
    let status = prop_oneof![4 => usual, 1 => 100..600u16];
    (status, prop::option::weighted(0.9, json(keys, texts)))
}

/// Whether a text repeats something personal.
pub(crate) fn tells(text: &str) -> bool {
    PERSONAL.iter().any(|personal| text.contains(personal))
}

/// As many cases as proptest is asked for, and nothing left behind in the working tree.
pub(crate) fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
