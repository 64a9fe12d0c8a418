//! The threads that operations are shared among.

/// Makes the calling thread one of those that operations are shared among; call it first thing in a program. Otherwise it
/// hands each operation over and sleeps until it is done, which takes longer than a small operation itself.
///
/// From then on no other thread of the program may start an operation, and wait for it, that this thread waits for in
/// turn. Where operations have run before, nothing changes.
pub fn use_current_thread_in_pool() {
    // All that can be wrong is that the threads are there already.
    let _ = rayon::ThreadPoolBuilder::new().use_current_thread().build_global();
}
