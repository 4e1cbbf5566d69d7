//! Starts, runs, exits: nothing else.

fn main() {}
