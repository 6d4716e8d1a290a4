//! The session of a socket that has no handler: it moves only while an operation of the socket is polled.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::yield_now,
};

use super::{Session, Step, turn::SocketLink, waits::Wait};
use crate::proto::Message;
use crate::socket::{
    BoxError,
    config::Config,
    engine::{Core, Driver, Watch},
    error::Error,
};

/// The handler of a session that has none.
pub(crate) type NoHandler = std::future::Ready<Result<(), BoxError>>;

pub(crate) struct Own<T> {
    /// Never locked: it makes the socket `Sync` for transports that are not.
    session: Mutex<Session<T, NoHandler>>,
    tasks: Arc<Tasks>,
    /// `tasks` as the transport sees them.
    waker: Waker,
    /// Two tasks have waited at the same time.
    are_two: bool,
    /// Messages sent since something was received.
    sends: u8,
}

/// A user who only sends reads after so many messages: a ping is to be answered, and a Close to be seen.
const SENDS: u8 = 8;

/// The tasks that use the socket. Receiving and sending may be polled by two, when a lock splits the
/// socket; the transport has one slot for readiness to write, which both need.
#[derive(Default)]
struct Tasks(Mutex<[Option<Waker>; 2]>);

impl Tasks {
    /// Whether another task waits, too.
    fn register(&self, wait: Wait, cx: &Context<'_>) -> bool {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [send, recv] = &mut *tasks;
        let (task, other) = if wait == Wait::Recv { (recv, send) } else { (send, recv) };
        let are_two = other.as_ref().is_some_and(|other| !other.will_wake(cx.waker()));
        let old = match task {
            Some(waker) if waker.will_wake(cx.waker()) => None,
            task => task.replace(cx.waker().clone()),
        };
        drop(tasks);
        drop(old);
        are_two
    }

    /// Wakes the task that does not wait for `wait`.
    fn wake_other(&self, wait: Wait) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let other = tasks[usize::from(wait != Wait::Recv)].take();
        drop(tasks);
        other.into_iter().for_each(Waker::wake);
    }
}

