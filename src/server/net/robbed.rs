//! Descriptors of the server's own that an application has closed, or put something else in the place of.

use rustix::io::Errno;

/// Ends the process if that is what a system call's error means. Nothing would be accepted any more, or nobody woken,
/// and whoever connects would wait; a master starts another worker.
pub(crate) fn end_if_robbed(error: Errno) {
    if matches!(
        error,
        Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP
    ) {
        tracing::error!(
            %error,
            cure = "look for what closes descriptors that it has not opened: os.closerange(), os.close(), os.dup2()",
            "a descriptor of the server's own was closed, or is another's now: process {} ends",
            std::process::id()
        );
        std::process::abort();
    }
}
