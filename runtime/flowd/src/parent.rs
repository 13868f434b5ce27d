//! `--die-with-parent`: no flowd outlives the test or the script that started it. The only unsafe code of this program.

use anyhow::{Result, bail};

/// Has the kernel end this process when the thread that started it ends.
pub fn die_with_it() -> Result<()> {
    // SAFETY: getppid and prctl(PR_SET_PDEATHSIG) take and give plain numbers, touch no memory of this process and have
    // no precondition.
    let (before, done, after) = unsafe {
        let before = libc::getppid();
        let done = libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong);
        (before, done, libc::getppid())
    };
    if done != 0 {
        bail!("--die-with-parent: {}", std::io::Error::last_os_error());
    }
    if before != after {
        bail!("--die-with-parent: the parent has already ended");
    }
    Ok(())
}
