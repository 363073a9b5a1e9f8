//! `wasi:random`: the same numbers for the same input in pure hooks, real ones in `act`.

use crate::state::CallState;
use sha2::{Digest, Sha256};
use wasmtime::component::Linker;
use wasmtime::{Error, Result, StoreContextMut};

/// What a plugin gets.
pub(super) const GIVEN: &str = "numbers that follow from the hook's input; random ones in act";

/// Bytes of one block.
const BLOCK: usize = 32;

/// The random numbers of one call.
#[derive(Debug)]
pub(super) enum Random {
    /// Blocks of SHA-256 over a seed and a count.
    Seeded {
        /// Follows from the input.
        seed: [u8; BLOCK],
        /// Blocks that were drawn.
        drawn: u64,
    },
    /// The system's.
    Real,
}

impl Random {
    /// What follows from this input of this hook.
    pub(super) fn seeded(hook: &str, input: &str) -> Self {
        let seed = Sha256::new()
            .chain_update(hook)
            .chain_update([0])
            .chain_update(input)
            .finalize();
        Self::Seeded {
            seed: seed.into(),
            drawn: 0,
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        match self {
            Self::Seeded { seed, drawn } => {
                for piece in bytes.chunks_mut(BLOCK) {
                    let block = Sha256::new()
                        .chain_update(*seed)
                        .chain_update(drawn.to_le_bytes())
                        .finalize();
                    *drawn = drawn.wrapping_add(1);
                    for (to, from) in piece.iter_mut().zip(block) {
                        *to = from;
                    }
                }
                Ok(())
            }
            Self::Real => getrandom::fill(bytes)
                .map_err(|error| Error::msg(format!("the host has no random numbers: {error}"))),
        }
    }

    fn number(&mut self) -> Result<u64> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<CallState>) -> Result<()> {
    let mut random = linker.instance("wasi:random/random@0.2.0")?;
    random.func_wrap("get-random-bytes", bytes)?;
    random.func_wrap("get-random-u64", number)?;
    let mut insecure = linker.instance("wasi:random/insecure@0.2.0")?;
    insecure.func_wrap("get-insecure-random-bytes", bytes)?;
    insecure.func_wrap("get-insecure-random-u64", number)?;
    let mut seed = linker.instance("wasi:random/insecure-seed@0.2.0")?;
    seed.func_wrap("insecure-seed", pair)
}

fn bytes(mut store: StoreContextMut<'_, CallState>, (length,): (u64,)) -> Result<(Vec<u8>,)> {
    let state = store.data_mut();
    state.check()?;
    let most = state.host_call_bytes;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > most {
        return Err(Error::msg(format!(
            "it asks for {length} random bytes at once, more than the limit of {most}"
        )));
    }
    let mut bytes = vec![0; length];
    state.wasi.random.fill(&mut bytes)?;
    Ok((bytes,))
}

fn number(mut store: StoreContextMut<'_, CallState>, (): ()) -> Result<(u64,)> {
    let state = store.data_mut();
    state.check()?;
    Ok((state.wasi.random.number()?,))
}

fn pair(mut store: StoreContextMut<'_, CallState>, (): ()) -> Result<((u64, u64),)> {
    let state = store.data_mut();
    state.check()?;
    let random = &mut state.wasi.random;
    Ok(((random.number()?, random.number()?),))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(mut random: Random) -> Vec<u8> {
        let mut bytes = vec![0; 70];
        let (first, rest) = bytes.split_at_mut(33);
        random.fill(first).unwrap();
        random.fill(rest).unwrap();
        bytes
    }

    #[test]
    fn numbers_follow_from_hook_and_input() {
        let usual = drawn(Random::seeded("decide", "{}"));
        assert_eq!(usual, drawn(Random::seeded("decide", "{}")));
        for other in [
            Random::seeded("sense", "{}"),
            Random::seeded("decide", "{ }"),
            Random::seeded("decid", "e{}"),
            Random::Real,
        ] {
            assert_ne!(usual, drawn(other));
        }
        // No block twice.
        assert_ne!(usual[..32], usual[33..65]);
    }
}
