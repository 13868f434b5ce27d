//! A guest's page: writable while its call may go on, read-only to stop it.

use super::module::PAGE_BYTES;

/// A page in the memory of a live store. Must not be used after the store is gone.
#[derive(Debug)]
pub struct Page {
    start: usize,
}

impl Page {
    /// `memory` is all of the memory that rewriting has given a module.
    pub fn of(memory: &[u8]) -> Option<Page> {
        let start = memory.as_ptr() as usize;
        // A memory begins where the system's pages do, and 64 KiB are a multiple of any of their sizes on Linux.
        (memory.len() == PAGE_BYTES && start.is_multiple_of(PAGE_BYTES.min(4096))).then_some(Page { start })
    }

    /// The guest traps at the next check.
    pub fn close(&self) {
        self.protect(libc::PROT_READ);
    }

    /// The guest may run again.
    pub fn open(&self) {
        self.protect(libc::PROT_READ | libc::PROT_WRITE);
    }

    fn protect(&self, protection: libc::c_int) {
        // SAFETY: the bytes are those of a whole linear memory which wasmtime has mapped for this purpose alone: it was added
        // by `rewrite`, has a fixed size, so it neither moves nor grows, and is exported under a name that nothing else in
        // the component uses, so no code but the checks and `PLACE` writes to it. wasmtime itself only reads it, when
        // it lifts the list, and unmaps it with its store. Whoever holds a `Page` gives it up before the store: see
        // `Watch`, from whose list an instance's pages are taken first. A failure (no memory left for the kernel's books)
        // leaves the page as it is: the next tick tries again.
        #[allow(unsafe_code)]
        unsafe {
            libc::mprotect(self.start as *mut libc::c_void, PAGE_BYTES, protection);
        }
    }
}
