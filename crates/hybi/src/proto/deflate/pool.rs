//! Contexts to compress and inflate with, lent by the thread and given back after a message.
//!
//! They are large (a compressor has some 320 KiB) and slow to make, and without context takeover a
//! connection needs one only in mid-message. Who takes one resets it first, so that nothing of one
//! connection can show in another.

use std::cell::RefCell;
use std::thread::LocalKey;

/// Contexts of each kind that a thread keeps. Whole messages need no more than one at a time.
const KEPT: usize = 2;

/// What the thread keeps of one kind.
pub(super) type Pool<T> = RefCell<Vec<T>>;

/// The newest context that `fits`; `None` also while the thread ends.
pub(super) fn take<T>(pool: &'static LocalKey<Pool<T>>, fits: impl FnMut(&T) -> bool) -> Option<T> {
    let kept = pool.try_with(|pool| {
        let mut kept = pool.borrow_mut();
        let at = kept.iter().rposition(fits)?;
        Some(kept.remove(at))
    });
    kept.ok().flatten()
}

/// The one that was there longest goes, so that those of a window that is no longer used do not stay.
pub(super) fn give<T>(pool: &'static LocalKey<Pool<T>>, context: T) {
    // A thread that ends keeps nothing.
    let _ = pool.try_with(|pool| {
        let mut kept = pool.borrow_mut();
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push(context);
    });
}
