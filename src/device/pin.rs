//! Pins the worker to cores, so that the scheduler does not move it in the middle of a run.

/// Pins the calling thread, and the threads that it starts from now on, to these cores.
///
/// # Errors
/// One sentence that names a core that is not there, or says that this system can't.
#[cfg(target_os = "linux")]
pub(super) fn pin_to(cores: &[usize]) -> Result<(), String> {
    // SAFETY: a set of cores is plain bits; all zeros is the empty set.
    let (mut set, mut allowed) = unsafe { std::mem::zeroed::<(libc::cpu_set_t, libc::cpu_set_t)>() };
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: the set is as large as is said, and lives through the call.
    if unsafe { libc::sched_getaffinity(0, size, &mut allowed) } != 0 {
        return Err(format!("can't tell which cores may be used: {}", std::io::Error::last_os_error()));
    }
    for &core in cores {
        // SAFETY: the core's number is within the set.
        if core >= 8 * size || !unsafe { libc::CPU_ISSET(core, &allowed) } {
            return Err(format!("can't be pinned to core {core}: it is not there, or this process may not use it"));
        }
        // SAFETY: as above.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    // SAFETY: the set is as large as is said, and lives through the call.
    if unsafe { libc::sched_setaffinity(0, size, &set) } != 0 {
        return Err(format!("can't be pinned to cores {cores:?}: {}", std::io::Error::last_os_error()));
    }
    Ok(())
}

/// Only Linux has this.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub(super) fn pin_to(cores: &[usize]) -> Result<(), String> {
    Err(format!("can't be pinned to cores {cores:?}: this works on Linux only"))
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_pinned_or_the_core_is_named() {
        std::thread::spawn(|| {
            assert!(pin_to(&[100_000]).unwrap_err().starts_with("can't be pinned to core 100000: it is not there"));
            let before = std::thread::available_parallelism().unwrap().get();
            let first = (0..1024).find(|&core| pin_to(&[core]).is_ok()).unwrap();
            assert_eq!(std::thread::available_parallelism().unwrap().get(), 1, "core {first} of {before}");
        })
        .join()
        .unwrap();
    }
}
