//! What operations do with the core, each time they are polled.

use super::{
    engine::{Core, Next},
    error::{Error, Kind},
    session::{Step, Wait},
    signals::Signals,
};
use crate::proto::{CloseCode, CloseFrame, CloseReason, Role};

/// Receives what `next` gives, or what `end` says at the end.
pub(crate) fn receive<M>(
    core: &mut Core,
    signals: &Signals,
    next: impl FnOnce(&mut Core) -> Option<Next<M>>,
    end: impl FnOnce(&mut Core) -> Result<(), Error>,
) -> Step<Result<Option<M>, Error>> {
    match next(core) {
        Some(Next::Message(message)) => Step::Done(Ok(Some(message))),
        Some(Next::End) => {
            core.settle();
            if !core.may_report() {
                return Step::Wait(Wait::Recv);
            }
            signals.note_peer_close(core.peer_close());
            Step::Done(end(core).map(|()| None))
        }
        Some(Next::Yield) => Step::Yield,
        None => Step::Wait(Wait::Recv),
    }
}

/// Does `queue` once there is room for more, or says why there never will be.
pub(crate) fn queue<R>(
    core: &mut Core,
    queue: impl FnOnce(&mut Core) -> Result<R, Error>,
) -> Step<Result<R, Error>> {
    match core.check_open() {
        Err(error) => Step::Done(Err(error)),
        Ok(()) if core.can_send() => Step::Done(queue(core)),
        Ok(()) => Step::Wait(Wait::Send),
    }
}

/// Waits until the socket is closed.
pub(crate) fn close(core: &mut Core, signals: &Signals) -> Step<Result<(), Error>> {
    if !core.is_closed() {
        return Step::Wait(Wait::Close);
    }
    signals.note_peer_close(core.peer_close());
    Step::Done(core.failure().map_or(Ok(()), Err))
}

/// Whether this end may send a Close with `code`.
pub(crate) fn check_code(role: Role, code: Option<CloseCode>) -> Result<(), Error> {
    if role == Role::Server && code == Some(CloseCode::MANDATORY_EXTENSION) {
        return Err(Error::new(Kind::Unsendable("only a client closes with 1010")));
    }
    Ok(())
}

/// The Close that this end sends for `code` and `reason`.
pub(crate) fn close_frame(role: Role, code: CloseCode, reason: &str) -> Result<CloseFrame, Error> {
    check_code(role, Some(code))?;
    let reason = CloseReason::new(reason)
        .map_err(|_| Error::new(Kind::Unsendable("the reason of a Close has at most 123 bytes")))?;
    Ok(CloseFrame::new(code, reason))
}

/// Waits until everything is written, and lets nothing more in meanwhile.
pub(crate) fn flush(core: &mut Core) -> Step<Result<(), Error>> {
    match core.flushed() {
        Some(result) => Step::Done(result),
        None => {
            core.hold_back();
            Step::Wait(Wait::Flush)
        }
    }
}
