//! Random numbers from the system, for startup.

use crate::failure::{Failure, Fallible};

/// Returns four seeds for hash tables and random number generators. Fails with [`Failure::Fatal`] if the system
/// provides no random numbers.
pub(crate) fn seeds() -> Fallible<[u64; 4]> {
    let mut seeds = [0; 4];
    let bytes = random()?;
    for (seed, bytes) in seeds.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *seed = u64::from_le_bytes(*bytes);
    }
    Ok(seeds)
}

/// Returns 32 random bytes. Fails with [`Failure::Fatal`] if the system provides no random numbers.
pub(crate) fn random() -> Fallible<[u8; 32]> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Failure::Fatal("the system's random generator failed".into()))?;
    Ok(bytes)
}
