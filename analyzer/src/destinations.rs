//! Where bytes go that leave a process over the network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::rules::rule::Network;

/// How far away an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Distance {
    /// This host: nothing has left.
    Host,
    /// A network of one's own: private (RFC 1918, RFC 6598, RFC 4193), link-local, multicast.
    Private,
    /// Anywhere else.
    External,
}

/// Which networks are one's own.
#[derive(Debug, Default, Clone)]
pub struct Networks(Option<Vec<Network>>);

impl Networks {
    /// These and no others; `None`: those that [`Distance::Private`] names. This host stays this host.
    pub fn of(own: Option<Vec<Network>>) -> Self {
        Self(own)
    }

    /// How far away `address` is.
    pub fn distance(&self, address: IpAddr) -> Distance {
        let address = address.to_canonical();
        match (Distance::of(address), &self.0) {
            (distance, None) => distance,
            (Distance::Host, Some(_)) => Distance::Host,
            (_, Some(own)) if own.iter().any(|network| network.has(address)) => Distance::Private,
            (_, Some(_)) => Distance::External,
        }
    }
}

impl Distance {
    /// Of an address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }
}

fn of_v4(address: Ipv4Addr) -> Distance {
    let [first, second, ..] = address.octets();
    let is_shared = first == 100 && second & 0xc0 == 64;
    if address.is_loopback() || address.is_unspecified() {
        Distance::Host
    } else if address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || is_shared
    {
        Distance::Private
    } else {
        Distance::External
    }
}

fn of_v6(address: Ipv6Addr) -> Distance {
    if address.is_loopback() || address.is_unspecified() {
        Distance::Host
    } else if address.is_unique_local() || address.is_unicast_link_local() || address.is_multicast()
    {
        Distance::Private
    } else {
        Distance::External
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_say_which_networks_are_their_own() {
        let own = vec!["203.0.113.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let networks = Networks::of(Some(own));
        for (address, distance) in [
            ("203.0.113.9", Distance::Private),
            ("::ffff:203.0.113.9", Distance::Private),
            ("2001:db8::7", Distance::Private),
            ("203.0.114.9", Distance::External),
            ("10.0.0.1", Distance::External),
            ("127.0.0.1", Distance::Host),
        ] {
            assert_eq!(networks.distance(address.parse().unwrap()), distance, "{address}");
        }
        let networks = Networks::default();
        assert_eq!(networks.distance("10.0.0.1".parse().unwrap()), Distance::Private);
    }

    #[test]
    fn addresses_are_as_far_as_their_ranges_say() {
        for (address, distance) in [
            ("127.0.0.1", Distance::Host),
            ("127.8.9.10", Distance::Host),
            ("0.0.0.0", Distance::Host),
            ("::1", Distance::Host),
            ("::ffff:127.0.0.1", Distance::Host),
            ("10.1.2.3", Distance::Private),
            ("172.31.255.255", Distance::Private),
            ("192.168.0.1", Distance::Private),
            ("169.254.169.254", Distance::Private),
            ("100.64.0.1", Distance::Private),
            ("::ffff:10.0.0.1", Distance::Private),
            ("fd00::1", Distance::Private),
            ("fe80::1", Distance::Private),
            ("ff02::fb", Distance::Private),
            ("224.0.0.251", Distance::Private),
            ("172.32.0.1", Distance::External),
            ("100.128.0.1", Distance::External),
            ("198.51.100.7", Distance::External),
            ("203.0.113.1", Distance::External),
            ("2001:db8::1", Distance::External),
            ("::ffff:198.51.100.7", Distance::External),
        ] {
            assert_eq!(Distance::of(address.parse().unwrap()), distance, "{address}");
        }
    }
}
