//! What a worker that runs models of strangers is kept from: files outside of its folder (landlock), the network, other
//! programs and other processes (seccomp). For the whole life of the process, and of what it starts.
//!
//! It may read what a runtime needs: the system's libraries, `/sys`, what `/proc` says of itself, the runtime's own folder; and open the devices
//! of accelerators. Not covered: what a bug of the kernel or of a device's driver allows, and how busy it keeps the processor.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope, path_beneath_rules,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Read by every program and runtime; of processes, its own alone.
const READ: [&str; 19] = [
    "/usr",
    "/lib",
    "/lib64",
    "/lib32",
    "/opt",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/dev/urandom",
    "/sys",
    "/proc/self",
    "/proc/sys",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/loadavg",
    "/proc/version",
    "/proc/uptime",
];
/// Read and written by every program, and by drivers of accelerators.
const WRITE: [&str; 10] = [
    "/dev/null",
    "/dev/zero",
    "/dev/shm",
    "/dev/dri",
    "/dev/kfd",
    "/dev/nvidia0",
    "/dev/nvidiactl",
    "/dev/nvidia-uvm",
    "/dev/nvidia-uvm-tools",
    "/dev/adsprpc-smd",
];
/// The largest file that it may write.
const LARGEST_FILE: u64 = 1 << 30;

/// What this system can keep a worker from, for a person; tried on a thread that ends.
///
/// # Errors
/// Why it can keep it from nothing.
pub fn available() -> Result<String, String> {
    let tried = std::thread::spawn(|| confine(&std::env::temp_dir(), &[])).join();
    tried.unwrap_or_else(|_| Err("trying it failed".to_owned()))
}

/// Keeps this thread, and all that it starts, from everything but reading `readable` and writing to `folder`. To be called before
/// there are other threads.
///
/// # Errors
/// If the system can't: then nothing is to be run here.
pub(super) fn confine(folder: &Path, readable: &[PathBuf]) -> Result<String, String> {
    limit_files().map_err(|error| format!("the size of files can't be limited: {error}"))?;
    drop_capabilities().map_err(|error| format!("capabilities can't be dropped: {error}"))?;
    let files = match files(folder, readable).map_err(|error| format!("landlock: {error}"))? {
        RulesetStatus::FullyEnforced => "landlock",
        RulesetStatus::PartiallyEnforced => "landlock of an older kernel",
        RulesetStatus::NotEnforced => return Err("this kernel has no landlock".to_owned()),
    };
    let calls = calls().map_err(|error| format!("seccomp: {error}"))?;
    seccompiler::apply_filter(&calls).map_err(|error| format!("seccomp: {error}"))?;
    Ok(format!("{files}, seccomp"))
}

fn limit_files() -> std::io::Result<()> {
    let limit = libc::rlimit { rlim_cur: LARGEST_FILE, rlim_max: LARGEST_FILE };
    // SAFETY: the structure lives through the call.
    match unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// What root may do beyond others, which leads past landlock to the memory of other processes.
fn drop_capabilities() -> std::io::Result<()> {
    // Version 3 of the call, of this thread: `linux/capability.h`. The kernel may write to it.
    let mut header = [0x2008_0522_u32, 0];
    let none = [0_u32; 6];
    // SAFETY: both structures have the size of version 3 and live through the call.
    match unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), none.as_ptr()) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn files(folder: &Path, readable: &[PathBuf]) -> Result<RulesetStatus, RulesetError> {
    let abi = ABI::V6;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    // A runtime's own libraries are mapped, not run as programs.
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .add_rules(path_beneath_rules(READ, read))?
        .add_rules(path_beneath_rules(readable, read))?
        .add_rules(path_beneath_rules(WRITE, AccessFs::from_all(abi)))?
        .add_rules(path_beneath_rules([folder], AccessFs::from_all(abi) & !AccessFs::Execute))?;
    Ok(rules.restrict_self()?.ruleset)
}

/// Refuses the calls that lead to other programs, other processes and the network; a runtime needs none of them.
fn calls() -> Result<BpfProgram, seccompiler::Error> {
    let refused = [
        libc::SYS_socket,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_pidfd_send_signal,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_setns,
        libc::SYS_unshare,
        libc::SYS_bpf,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_kexec_load,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_swapoff,
        libc::SYS_io_uring_setup,
        libc::SYS_userfaultfd,
        libc::SYS_tkill,
    ];
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = refused.into_iter().map(|call| (call, vec![])).collect();
    // Its own end (abort, exit of a thread) is its own affair.
    let own = u64::from(std::process::id());
    for call in [libc::SYS_kill, libc::SYS_tgkill] {
        let other = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, own)?;
        rules.insert(call, vec![SeccompRule::new(vec![other])?]);
    }
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let arch = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?.try_into()?)
}
