//! What arrives, at which end, and in which form it is wanted.

use bytes::Bytes;

use super::close::CloseFrame;
use super::message::Message;

/// Which end of the connection this is. Clients mask what they send (RFC 6455 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The end that accepted the handshake.
    Server,
    /// The end that asked for it.
    Client,
}

/// What arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A whole data message.
    Message(Message),
    /// A piece of a message that is taken in [parts](Receiving::Parts).
    ///
    /// The parts of one message are all of its kind and come without another message between them. A
    /// part of text ends with a whole character. Where a part ends means nothing. Only the last one may
    /// be empty.
    Part {
        /// The piece.
        part: Message,
        /// Nothing of the message follows.
        last: bool,
    },
    /// A ping. Its answer is queued already.
    Ping(Bytes),
    /// A pong, asked for or not.
    Pong(Bytes),
    /// The peer's Close, the last event of a connection.
    Close(CloseFrame),
}

/// What becomes of the messages that arrive: see [`Connection::set_receiving`](super::Connection::set_receiving).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Receiving {
    /// Each is put together and given as [`Event::Message`], within the limits on messages.
    #[default]
    Messages,
    /// Each is given as [`Event::Part`]s, as it arrives and however long it gets.
    ///
    /// [`Limits::max_message`] and [`Limits::max_fragments`] do not hold; [`Limits::max_frame`] does.
    ///
    /// [`Limits::max_message`]: super::Limits::max_message
    /// [`Limits::max_fragments`]: super::Limits::max_fragments
    /// [`Limits::max_frame`]: super::Limits::max_frame
    Parts,
    /// Nobody has said yet which of the two.
    ///
    /// Messages are put together, but no input is taken beyond `read_ahead` bytes of an unfinished one,
    /// or where it would pass a limit on whole messages.
    Undecided {
        /// How many bytes of an unfinished message are taken.
        read_ahead: usize,
    },
}
