//! How registries are reached: certificates, proxies, addresses, schemes and timeouts. Every server here is a real one.

mod addresses;
mod certificates;
mod client_certificates;
mod proxies;
mod rates;
mod schemes;
mod timeouts;
