//! The one place that draws random numbers, so that everything else can be tested without luck.

use std::cell::RefCell;

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

thread_local! {
    /// What a simulation draws from on its thread.
    static SEEDED: RefCell<Option<StdRng>> = const { RefCell::new(None) };
}

/// From now on this thread draws the numbers that follow from `seed`: for a simulation, whose runs must repeat. Nothing that
/// has to be secret may be drawn on such a thread.
pub fn seed(seed: u64) {
    SEEDED.set(Some(StdRng::seed_from_u64(seed)));
}

/// `N` random bytes, fit for keys and nonces: the thread's generator is seeded by the operating system.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SEEDED.with_borrow_mut(|seeded| match seeded {
        Some(seeded) => seeded.fill_bytes(&mut bytes),
        None => rand::fill(&mut bytes[..]),
    });
    bytes
}

/// A random number from 0 (inclusive) to 1 (exclusive), for jitter.
#[expect(clippy::disallowed_methods, reason = "this is the one draw of the real dice")]
pub fn unit() -> f64 {
    SEEDED.with_borrow_mut(|seeded| match seeded {
        Some(seeded) => seeded.random(),
        None => rand::random(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_differ_and_stay_in_range() {
        assert_ne!(bytes::<24>(), bytes::<24>());
        assert!((0..1000).map(|_| unit()).all(|jitter| (0.0..1.0).contains(&jitter)));
    }

    #[test]
    fn same_seed_gives_same_draws() {
        let jitters = |of| {
            seed(of);
            (bytes::<24>(), unit().to_bits())
        };
        assert_eq!(jitters(7), jitters(7));
        assert_ne!(jitters(7), jitters(8));
        SEEDED.set(None);
    }
}
