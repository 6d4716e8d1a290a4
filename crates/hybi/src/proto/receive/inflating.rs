//! The inflater of a connection, and how much it was given and gave.

use crate::proto::deflate::{Inflater, InvalidData};

/// What a step without output counts as: it copies the history, which takes as long as to inflate so much.
const EMPTY_STEP: usize = 2 * 1024;

/// What it takes to receive compressed messages.
#[derive(Debug)]
pub(super) struct Inflating {
    /// None once nobody wants the messages.
    inflater: Option<Inflater>,
    /// The message that is open, or was last, is compressed.
    pub(super) is_open: bool,
    /// Bytes of its payload that were taken.
    pub(super) taken: usize,
    /// Bytes inflated since the last pause.
    inflated: usize,
    pause_after: usize,
}

impl Inflating {
    pub(super) fn new(inflater: Inflater) -> Self {
        Self {
            inflater: Some(inflater),
            is_open: false,
            taken: 0,
            inflated: 0,
            pause_after: usize::MAX,
        }
    }

    pub(super) fn set_pause(&mut self, pause_after: usize) {
        self.pause_after = pause_after.max(1);
    }

    /// A message begins.
    pub(super) fn begin(&mut self, is_compressed: bool) {
        self.is_open = is_compressed;
        self.taken = 0;
    }

    /// Whether so much was inflated since the last pause that another is due.
    pub(super) fn is_pause_due(&self) -> bool {
        self.inflated >= self.pause_after && self.inflater.is_some()
    }

    /// Whether to pause now.
    pub(super) fn take_pause(&mut self) -> bool {
        let is_due = self.is_pause_due();
        if is_due {
            self.inflated = 0;
        }
        is_due
    }

    /// From now on nothing is inflated: every message comes as if it were empty.
    #[cfg(feature = "tokio")]
    pub(super) fn stop(&mut self) {
        self.inflater = None;
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.inflater.is_none()
    }

    /// Inflates some of `rest`; `None` once that is used up.
    pub(super) fn inflate(&mut self, rest: &mut &[u8]) -> Result<Option<&[u8]>, InvalidData> {
        let Some(inflater) = &mut self.inflater else {
            *rest = &[];
            return Ok(None);
        };
        let Some(chunk) = inflater.inflate(rest)? else { return Ok(None) };
        self.inflated += if chunk.is_empty() { EMPTY_STEP } else { chunk.len() };
        Ok(Some(chunk))
    }

    /// Inflates what is left at the end of a message; `None` once that is nothing.
    pub(super) fn finish(&mut self) -> Result<Option<&[u8]>, InvalidData> {
        let Some(inflater) = &mut self.inflater else { return Ok(None) };
        let Some(chunk) = inflater.finish()? else { return Ok(None) };
        self.inflated += chunk.len();
        Ok(Some(chunk))
    }

    #[cfg(all(test, feature = "client"))]
    pub(super) fn held(&self) -> usize {
        self.inflater.as_ref().map_or(0, Inflater::held)
    }
}
