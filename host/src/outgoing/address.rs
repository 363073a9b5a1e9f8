//! Which addresses a name may lead to.
//!
//! # Why
//! Whoever answers for a name chooses the address: a granted name must not become a way to what
//! only this machine is meant to reach, such as its loopback interface or the credentials that
//! clouds hand out on link-local addresses. Private addresses are where a cluster's services are.
//!
//! In a cluster, resolvers put the search list behind a name before they ask for the name itself:
//! whoever may create a namespace `com` would answer for `api.example.com`, as the host `api` of
//! its service `example`.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Outside of the link-local block: Alibaba, Azure, Oracle.
const CREDENTIALS: [[u8; 4]; 3] = [[100, 100, 100, 200], [168, 63, 129, 16], [192, 0, 0, 192]];

/// The name that the resolver is asked for: a service of the cluster (`etcd`, `etcd.prod.svc`) goes
/// through its search list, every other name means itself alone.
pub(super) fn asked(name: &str) -> Cow<'_, str> {
    let lower = name.to_ascii_lowercase();
    if !name.contains('.') || lower.ends_with(".svc") || lower.ends_with('.') {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(format!("{name}."))
    }
}

/// Why no name may lead to this address; none if it may.
pub(crate) fn refused(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(four) => never_four(four).or(guarded_four(four)),
        IpAddr::V6(six) => never_six(six).or(guarded_six(six)),
    }
}

/// Why not even a grant that names this address lets anything reach it; none if one may.
pub(crate) fn never(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(four) => never_four(four),
        IpAddr::V6(six) => never_six(six),
    }
}

fn never_four(address: Ipv4Addr) -> Option<&'static str> {
    // 0.0.0.0/8 is this host, 240.0.0.0/4 nobody's.
    let nobody = address.octets()[0] == 0 || address.octets()[0] >= 240;
    if nobody || address.is_multicast() {
        Some("is no host's address")
    } else {
        None
    }
}

fn never_six(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_unspecified() || address.is_multicast() {
        Some("is no host's address")
    } else {
        None
    }
}

fn guarded_four(address: Ipv4Addr) -> Option<&'static str> {
    if address.is_loopback() {
        Some("is a loopback address")
    } else if address.is_link_local() {
        Some("is a link-local address")
    } else if CREDENTIALS.contains(&address.octets()) {
        Some("is where a cloud hands out credentials")
    } else {
        None
    }
}

fn guarded_six(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_loopback() {
        Some("is a loopback address")
    } else if address.is_unicast_link_local() {
        Some("is a link-local address")
    } else if matches!(address.segments(), [0xfd00, 0xec2, ..] | [0xfd20, 0xce, ..]) {
        Some("is where a cloud hands out credentials")
    } else if matches!(address.segments(), [0x64, 0xff9b, 1, ..]) {
        Some("is translated to an address that cannot be told")
    } else {
        embedded(address).and_then(|four| never_four(four).or(guarded_four(four)))
    }
}

/// The address of version 4 that a translator (RFC 6052, RFC 3056) sends this one to.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let [high, low] = match [a, b, c, d, e, f] {
        [0x64, 0xff9b, 0, 0, 0, 0] | [0, 0, 0, 0, 0, 0] => [g, h],
        [0x2002, ..] => [b, c],
        _ => return None,
    };
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Some(Ipv4Addr::new(a, b, c, d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_services_of_the_cluster_go_through_its_search_list() {
        for name in ["etcd", "etcd.prod.svc", "a.etcd.prod.SVC", "example.com."] {
            assert_eq!(asked(name), name);
        }
        for name in [
            "example.com",
            "api.example.com",
            "etcd.prod",
            "etcd.prod.svc.cluster.local",
            "svc.com",
            "xsvc.a",
        ] {
            assert_eq!(asked(name), format!("{name}."));
        }
    }

    fn why(text: &str) -> Option<&'static str> {
        refused(text.parse().unwrap())
    }

    #[test]
    fn names_lead_to_clusters_and_the_world() {
        for text in [
            "10.0.0.7",
            "192.168.1.1",
            "100.64.0.1",
            "93.184.216.34",
            "fd12::7",
            "2001:db8::1",
            "64:ff9b::5db8:d822",
        ] {
            assert_eq!(why(text), None, "{text}");
        }
    }

    #[test]
    fn names_do_not_lead_to_this_machine_or_to_credentials_however_written() {
        for text in [
            "127.0.0.1",
            "127.8.9.1",
            "::1",
            "::ffff:127.0.0.1",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "168.63.129.16",
            "192.0.0.192",
            "64:ff9b:1::a9fe:a9fe",
            "100.100.100.200",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "::127.0.0.1",
        ] {
            assert!(why(text).is_some(), "{text}");
        }
    }

    #[test]
    fn what_is_named_itself_may_be_guarded_but_must_be_somebody() {
        let never = |text: &str| never(text.parse().unwrap()).is_some();
        assert!(!never("127.0.0.1") && !never("169.254.169.254") && !never("::1"));
        assert!(never("0.0.0.0") && never("::") && never("224.0.0.1") && never("::ffff:0.0.0.0"));
    }
}