impl Wake for Tasks {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.into_iter().flatten().for_each(Waker::wake);
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Own<T> {
    pub(crate) fn new(io: T, early: &[u8], config: Arc<Config>) -> (Arc<SocketLink>, Box<Self>) {
        let mut core = Box::new(Core::new(Arc::clone(&config), early));
        core.is_driven_by_user = true;
        let link = SocketLink::of(config);
        let session = Session {
            driver: Driver::new(io),
            core: Some(core),
            link: Arc::clone(&link),
            handler: None,
            handler_end: None,
        };
        let tasks = Arc::new(Tasks::default());
        let waker = Waker::from(Arc::clone(&tasks));
        (
            link,
            Box::new(Self { session: Mutex::new(session), tasks, waker, are_two: false, sends: 0 }),
        )
    }

    /// The session, to be driven by a task.
    pub(crate) fn into_session(self) -> Session<T, NoHandler> {
        let mut session = self.session.into_inner().unwrap_or_else(PoisonError::into_inner);
        // What was asked of the socket before comes before what its halves do.
        session.begin_own();
        if let Some(mut core) = session.core.take() {
            core.is_driven_by_user = false;
            session.link.park(core);
        }
        session
    }

    /// Gives the core to `f`.
    pub(crate) fn with_core<R>(&mut self, f: impl FnOnce(&mut Core) -> R) -> R {
        let session = self.session.get_mut().unwrap_or_else(PoisonError::into_inner);
        session.begin_own();
        f(session.core.as_mut().expect("a session that is driven by its user keeps the core"))
    }

    /// Polls an operation until `f` gives something, and drives the session meanwhile.
    pub(crate) fn poll_until<R>(
        &mut self,
        cx: &mut Context<'_>,
        mut f: impl FnMut(&mut Core) -> Step<Result<R, Error>>,
    ) -> Poll<Result<R, Error>> {
        let session = self.session.get_mut().unwrap_or_else(PoisonError::into_inner);
        session.begin_own();
        let Session { driver, core: Some(core), link, .. } = session else {
            unreachable!("a session that is driven by its user keeps the core")
        };
        let mut own = Context::from_waker(&self.waker);
        let mut waits = None;
        let mut moved = false;
        let polled = loop {
            match f(core) {
                Step::Done(result) => break Poll::Ready(result),
                Step::Yield => {
                    // Whoever never waits has deadlines, too.
                    let watch = Watch { knows_waker: true, handler: false };
                    let _ = driver.poll_deadlines(core, watch, &mut own);
                    driver.rest();
                    core.begin_streak();
                    let _ = pin!(yield_now()).poll(cx);
                    break Poll::Pending;
                }
                // Most writes are done at once, and nobody has to be woken.
                Step::Wait(_) if !moved && driver.writes(core, &mut own) => moved = true,
                Step::Wait(wait) => {
                    if waits.is_none() {
                        self.are_two |= self.tasks.register(wait, cx);
                        waits = Some(wait);
                    }
                    if !driver.step(core, wait, &mut own) {
                        driver.rest();
                        core.begin_streak();
                        break Poll::Pending;
                    }
                    moved = true;
                }
            }
        };
        core.keep_input();
        link.facts.publish(core, driver.is_done());
        if let Some(wait) = waits.filter(|_| moved && self.are_two) {
            // What it waits for may have happened here.
            self.tasks.wake_other(wait);
        }
        polled
    }

    /// Queues a message, unless it has to wait or the socket is closed.
    #[inline]
    pub(crate) fn feed_at_once(
        &mut self,
        message: &Message,
        send: fn(&mut Core, &Message) -> Result<(), Error>,
    ) -> Option<Result<(), Error>> {
        let session = self.session.get_mut().unwrap_or_else(PoisonError::into_inner);
        session.begin_own();
        let core = session.core.as_mut()?;
        (core.check_open().is_ok() && core.can_send()).then(|| send(core, message))
    }

    /// Writes what is queued. Whether all of it is written.
    pub(crate) fn flush_at_once(&mut self) -> bool {
        let session = self.session.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Session { driver, core: Some(core), .. } = session else { return false };
        let _ = driver.poll_flush(core, &mut Context::from_waker(&self.waker));
        core.flushed().is_some_and(|result| result.is_ok())
    }

    /// Something was received. Writes what can be written now: a pong does not wait for the next call.
    pub(crate) fn received(&mut self) {
        self.sends = 0;
        let session = self.session.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Session { driver, core: Some(core), .. } = session {
            let _ = driver.poll_flush(core, &mut Context::from_waker(&self.waker));
        }
    }

    /// A message was sent. Reads now and then, for a user who does not receive.
    pub(crate) fn sent(&mut self) {
        self.sends += 1;
        if self.sends < SENDS {
            return;
        }
        self.sends = 0;
        let session = self.session.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Session { driver, core: Some(core), link, .. } = session else { return };
        let mut own = Context::from_waker(&self.waker);
        core.skip();
        if core.wants_input() && driver.poll_fill(core, &mut own).is_ready() {
            core.read_ahead();
            let _ = driver.poll_flush(core, &mut own);
            link.facts.publish(core, driver.is_done());
            self.tasks.wake_other(Wait::Send);
        }
        core.keep_input();
    }

    /// Drops the transport at once.
    pub(crate) fn abort(&mut self) {
        let session = self.session.get_mut().unwrap_or_else(PoisonError::into_inner);
        session.begin_own();
        if let Session { driver, core: Some(core), link, .. } = session {
            driver.abort(core);
            link.facts.publish(core, true);
        }
        // Another task may wait in an operation.
        self.waker.wake_by_ref();
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Session<T, NoHandler> {
    /// Sees to what was asked since the last operation.
    #[inline]
    fn begin_own(&mut self) {
        if self.link.is_wanted() {
            self.apply_requests();
        }
    }

    #[cold]
    fn apply_requests(&mut self) {
        let link = Arc::clone(&self.link);
        let (mut core, requests) = link.begin(self.core.take());
        if let Some(requests) = requests {
            self.apply(&mut core, *requests);
        }
        self.core = Some(core);
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    /// Writes what is queued. Whether anything has come of it.
    #[inline(always)]
    fn writes(&mut self, core: &mut Core, cx: &mut Context<'_>) -> bool {
        (!core.is_flushed() || core.is_gone()) && self.writes_now(core, cx)
    }

    #[inline(never)]
    fn writes_now(&mut self, core: &mut Core, cx: &mut Context<'_>) -> bool {
        let before = (core.conn.queued(), core.is_flushed());
        let _ = self.poll_flush(core, cx);
        (core.conn.queued(), core.is_flushed()) != before
    }

    /// One round for an operation that waits. Whether anything has moved.
    ///
    /// Whoever does not wait for messages has those read ahead that the peer sends meanwhile, so that two
    /// ends that both push do not wait for each other as long as both receive at all.
    fn step(&mut self, core: &mut Core, wait: Wait, cx: &mut Context<'_>) -> bool {
        let mut moved = self.writes(core, cx);
        let receives = wait == Wait::Recv;
        if !receives {
            // A reader that is still wanted would be borrowing the socket.
            core.skip();
        }
        let fills = core.wants_input() || (receives && core.is_paused());
        if fills && self.poll_fill(core, cx).is_ready() {
            if !receives {
                core.read_ahead();
            }
            moved = true;
        } else if !receives && core.is_paused() && self.poll_budget(cx).is_ready() {
            self.exhaust();
            core.take_pause();
            core.read_ahead();
            moved = true;
        }
        moved |= self.poll_end(core, cx);
        // What has arrived or can be written counts, however late the user comes back.
        let watch = Watch { knows_waker: true, handler: false };
        moved || self.poll_deadlines(core, watch, cx).is_ready()
    }
}
