//! How librdkafka waits, when the wall clock is set.
//!
//! All waits of librdkafka go through C11's `cnd_timedwait`, whose end is a time of the wall clock.
//! When that is set back by two hours, a wait that was to last a second lasts two hours and a
//! second: heartbeats, polls and retries stop. The definition here takes the place of the C
//! library's: it waits on the steady clock, and for a second at most, after which librdkafka looks
//! at its own steady clock and waits again.
#![allow(unsafe_code, reason = "the C library's condition variables")]

use std::ffi::{c_int, c_long, c_void};

/// `struct timespec` where `time_t` has 64 bits.
#[repr(C)]
pub struct Timespec {
    seconds: i64,
    nanos: c_long,
}

// POSIX.1-2024; glibc from 2.30 on.
unsafe extern "C" {
    fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
    fn pthread_cond_clockwait(
        condition: *mut c_void,
        mutex: *mut c_void,
        clock: c_int,
        until: *const Timespec,
    ) -> c_int;
}

// Of Linux and of glibc's <threads.h>.
const CLOCK_REALTIME: c_int = 0;
const CLOCK_MONOTONIC: c_int = 1;
const ETIMEDOUT: c_int = 110;
const THRD_SUCCESS: c_int = 0;
const THRD_ERROR: c_int = 2;
const THRD_TIMEDOUT: c_int = 4;

const SECOND: i64 = 1_000_000_000;

/// Waits until the condition is signalled, until `until`, or for a second.
///
/// # Safety
///
/// As the C library's: `condition` and `mutex` were made by `cnd_init` and `mtx_init`, which in
/// glibc are those of pthreads, this thread has locked the mutex, and `until` can be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cnd_timedwait(
    condition: *mut c_void,
    mutex: *mut c_void,
    until: *const Timespec,
) -> c_int {
    // SAFETY: promised by the caller.
    let until = unsafe { &*until };
    let (wall, steady) = (now(CLOCK_REALTIME), now(CLOCK_MONOTONIC));
    let left = (until.seconds - wall.seconds)
        .saturating_mul(SECOND)
        .saturating_add(until.nanos - wall.nanos)
        .clamp(0, SECOND);
    let nanos = steady.nanos + left;
    let end = Timespec { seconds: steady.seconds + nanos / SECOND, nanos: nanos % SECOND };
    // SAFETY: the first two are promised by the caller, the last one lives.
    match unsafe { pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, &end) } {
        0 => THRD_SUCCESS,
        ETIMEDOUT => THRD_TIMEDOUT,
        _ => THRD_ERROR,
    }
}

fn now(clock: c_int) -> Timespec {
    let mut time = Timespec { seconds: 0, nanos: 0 };
    // SAFETY: it is written to.
    unsafe { clock_gettime(clock, &mut time) };
    time
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" {
        fn cnd_init(condition: *mut c_void) -> c_int;
        fn mtx_init(mutex: *mut c_void, kind: c_int) -> c_int;
        fn mtx_lock(mutex: *mut c_void) -> c_int;
        fn mtx_unlock(mutex: *mut c_void) -> c_int;
    }

    /// So it waits when the clock was set back by two hours just before.
    #[test]
    fn a_wait_until_far_in_the_future_ends() {
        // Larger than either of them, and aligned as they are.
        let (mut condition, mut mutex) = ([0_u64; 16], [0_u64; 16]);
        let (condition, mutex) = (condition.as_mut_ptr().cast(), mutex.as_mut_ptr().cast());
        let mut until = now(CLOCK_REALTIME);
        until.seconds += 7200;
        // SAFETY: both are made before they are used, and live until the end.
        unsafe {
            assert_eq!((cnd_init(condition), mtx_init(mutex, 0), mtx_lock(mutex)), (0, 0, 0));
            assert_eq!(cnd_timedwait(condition, mutex, &until), THRD_TIMEDOUT);
            until.seconds -= 7201;
            assert_eq!(cnd_timedwait(condition, mutex, &until), THRD_TIMEDOUT);
            assert_eq!(mtx_unlock(mutex), 0, "it is locked again");
        }
    }
}
