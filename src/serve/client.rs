//! Identifies a client by its address, for limits.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The bits of an IPv6 address that name a network. A host can use any address of its network.
const NETWORK: u128 = !0 << 64;

/// A client: an IPv4 address, or an IPv6 network (/64).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Client(IpAddr);

impl Client {
    /// The client at this address, on any port.
    pub(super) fn at(peer: SocketAddr) -> Self {
        Self(match peer.ip().to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & NETWORK)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_an_address_or_a_network_on_any_port() {
        let client = |text: &str| Client::at(text.parse().unwrap());
        assert_eq!(client("192.0.2.1:1"), client("192.0.2.1:2"));
        assert_eq!(client("192.0.2.1:1"), client("[::ffff:192.0.2.1]:1"));
        assert_ne!(client("192.0.2.1:1"), client("192.0.2.2:1"));
        assert_eq!(client("[2001:db8::1]:1"), client("[2001:db8::ffff:1]:1"));
        assert_ne!(client("[2001:db8::1]:1"), client("[2001:db8:0:1::1]:1"));
    }
}
