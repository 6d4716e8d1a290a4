//! A small inflater that tells how far back the data refers (RFC 1951).

/// What the data inflates to, and the largest distance in it.
pub(super) fn trace(data: &[u8], history: &[u8]) -> (Vec<u8>, usize) {
    let mut bits = Bits { data, at: 0 };
    let mut out = history.to_vec();
    let mut largest = 0;
    while bits.at / 8 < data.len() {
        let last = bits.take(1);
        match bits.take(2) {
            0 => {
                bits.at = bits.at.next_multiple_of(8);
                let len = bits.take(16);
                assert_eq!(bits.take(16), len ^ 0xffff);
                for _ in 0..len {
                    out.push(bits.take(8) as u8);
                }
            }
            1 => {
                let lengths: Vec<u8> = (0..288)
                    .map(|n| {
                        [8, 9, 7, 8][(n > 143) as usize + (n > 255) as usize + (n > 279) as usize]
                    })
                    .collect();
                block(
                    &mut bits,
                    &Code::new(&lengths),
                    &Code::new(&[5; 30]),
                    &mut out,
                    &mut largest,
                );
            }
            2 => {
                let (literals, distances) = dynamic(&mut bits);
                block(&mut bits, &literals, &distances, &mut out, &mut largest);
            }
            _ => panic!("block of an unknown type"),
        }
        assert_eq!(last, 0, "our own compressor ends no stream");
    }
    (out.split_off(history.len()), largest)
}

struct Bits<'a> {
    data: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, n: usize) -> usize {
        let mut value = 0;
        for i in 0..n {
            value |= usize::from(self.data[self.at / 8] >> (self.at % 8) & 1) << i;
            self.at += 1;
        }
        value
    }
}

/// A canonical Huffman code: how many symbols of each length, and the symbols in order.
struct Code {
    counts: [usize; 16],
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[u8]) -> Self {
        let mut counts = [0; 16];
        let mut symbols: Vec<usize> = (0..lengths.len()).filter(|&s| lengths[s] > 0).collect();
        for &symbol in &symbols {
            counts[usize::from(lengths[symbol])] += 1;
        }
        symbols.sort_by_key(|&symbol| lengths[symbol]);
        Self { counts, symbols }
    }

    fn symbol(&self, bits: &mut Bits<'_>) -> usize {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for len in 1..16 {
            code |= bits.take(1);
            let count = self.counts[len];
            if code < first + count {
                return self.symbols[index + code - first];
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        panic!("no such code");
    }
}

fn dynamic(bits: &mut Bits<'_>) -> (Code, Code) {
    const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    let literals = bits.take(5) + 257;
    let distances = bits.take(5) + 1;
    let codes = bits.take(4) + 4;
    let mut lengths = [0; 19];
    for &place in &ORDER[..codes] {
        lengths[place] = bits.take(3) as u8;
    }
    let code = Code::new(&lengths);
    let mut lengths = Vec::new();
    while lengths.len() < literals + distances {
        let (value, times) = match code.symbol(bits) {
            16 => (*lengths.last().unwrap(), 3 + bits.take(2)),
            17 => (0, 3 + bits.take(3)),
            18 => (0, 11 + bits.take(7)),
            length => (length as u8, 1),
        };
        lengths.extend(std::iter::repeat_n(value, times));
    }
    (Code::new(&lengths[..literals]), Code::new(&lengths[literals..]))
}

fn block(
    bits: &mut Bits<'_>,
    literals: &Code,
    distances: &Code,
    out: &mut Vec<u8>,
    largest: &mut usize,
) {
    loop {
        let symbol = literals.symbol(bits);
        let length = match symbol {
            0..=255 => {
                out.push(symbol as u8);
                continue;
            }
            256 => return,
            257..=264 => symbol - 254,
            285 => 258,
            _ => {
                let extra = (symbol - 261) / 4;
                (((symbol - 265) % 4 + 4) << extra) + 3 + bits.take(extra)
            }
        };
        let symbol = distances.symbol(bits);
        let distance = if symbol < 4 {
            symbol + 1
        } else {
            let extra = symbol / 2 - 1;
            ((symbol % 2 + 2) << extra) + 1 + bits.take(extra)
        };
        *largest = distance.max(*largest);
        for _ in 0..length {
            out.push(out[out.len() - distance]);
        }
    }
}
