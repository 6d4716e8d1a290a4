//! Contexts to compress and inflate with, lent by the thread and given back after a message.
//!
//! They are large (a compressor has some 320 KiB) and slow to make, and without context takeover a
//! connection needs one only in mid-message. One that is taken is reset first, so that nothing of one
//! connection can show in another.

use std::cell::RefCell;

use super::{compress, inflate};

/// Contexts of each kind that a thread keeps. Whole messages need no more than one at a time.
const KEPT: usize = 2;

#[derive(Default)]
struct Pool {
    compress: Vec<compress::Context>,
    inflate: Vec<inflate::Context>,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// A compressor that has seen nothing.
pub(super) fn take_compress(bits: u8, level: u32) -> compress::Context {
    let kept = with(|pool| {
        let at = pool.compress.iter().rposition(|context| context.bits() == bits)?;
        Some(pool.compress.remove(at))
    });
    match kept.flatten() {
        Some(mut context) => {
            context.reset(level);
            context
        }
        None => compress::Context::new(bits, level),
    }
}

pub(super) fn give_compress(context: compress::Context) {
    with(|pool| keep(&mut pool.compress, context));
}

/// An inflater in any state, to be begun by the caller.
pub(super) fn take_inflate() -> inflate::Context {
    with(|pool| pool.inflate.pop()).flatten().unwrap_or_else(inflate::Context::new)
}

pub(super) fn give_inflate(context: inflate::Context) {
    with(|pool| keep(&mut pool.inflate, context));
}

/// The one that was there longest goes, so that those of a window that is no longer used do not stay.
fn keep<T>(kept: &mut Vec<T>, context: T) {
    if kept.len() == KEPT {
        kept.remove(0);
    }
    kept.push(context);
}

/// `None` while the thread ends.
fn with<R>(f: impl FnOnce(&mut Pool) -> R) -> Option<R> {
    POOL.try_with(|pool| f(&mut pool.borrow_mut())).ok()
}
