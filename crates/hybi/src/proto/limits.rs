//! How much a connection may hold.

/// Bounds on what one connection receives and holds, and on the frames that it sends. Nothing that it holds is
/// unlimited by default.
///
/// A builder by value:
///
/// ```
/// use hybi::proto::Limits;
///
/// let limits = Limits::default().max_message(64 * 1024).max_fragments(100);
/// ```
///
/// Limits of several sources are merged with [`tightest`](Self::tightest).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub(crate) max_message: usize,
    pub(crate) max_frame: Option<usize>,
    pub(crate) max_fragments: Option<usize>,
    pub(crate) max_send_frame: Option<usize>,
    pub(crate) output_mark: usize,
    pub(crate) read_ahead: usize,
    pub(crate) linger_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message: 1024 * 1024,
            max_frame: None,
            max_fragments: None,
            max_send_frame: None,
            output_mark: 64 * 1024,
            read_ahead: 64 * 1024,
            linger_bytes: 256 * 1024,
        }
    }
}

impl Limits {
    /// The longest message that is received, in bytes after reassembly and inflation. Default: 1 MiB.
    ///
    /// A message that announces or reaches more fails the connection with 1009, as soon as the header
    /// of the frame that would pass the limit is there. A message that is received
    /// [in parts](super::Receiving::Parts) is not held to it.
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// The longest data frame that is received, in bytes of payload. Default: as
    /// [`max_message`](Self::max_message).
    ///
    /// A frame that announces more fails the connection with 1009, from its header alone. One with
    /// compressed payload may announce an eighth and 64 bytes more, by which compression can make data
    /// longer.
    ///
    /// This holds also for messages that are received [in parts](super::Receiving::Parts), of which no
    /// more than one read is held in any case: who expects large frames there may set it as high as need
    /// be.
    #[must_use]
    pub fn max_frame(mut self, bytes: usize) -> Self {
        self.max_frame = Some(bytes);
        self
    }

    /// The most frames that one received message may come in, empty ones included. Default: the
    /// larger of 1,024 and [`max_message`](Self::max_message) / 64 bytes.
    ///
    /// One frame more fails the connection with 1008. One is the least: a message in a single frame is
    /// always within the limit. A message that is received [in parts](super::Receiving::Parts) is not
    /// held to it.
    #[must_use]
    pub fn max_fragments(mut self, frames: usize) -> Self {
        self.max_fragments = Some(frames);
        self
    }

    /// The longest data frame that is sent, in bytes of payload. Default: none, so that a message is one
    /// frame; one byte is the least.
    ///
    /// A longer message is cut into frames of this length, and so is a longer part of a message that is sent
    /// in parts. Between frames, and only there, pings and pongs can pass. The peer sees one message, however
    /// it is cut.
    ///
    /// A limit keeps a large message to a slow peer from holding up the pongs that the peer waits for. It
    /// costs both ends some work for each frame.
    #[must_use]
    pub fn max_send_frame(mut self, bytes: usize) -> Self {
        self.max_send_frame = Some(bytes.max(1));
        self
    }

    /// The high-water mark of the output in bytes: while more is queued, the socket's `send` waits.
    /// Default: 64 KiB.
    ///
    /// A message is queued whole once the queue is below the mark, so that a connection holds at most
    /// the mark and one message. The peer sees nothing of it.
    #[must_use]
    pub fn output_mark(mut self, bytes: usize) -> Self {
        self.output_mark = bytes;
        self
    }

    /// How many bytes of messages the socket reads ahead of a user that does not receive. Default:
    /// 64 KiB.
    ///
    /// Beyond it reading stops, so that the transport's flow control holds the peer back. It is the bound
    /// for complete messages, and once more for the one that has begun. That one counts as neither whole
    /// nor in parts until it is asked for, and so is not held to
    /// [`max_message`](Self::max_message) before.
    #[must_use]
    pub fn read_ahead(mut self, bytes: usize) -> Self {
        self.read_ahead = bytes;
        self
    }

    /// How many bytes are read and discarded after our Close while the transport ends. Default:
    /// 256 KiB.
    ///
    /// Reading on keeps unread input from turning into a reset that destroys our last frames. A peer
    /// that sends more is cut off.
    #[must_use]
    pub fn linger_bytes(mut self, bytes: usize) -> Self {
        self.linger_bytes = bytes;
        self
    }

    /// The tighter of the two in every field, each default taken at its value.
    ///
    /// ```
    /// use hybi::proto::Limits;
    ///
    /// let route = Limits::default().max_message(16 * 1024);
    /// let user = Limits::default().output_mark(1024);
    /// let both = Limits::default().max_message(16 * 1024).output_mark(1024);
    /// assert_eq!(route.tightest(&user), both);
    /// ```
    #[must_use]
    pub fn tightest(&self, other: &Self) -> Self {
        // A default follows `max_message` on either side, and so in the result; once one side sets a
        // value, the other side's default counts with what it stands for there.
        let either_sets = |a: Option<usize>, b: Option<usize>| a.or(b).is_some();
        Self {
            max_message: self.max_message.min(other.max_message),
            max_frame: either_sets(self.max_frame, other.max_frame)
                .then(|| self.frame_limit().min(other.frame_limit())),
            max_fragments: either_sets(self.max_fragments, other.max_fragments)
                .then(|| self.fragment_limit().min(other.fragment_limit())),
            max_send_frame: either_sets(self.max_send_frame, other.max_send_frame)
                .then(|| self.send_frame_limit().min(other.send_frame_limit())),
            output_mark: self.output_mark.min(other.output_mark),
            read_ahead: self.read_ahead.min(other.read_ahead),
            linger_bytes: self.linger_bytes.min(other.linger_bytes),
        }
    }

