//! Programs that give shells to whoever comes over the network, because that is what they are for.
//!
//! They count by their identity: the program that root installed at this path, started without a
//! preloaded library and not traced. Another program of the same name does not.

use crate::{process_table::Process, rules::identity::is_trusted_as};

/// Where distributions install them: OpenSSH and its sessions, other remote logins, and what runs
/// containers, whose administrators ask for shells inside.
#[rustfmt::skip]
const LOGIN_SERVICES: &[&[u8]] = &[
    b"/usr/sbin/sshd", b"/usr/lib/openssh/sshd-session", b"/usr/libexec/openssh/sshd-session",
    b"/usr/lib/ssh/sshd-session", b"/usr/libexec/sshd-session",
    b"/usr/sbin/dropbear", b"/usr/bin/mosh-server", b"/usr/sbin/in.telnetd", b"/usr/sbin/telnetd",
    b"/usr/libexec/telnetd", b"/usr/sbin/tailscaled", b"/usr/bin/etserver",
    b"/usr/lib/cockpit/cockpit-ws", b"/usr/libexec/cockpit-ws",
    b"/usr/bin/dockerd", b"/usr/sbin/dockerd", b"/usr/bin/containerd",
    b"/usr/bin/containerd-shim-runc-v2", b"/usr/bin/crio", b"/usr/bin/conmon",
    b"/usr/libexec/crio/conmon", b"/usr/bin/kubelet", b"/usr/bin/podman",
];

/// Whether `process` is one.
pub(super) fn is_login_service(process: &Process) -> bool {
    LOGIN_SERVICES.iter().any(|path| is_trusted_as(process, path))
}
