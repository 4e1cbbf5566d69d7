//! Tests of the test support itself. Without them, a test that relies on it could pass without proving anything.

mod faults;
mod images;
mod programs;
mod registries;
mod scripted;
mod strace;