    /// The value of [`max_message`](Self::max_message).
    #[must_use]
    pub fn get_max_message(&self) -> usize {
        self.max_message
    }

    /// The value of [`max_frame`](Self::max_frame), its default resolved.
    #[must_use]
    pub fn get_max_frame(&self) -> usize {
        self.frame_limit()
    }

    /// The value of [`max_fragments`](Self::max_fragments), its default resolved.
    #[must_use]
    pub fn get_max_fragments(&self) -> usize {
        self.fragment_limit()
    }

    /// The value of [`max_send_frame`](Self::max_send_frame), if it was set.
    #[must_use]
    pub fn get_max_send_frame(&self) -> Option<usize> {
        self.max_send_frame
    }

    /// The value of [`output_mark`](Self::output_mark).
    #[must_use]
    pub fn get_output_mark(&self) -> usize {
        self.output_mark
    }

    /// The value of [`read_ahead`](Self::read_ahead).
    #[must_use]
    pub fn get_read_ahead(&self) -> usize {
        self.read_ahead
    }

    /// The value of [`linger_bytes`](Self::linger_bytes).
    #[must_use]
    pub fn get_linger_bytes(&self) -> usize {
        self.linger_bytes
    }

    /// The limit on a received frame, the default resolved.
    pub(crate) fn frame_limit(&self) -> usize {
        self.max_frame.unwrap_or(self.max_message)
    }

    /// The limit on a sent frame.
    pub(crate) fn send_frame_limit(&self) -> usize {
        self.max_send_frame.unwrap_or(usize::MAX)
    }

    /// The limit on the frames of a received message, the default resolved.
    pub(crate) fn fragment_limit(&self) -> usize {
        self.max_fragments.unwrap_or_else(|| (self.max_message / 64).max(1024))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S-01
    #[test]
    fn nothing_is_unlimited_by_default() {
        let limits = Limits::default();
        assert_eq!(limits.max_message, 1 << 20);
        assert_eq!(limits.frame_limit(), 1 << 20);
        assert_eq!(limits.fragment_limit(), 16_384);
        assert_eq!(limits.max_send_frame, None, "of ours, and it bounds nothing that is held");
        assert_eq!(limits.output_mark, 1 << 16);
        assert_eq!(limits.read_ahead, 1 << 16);
        assert_eq!(limits.linger_bytes, 1 << 18);
    }

    /// G-04
    #[test]
    fn frame_and_fragment_limits_follow_the_message_limit() {
        assert_eq!(Limits::default().max_message(100).frame_limit(), 100);
        assert_eq!(Limits::default().max_message(100).fragment_limit(), 1024);
        assert_eq!(Limits::default().max_message(100).max_fragments(2).fragment_limit(), 2);
        assert_eq!(Limits::default().max_frame(7).frame_limit(), 7);
    }

    #[test]
    fn what_was_set_can_be_read() {
        let limits =
            Limits::default().max_send_frame(1).output_mark(2).read_ahead(3).linger_bytes(4);
        assert_eq!((limits.get_max_send_frame(), limits.get_output_mark()), (Some(1), 2));
        assert_eq!((limits.get_read_ahead(), limits.get_linger_bytes()), (3, 4));
        let received = |limits: &Limits| {
            (limits.get_max_message(), limits.get_max_frame(), limits.get_max_fragments())
        };
        assert_eq!(received(&limits), (1 << 20, 1 << 20, 16_384));
        assert_eq!(received(&limits.max_message(9).max_frame(8).max_fragments(7)), (9, 8, 7));
    }

    #[test]
    fn the_tightest_of_two_takes_the_minimum_of_each_field() {
        let a = Limits::default().max_message(1000).max_send_frame(10).read_ahead(5);
        let b = Limits::default().max_fragments(5000).max_frame(2000).linger_bytes(1);
        let both = a.tightest(&b);
        assert_eq!(both, b.tightest(&a));
        assert_eq!((both.max_message, both.frame_limit()), (1000, 1000));
        assert_eq!(both.fragment_limit(), 1024, "the default of `a` is the tighter one");
        assert_eq!((both.max_send_frame, both.read_ahead, both.linger_bytes), (Some(10), 5, 1));
        assert_eq!(a.tightest(&a), a);
        assert_eq!(a.tightest(&a.clone().max_send_frame(9)).max_send_frame, Some(9));
        assert_eq!(b.tightest(&b).max_send_frame, None);
    }
}
