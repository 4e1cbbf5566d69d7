//! How registries are reached: certificates, proxies, addresses. Every server here is a real one.

mod addresses;
mod certificates;
mod proxies;
