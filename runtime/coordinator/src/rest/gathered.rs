//! Bytes that come bit by bit, nobody knows how many. Kept in blocks, since one vector that grows is copied again and again, and
//! takes up to three times what it holds meanwhile.

/// The size of a block; the first one grows to it.
const BLOCK: usize = 1 << 20;

/// What has come so far.
#[derive(Default)]
pub struct Gathered {
    blocks: Vec<Vec<u8>>,
}

impl Gathered {
    /// How many bytes it holds.
    pub fn len(&self) -> usize {
        self.blocks.iter().map(Vec::len).sum()
    }

    /// More have come.
    pub fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let has_room = self.blocks.last().is_some_and(|block| block.len() < BLOCK);
            if !has_room {
                let capacity = if self.blocks.is_empty() { 0 } else { BLOCK };
                self.blocks.push(Vec::with_capacity(capacity));
            }
            let Some(block) = self.blocks.last_mut() else { return };
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - block.len()));
            block.extend_from_slice(now);
            bytes = later;
        }
    }

    /// All of them in one piece. Blocks are given back one by one.
    pub fn into_vec(mut self) -> Vec<u8> {
        if self.blocks.len() <= 1 {
            return self.blocks.pop().unwrap_or_default();
        }
        let mut all = Vec::with_capacity(self.len());
        self.blocks.into_iter().for_each(|block| all.extend_from_slice(&block));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_any_pieces_is_one() {
        let all: Vec<u8> = (0..3 * BLOCK + 7).map(|n| (n % 251) as u8).collect();
        for size in [1000, BLOCK - 1, BLOCK, 2 * BLOCK + 1, all.len()] {
            let mut gathered = Gathered::default();
            all.chunks(size).for_each(|piece| gathered.add(piece));
            assert_eq!((gathered.len(), gathered.blocks.len()), (all.len(), 4));
            assert!(gathered.into_vec() == all, "{size}");
        }
        assert_eq!(Gathered::default().into_vec(), [0; 0]);
    }
}
