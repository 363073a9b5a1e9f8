//! Addresses and networks.

use super::wrong;
use minijinja::{Environment, Error, Value};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("ip_version", |text: String| match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => Ok(Value::from(4)),
        Ok(IpAddr::V6(_)) => Ok(Value::from(6)),
        Err(_) => {
            Network::read(&text).map(|network| Value::from(if network.wide == 32 { 4 } else { 6 }))
        }
    });
    environment.add_filter("ipaddr", |text: String, part: Option<String>| {
        let network = Network::read(&text)?;
        Ok::<Value, Error>(match part.as_deref() {
            None | Some("network/prefix") => Value::from(network.to_string()),
            Some("network") => Value::from(network.address(network.first)),
            Some("address") => Value::from(network.address(network.given)),
            Some("prefix") => Value::from(network.prefix),
            Some("broadcast") => Value::from(network.address(network.last())),
            Some("netmask") => Value::from(network.address(network.mask())),
            Some("size") => Value::from(network.last() - network.first),
            Some(other) => {
                return Err(wrong(format!(
                    "ipaddr: there is no `{other}`: network, address, prefix, broadcast and netmask are known"
                )));
            }
        })
    });
    environment.add_filter("cidr_host", |text: String, number: i64| {
        let network = Network::read(&text)?;
        let number_of = u128::from(number.unsigned_abs());
        let host = if number >= 0 {
            network.first.checked_add(number_of)
        } else {
            network.last().checked_sub(number_of - 1)
        };
        let host = host.filter(|host| *host >= network.first && *host <= network.last());
        let host =
            host.ok_or_else(|| wrong(format!("cidr_host: `{network}` has no host {number}")))?;
        Ok::<String, Error>(network.address(host))
    });
    environment.add_filter("cidr_subnet", |text: String, bits: u32, number: u32| {
        let network = Network::read(&text)?;
        let prefix = network.prefix + bits;
        if prefix > network.wide || bits > 31 || (number >> bits) != 0 {
            return Err(wrong(format!("cidr_subnet: `{network}` has no such part")));
        }
        let shift = network.wide - prefix;
        let first = network.first + (u128::from(number).checked_shl(shift).unwrap_or_default());
        Ok(Network {
            first,
            given: first,
            prefix,
            ..network
        }
        .to_string())
    });
    environment.add_filter("cidr_contains", |text: String, other: String| {
        let (network, other) = (Network::read(&text)?, Network::read(&other)?);
        let within = other.wide == network.wide
            && other.first >= network.first
            && other.last() <= network.last();
        Ok::<bool, Error>(within)
    });
    environment.add_test("ip", |text: &Value| {
        text.as_str()
            .is_some_and(|text| text.parse::<IpAddr>().is_ok())
    });
    environment.add_test("cidr", |text: &Value| {
        text.as_str()
            .is_some_and(|text| text.contains('/') && Network::read(text).is_ok())
    });
}

struct Network {
    first: u128,
    given: u128,
    prefix: u32,
    /// 32 or 128.
    wide: u32,
}

impl Network {
    fn read(text: &str) -> Result<Self, Error> {
        let no = || {
            wrong(format!(
                "`{text}` is no address or network, like 10.0.0.0/16"
            ))
        };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let (given, wide) = match address.parse::<IpAddr>().map_err(|_| no())? {
            IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        };
        let prefix = prefix
            .map_or(Ok(wide), str::parse::<u32>)
            .map_err(|_| no())?;
        if prefix > wide {
            return Err(no());
        }
        let mut network = Self {
            first: 0,
            given,
            prefix,
            wide,
        };
        network.first = given & network.mask();
        Ok(network)
    }

    fn mask(&self) -> u128 {
        let hosts = self.wide - self.prefix;
        let all = u128::MAX >> (128 - self.wide);
        all & !(1u128.checked_shl(hosts).unwrap_or(0).wrapping_sub(1))
    }

    fn last(&self) -> u128 {
        let all = u128::MAX >> (128 - self.wide);
        self.first | (all & !self.mask())
    }

    fn address(&self, value: u128) -> String {
        match u32::try_from(value) {
            Ok(value) if self.wide == 32 => Ipv4Addr::from(value).to_string(),
            _ => Ipv6Addr::from(value).to_string(),
        }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address(self.first), self.prefix)
    }
}
