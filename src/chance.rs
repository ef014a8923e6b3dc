//! The one place that draws random numbers, so that everything else can be tested without luck.

/// `N` random bytes, fit for keys and nonces: the thread's generator is seeded by the operating system.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes[..]);
    bytes
}

/// A random number from 0 (inclusive) to 1 (exclusive), for jitter.
#[expect(clippy::disallowed_methods, reason = "this is the one draw of the real dice")]
pub fn unit() -> f64 {
    rand::random::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_differ_and_stay_in_range() {
        assert_ne!(bytes::<24>(), bytes::<24>());
        assert!((0..1000).map(|_| unit()).all(|draw| (0.0..1.0).contains(&draw)));
    }
}
