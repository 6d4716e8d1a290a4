//! How the payload of compressed messages becomes bytes of the message (RFC 7692 section 6.2).
//!
//! A few bytes may inflate to a thousand times as many. So the limits hold for what is inflated and are
//! looked at in every step, and input is taken only as far as it was inflated.

use super::assembly::Assembly;
use super::decoder::{Decoder, PART, take};
use super::inflating::Inflating;
use super::open::Frame;
use crate::proto::deflate::{Inflater, InvalidData};
use crate::proto::event::Event;
use crate::proto::violation::Violation;

/// So much payload is unmasked at a time, and what is not used of it masked again.
const PIECE: usize = 4 * 1024;

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
        self.inflating = Some(Box::new(Inflating::new(inflater)));
    }

    pub(in crate::proto) fn set_pause(&mut self, pause_after: usize) {
        if let Some(inflating) = &mut self.inflating {
            inflating.set_pause(pause_after);
        }
    }

    #[cfg(feature = "tokio")]
    pub(in crate::proto) fn stop_inflating(&mut self) {
        if let Some(inflating) = &mut self.inflating {
            inflating.stop();
        }
    }

    /// Whether the open message is compressed.
    pub(super) fn is_compressed(&self) -> bool {
        self.inflating.as_ref().is_some_and(|inflating| inflating.is_open)
    }

    fn is_pause_due(&self) -> bool {
        self.inflating.as_ref().is_some_and(|inflating| inflating.is_pause_due())
    }

    /// Holds the announced length of a frame with compressed payload to the limits. `continues` the open
    /// message.
    pub(super) fn compressed_within_limits(
        &self,
        length: u64,
        continues: bool,
    ) -> Result<usize, Violation> {
        let limit = self.limits.frame_limit();
        if length > limit.saturating_add(expansion(limit)) as u64 {
            return Err(Violation::FrameTooBig { announced: length, limit });
        }
        let length = length as usize;
        let taken = if continues { self.taken() } else { 0 };
        if self.is_judged() && self.is_too_long(taken.saturating_add(length)) {
            return Err(Violation::MessageTooBig { limit: self.limits.max_message });
        }
        Ok(length)
    }

    /// Whether so much compressed payload is more than a message may have.
    fn is_too_long(&self, payload: usize) -> bool {
        let limit = self.limits.max_message;
        payload > limit.saturating_add(expansion(limit))
    }

    fn taken(&self) -> usize {
        self.inflating.as_ref().map_or(0, |inflating| inflating.taken)
    }

    /// Whether the open message is longer than one may be, with so much more payload announced.
    pub(super) fn is_compressed_overrun(&self, announced: usize) -> bool {
        self.held() > self.limits.max_message
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
            let mut rest = frame.unmask(&mut input[..len]);
            let is_used_up = self.inflate(&mut rest)?;
            let used = len - rest.len();
            frame.take(used);
            // What is left is as it came.
            frame.unmask(&mut input[used..len]);
            take(input, used);
            if let Some(inflating) = &mut self.inflating {
                inflating.taken += used;
            }
            self.set_frame(Some(frame));
            if !is_used_up || frame.missing == 0 || input.is_empty() {
                break;
            }
        }
        if frame.missing > 0 {
            return Ok(None);
        }
        if frame.first.fin {
            self.inflate_end()?;
            if self.overrun().is_some() && !self.in_parts() {
                // Undecided: as parts it is not too long.
                return Ok(None);
            }
            self.set_frame(None);
            return self.finish_message();
        }
        self.set_frame(None);
        Ok(None)
    }

    fn set_frame(&mut self, frame: Option<Frame>) {
        if let Some(open) = &mut self.open {
            open.frame = frame;
        }
    }

    /// Inflates into the open message; false if it stopped before `rest` was used up.
    fn inflate(&mut self, rest: &mut &[u8]) -> Result<bool, Violation> {
        loop {
            // Beyond its input the inflater has no more than it looked ahead, and that is taken at once.
            if !rest.is_empty() && self.has_enough() {
                return Ok(false);
            }
            let limit = self.inflated_limit();
            let Some((inflating, content)) = self.under_way() else { return Ok(true) };
            let Some(chunk) = inflating.inflate(rest)? else { return Ok(true) };
            content.push_inflated(chunk, limit)?;
        }
    }

    /// Inflates what is left at the end of a message.
    fn inflate_end(&mut self) -> Result<(), Violation> {
        let limit = self.inflated_limit();
        let Some((inflating, content)) = self.under_way() else { return Ok(()) };
        if inflating.is_stopped() {
            // A character may have been cut.
            *content = Assembly::new(content.kind());
            return Ok(());
        }
        while let Some(chunk) = inflating.finish()? {
            content.push_inflated(chunk, limit)?;
        }
        Ok(())
    }

    /// What inflates, and into what.
    fn under_way(&mut self) -> Option<(&mut Inflating, &mut Assembly)> {
        let message = self.open.as_mut()?.message.as_mut()?;
        Some((self.inflating.as_mut()?, &mut message.content))
    }

    fn inflated_limit(&self) -> usize {
        if self.is_judged() { self.limits.max_message } else { usize::MAX }
    }

    /// Whether to stop where the input is: there is a part to give, nobody has decided, or others should
    /// have their turn.
    fn has_enough(&self) -> bool {
        (self.in_parts() && self.held() >= PART) || self.is_held() || self.is_pause_due()
    }
}
