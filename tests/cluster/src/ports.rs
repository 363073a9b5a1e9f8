//! Free ports on 127.0.0.1.

use anyhow::{Result, bail};
use std::net::{Ipv4Addr, TcpListener};

/// Below Linux' and macOS' ephemeral ports, so that no outgoing connection
/// takes a port between the choice and its use, or while a server restarts.
const FIRST: u16 = 18_000;
const COUNT: u16 = 14_000;

/// `N` different ports that nobody listens on now. Another process may take one
/// before it is used: whoever starts a server tries again with others.
pub(crate) fn free<const N: usize>() -> Result<[u16; N]> {
    let mut found = [0; N];
    let mut held = Vec::with_capacity(N);
    let mut tries = 0;
    for slot in &mut found {
        loop {
            tries += 1;
            if tries > 1_000 {
                bail!(
                    "no free port on 127.0.0.1 between {FIRST} and {}",
                    FIRST + COUNT
                );
            }
            let [high, low] = crate::keys::random::<2>()?;
            let port = FIRST + u16::from_be_bytes([high, low]) % COUNT;
            // Held until all are found: none is found twice.
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                held.push(listener);
                *slot = port;
                break;
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #[test]
    fn ports_differ_and_are_free() {
        let ports = super::free::<8>().unwrap();
        let mut sorted = ports.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 8);
        for port in ports {
            std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        }
    }
}
