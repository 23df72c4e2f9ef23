//! Load generator and stream checker for the relay. It shares no code with the relay, so that its verdict is independent.

fn main() {}
