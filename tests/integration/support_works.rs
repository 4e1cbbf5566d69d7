//! The tests' own machinery does what it says: a test that leans on it proves nothing otherwise.

mod faults;
mod images;
mod programs;
mod registries;
mod scripted;
mod strace;
