//! The allocator of a guest.
//!
//! A call lives for microseconds in a memory of its own, and most of what it does is reading and
//! writing JSON: thousands of small pieces. So the first MiB is handed out one piece after the
//! other and is not taken back, which takes a few instructions a piece; a call that needs more goes
//! on with the allocator of Rust's standard library, which takes back what is freed. With that one
//! alone a call of AppService took a third longer.
#![expect(
    unsafe_code,
    reason = "an allocator is unsafe by nature; the contract is at each block"
)]

use core::arch::wasm32::{memory_grow, memory_size};
use core::cell::Cell;
use std::alloc::{GlobalAlloc, Layout, System};

const PAGE: usize = 64 * 1024;
/// Pages by which the zone grows.
const STEP: usize = 4;
/// Bytes of the zone at most.
const MOST: usize = 1024 * 1024;

#[global_allocator]
static ALLOCATOR: Zone = Zone::new();

/// Memory from `start` to `end`, of which nothing is taken before `at`.
struct Zone {
    start: Cell<usize>,
    at: Cell<usize>,
    end: Cell<usize>,
}

// SAFETY: a guest has one thread.
unsafe impl Sync for Zone {}

impl Zone {
    const fn new() -> Self {
        Self {
            start: Cell::new(0),
            at: Cell::new(0),
            end: Cell::new(0),
        }
    }

    /// The address of so many bytes, if the zone has them or can grow.
    #[inline]
    fn take(&self, layout: Layout) -> Option<usize> {
        loop {
            let address = self.at.get().checked_next_multiple_of(layout.align())?;
            let after = address.checked_add(layout.size())?;
            if after <= self.end.get() {
                self.at.set(after);
                return Some(address);
            }
            self.grow(after)?;
        }
    }

    /// Grows until the zone has that address, but only where it ends the memory.
    #[cold]
    fn grow(&self, until: usize) -> Option<()> {
        let memory = memory_size(0).checked_mul(PAGE)?;
        if self.end.get() == 0 {
            self.start.set(memory);
            self.at.set(memory);
            self.end.set(memory);
            return Some(());
        }
        let bytes = until.checked_sub(self.end.get())?;
        let pages = bytes.div_ceil(PAGE).max(STEP);
        let end = self.end.get().checked_add(pages.checked_mul(PAGE)?)?;
        let fits = memory == self.end.get() && end - self.start.get() <= MOST;
        if !fits || memory_grow(0, pages) == usize::MAX {
            return None;
        }
        self.end.set(end);
        Some(())
    }

    /// Whether a piece is of the zone.
    #[inline]
    fn has(&self, address: usize) -> bool {
        (self.start.get()..self.end.get()).contains(&address)
    }

    /// Whether a piece was the last one that was taken.
    #[inline]
    fn is_last(&self, address: usize, size: usize) -> bool {
        address + size == self.at.get()
    }
}

// SAFETY: pieces of the zone do not overlap: `at` only goes back to the beginning of the last piece,
// when that is freed or made smaller. Everything else is the business of the other allocator, whose
// pieces are never in the zone: it grows the memory behind the zone, and then the zone ends there.
unsafe impl GlobalAlloc for Zone {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.take(layout) {
            Some(address) => core::ptr::with_exposed_provenance_mut(address),
            // SAFETY: the caller's promise is the same.
            None => unsafe { System.alloc(layout) },
        }
    }

    #[inline]
    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        let address = piece.addr();
        if !self.has(address) {
            // SAFETY: what is not of the zone came from there.
            unsafe { System.dealloc(piece, layout) };
        } else if self.is_last(address, layout.size()) {
            self.at.set(address);
        }
    }

    #[inline]
    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let address = piece.addr();
        if !self.has(address) {
            // SAFETY: what is not of the zone came from there.
            return unsafe { System.realloc(piece, layout, size) };
        }
        if self.is_last(address, layout.size()) && size <= self.end.get() - address {
            self.at.set(address + size);
            return piece;
        }
        if size <= layout.size() {
            return piece;
        }
        // SAFETY: the caller promises that the new size makes a layout; the new piece is larger than
        // the old one, and another.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                core::ptr::copy_nonoverlapping(piece, new, layout.size());
            }
            new
        }
    }
}
