//! How the payload of compressed messages becomes bytes of the message (RFC 7692 section 6.2).
//!
//! A few bytes may inflate to a thousand times as many. So the limits hold for what is inflated and are
//! looked at in every step, and input is taken only as far as it was inflated.

use super::{Assembly, Decoder, Event, Frame, PART, Stage, Violation, mask, take, unmasked};
use crate::proto::deflate::{Inflater, InvalidData};

/// So much payload is unmasked at a time, and what is not used of it masked again.
const PIECE: usize = 4 * 1024;

/// What a step without output counts as: it copies the history, which takes as long as to inflate so much.
const EMPTY_STEP: usize = 2 * 1024;

/// What it takes to receive compressed messages.
#[derive(Debug)]
pub(super) struct Inflating {
    /// None once nobody wants the messages.
    inflater: Option<Inflater>,
    /// The message that is open, or was last, is compressed.
    is_open: bool,
    /// Bytes of its payload that were taken.
    taken: usize,
    /// Bytes inflated since `receive` paused.
    inflated: usize,
    pause_after: usize,
}

/// How much longer than a message its compressed form may be: compressors that are made for speed make
/// data longer that does not compress.
fn expansion(len: usize) -> usize {
    len / 8 + 64
}

impl From<InvalidData> for Violation {
    fn from(InvalidData: InvalidData) -> Self {
        Self::Inflate
    }
}

impl Decoder {
    pub(in crate::proto) fn set_inflater(&mut self, inflater: Inflater) {
        self.inflating = Some(Box::new(Inflating {
            inflater: Some(inflater),
            is_open: false,
            taken: 0,
            inflated: 0,
            pause_after: usize::MAX,
        }));
    }

    pub(in crate::proto) fn set_pause(&mut self, pause_after: usize) {
        if let Some(inflating) = &mut self.inflating {
            inflating.pause_after = pause_after.max(1);
        }
    }

    #[cfg(feature = "tokio")]
    pub(in crate::proto) fn stop_inflating(&mut self) {
        if let Some(inflating) = &mut self.inflating {
            inflating.inflater = None;
        }
    }

    /// A message begins.
    pub(super) fn begin_compressed(&mut self, is_compressed: bool) {
        if let Some(inflating) = &mut self.inflating {
            inflating.is_open = is_compressed;
            inflating.taken = 0;
        }
    }

    /// Whether the open message is compressed.
    pub(super) fn is_compressed(&self) -> bool {
        self.inflating.as_ref().is_some_and(|inflating| inflating.is_open)
    }

    /// Whether to pause for what was inflated since the last time.
    pub(super) fn take_pause(&mut self) -> bool {
        let is_due = self.is_pause_due();
        if is_due && let Some(inflating) = &mut self.inflating {
            inflating.inflated = 0;
        }
        is_due
    }

    fn is_pause_due(&self) -> bool {
        self.inflating.as_ref().is_some_and(|inflating| {
            inflating.inflated >= inflating.pause_after && inflating.inflater.is_some()
        })
    }

    /// Holds the announced length of a frame with compressed payload to the limits. `continues` the open
    /// message.
    pub(super) fn compressed_within_limits(
        &self,
        length: u64,
        continues: bool,
    ) -> Result<usize, Violation> {
        let limit = self.max_frame.saturating_add(expansion(self.max_frame));
        if length > limit as u64 {
            return Err(Violation::FrameTooBig { announced: length, limit: self.max_frame });
        }
        let length = length as usize;
        let taken = if continues { self.taken() } else { 0 };
        if self.is_judged() && self.is_too_long(taken.saturating_add(length)) {
            return Err(Violation::MessageTooBig { limit: self.max_message });
        }
        Ok(length)
    }

    /// Whether so much compressed payload is more than a message may have.
    fn is_too_long(&self, payload: usize) -> bool {
        payload > self.max_message.saturating_add(expansion(self.max_message))
    }

    fn taken(&self) -> usize {
        self.inflating.as_ref().map_or(0, |inflating| inflating.taken)
    }

    /// Whether the open message is longer than one may be, with so much more payload announced.
    pub(super) fn is_compressed_overrun(&self, announced: usize) -> bool {
        self.message.len() > self.max_message
            || self.is_too_long(self.taken().saturating_add(announced))
    }

    /// Takes what there is of a compressed frame's payload, as far as there is use for what it inflates to.
    pub(super) fn compressed_payload(
        &mut self,
        mut frame: Frame,
        input: &mut &mut [u8],
    ) -> Result<Option<Event>, Violation> {
        // At least once: an earlier call may have left something of the frame's last bytes.
        loop {
            let len = frame.missing.min(input.len()).min(PIECE);
            let mut rest = unmasked(frame, &mut input[..len]);
            let is_used_up = self.inflate(&mut rest)?;
            let used = len - rest.len();
            frame.received += used;
            frame.missing -= used;
            if let Some(key) = frame.key {
                mask(&mut input[used..len], key, frame.received);
            }
            take(input, used);
            if let Some(inflating) = &mut self.inflating {
                inflating.taken += used;
            }
            self.stage = Stage::Payload(frame);
            if !is_used_up || frame.missing == 0 || input.is_empty() {
                break;
            }
        }
        if frame.missing > 0 {
            return Ok(None);
        }
        if frame.first.fin {
            self.inflate_end()?;
            if self.overrun().is_some() && !self.in_parts {
                // Undecided: as parts it is not too long.
                return Ok(None);
            }
            self.stage = Stage::Header;
            return self.finish_message().map(Some);
        }
        self.stage = Stage::Header;
        Ok(None)
    }

    /// Inflates into the open message; false if it stopped before `rest` was used up.
    fn inflate(&mut self, rest: &mut &[u8]) -> Result<bool, Violation> {
        loop {
            // Beyond its input the inflater has no more than it looked ahead, and that is taken at once.
            if !rest.is_empty() && self.has_enough() {
                return Ok(false);
            }
            let limit = self.inflated_limit();
            let Some(inflating) = &mut self.inflating else { return Ok(true) };
            let Some(inflater) = &mut inflating.inflater else {
                *rest = &[];
                return Ok(true);
            };
            let Some(chunk) = inflater.inflate(rest)? else { return Ok(true) };
            inflating.inflated += if chunk.is_empty() { EMPTY_STEP } else { chunk.len() };
            self.message.push_inflated(chunk, limit)?;
        }
    }

    /// Inflates what is left at the end of a message.
    fn inflate_end(&mut self) -> Result<(), Violation> {
        let limit = self.inflated_limit();
        let Some(inflating) = &mut self.inflating else { return Ok(()) };
        let Some(inflater) = &mut inflating.inflater else {
            // A character may have been cut.
            self.message = Assembly::new(self.message.kind());
            return Ok(());
        };
        while let Some(chunk) = inflater.finish()? {
            inflating.inflated += chunk.len();
            self.message.push_inflated(chunk, limit)?;
        }
        Ok(())
    }

    fn inflated_limit(&self) -> usize {
        if self.is_judged() { self.max_message } else { usize::MAX }
    }

    /// Whether to stop where the input is: there is a part to give, nobody has decided, or others should
    /// have their turn.
    fn has_enough(&self) -> bool {
        (self.in_parts && self.message.len() >= PART) || self.is_held() || self.is_pause_due()
    }
}

impl Inflating {
    #[cfg(all(test, feature = "client"))]
    pub(super) fn held(&self) -> usize {
        self.inflater.as_ref().map_or(0, Inflater::held)
    }
}
