//! How slots tell the network that something has happened to a channel: a bell with the channels' numbers, heard by the one stream that
//! polls. Must stay cheap: it is rung for each batch.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

#[derive(Default)]
struct Rung {
    numbers: Vec<u32>,
    listener: Option<Waker>,
}

/// The bell of one stream.
#[derive(Default)]
pub(super) struct Bell(Mutex<Rung>);

impl Bell {
    /// Whoever polls hears of what happens from now on.
    pub(super) fn listen(&self, waker: &Waker) {
        let mut rung = self.lock();
        match &mut rung.listener {
            Some(listener) if listener.will_wake(waker) => {}
            listener => *listener = Some(waker.clone()),
        }
    }

    /// The channels to which something has happened.
    pub(super) fn take(&self) -> Vec<u32> {
        std::mem::take(&mut self.lock().numbers)
    }

    /// Has the stream polled.
    pub(super) fn wake(&self) {
        let listener = self.lock().listener.take();
        if let Some(listener) = listener {
            listener.wake();
        }
    }

    fn ring(&self, number: u32) {
        self.lock().numbers.push(number);
        self.wake();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Rung> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A channel's rope: pulled any number of times it rings once, until somebody has answered.
pub(super) struct Rope {
    bell: Arc<Bell>,
    number: u32,
    pulled: AtomicBool,
}

impl Rope {
    pub(super) fn new(bell: Arc<Bell>, number: u32) -> Rope {
        Rope { bell, number, pulled: AtomicBool::new(false) }
    }

    pub(super) fn pull(&self) {
        if !self.pulled.swap(true, SeqCst) {
            self.bell.ring(self.number);
        }
    }

    /// What happened before is seen by who answers now; what happens later rings again.
    pub(super) fn answer(&self) {
        self.pulled.swap(false, SeqCst);
    }
}
