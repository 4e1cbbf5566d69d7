//! Random numbers that a seed determines, so that a run can be repeated.

use super::images::pseudo_random;

/// Numbers that depend only on a text.
#[derive(Debug)]
pub struct Dice(std::vec::IntoIter<u8>);

impl Dice {
    /// The numbers of this text.
    pub fn new(text: &str) -> Self {
        Self(pseudo_random(text, 256).into_iter())
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        let bytes = std::array::from_fn(|_| self.0.next().expect("few numbers are drawn from one text"));
        usize::try_from(u32::from_le_bytes(bytes)).unwrap() % bound
    }
}
