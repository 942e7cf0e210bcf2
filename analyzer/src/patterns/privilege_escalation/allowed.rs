//! Programs that are installed to give rights, and those that read credential files and become root for
//! a living. By path, which counts only where nobody but root could have put another program.

use super::gain::{Gain, IPC_LOCK, NET_ADMIN, NET_BIND_SERVICE, NET_RAW, SETGID, SETUID, SYS_NICE};
use crate::event::Abi;

/// Whatever there is.
const ALL: u64 = u64::MAX;

/// setuid(2), setreuid(2) and setresuid(2) of x86-64 and arm64, their 32-bit and x32 forms.
#[rustfmt::skip]
pub(super) const SET_UID: &[(Abi, u16)] = if cfg!(target_arch = "x86_64") {
    &[
        (Abi::Native, 105), (Abi::Native, 113), (Abi::Native, 117),
        (Abi::X32, 105), (Abi::X32, 113), (Abi::X32, 117),
        (Abi::Compat, 23), (Abi::Compat, 70), (Abi::Compat, 164),
        (Abi::Compat, 203), (Abi::Compat, 208), (Abi::Compat, 213),
    ]
} else {
    &[
        (Abi::Native, 145), (Abi::Native, 146), (Abi::Native, 147),
        (Abi::Compat, 23), (Abi::Compat, 70), (Abi::Compat, 164),
        (Abi::Compat, 203), (Abi::Compat, 208), (Abi::Compat, 213),
    ]
};

/// Directories of programs; `/bin` and `/sbin` of systems that keep them apart.
const DIRECTORIES: &[&str] = &["/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/"];

/// Names in those directories, and the capabilities that they may give.
#[rustfmt::skip]
const PROGRAMS: &[(&str, u64)] = &[
    ("sudo", ALL), ("sudo-rs", ALL), ("su", ALL), ("su-rs", ALL), ("doas", ALL), ("pkexec", ALL),
    ("run0", ALL), ("ksu", ALL), ("sg", ALL), ("newgrp", ALL), ("passwd", ALL), ("chsh", ALL),
    ("chfn", ALL), ("gpasswd", ALL), ("chage", ALL), ("expiry", ALL), ("unix_chkpwd", ALL),
    ("unix_update", ALL), ("pam_timestamp_check", ALL), ("pwdb_chkpwd", ALL), ("mount", ALL),
    ("umount", ALL), ("mount.nfs", ALL), ("mount.cifs", ALL), ("mount.davfs", ALL),
    ("mount.ecryptfs_private", ALL), ("umount.udisks2", ALL), ("fusermount", ALL),
    ("fusermount3", ALL), ("ntfs-3g", ALL), ("crontab", ALL), ("at", ALL), ("atd", ALL),
    ("userhelper", ALL), ("usernetctl", ALL), ("grub2-set-bootflag", ALL), ("vmware-user", ALL),
    ("exim4", ALL), ("exim", ALL), ("sendmail", ALL), ("postdrop", ALL), ("postqueue", ALL),
    ("pppd", ALL), ("bwrap", ALL), ("Xorg", ALL), ("screen", ALL), ("staprun", ALL),
    ("singularity", ALL), ("apptainer", ALL), ("ubuntu-core-launcher", ALL), ("nvidia-modprobe", ALL),
    ("newuidmap", SETUID), ("newgidmap", SETGID),
    ("ping", NET_RAW), ("ping4", NET_RAW), ("ping6", NET_RAW), ("arping", NET_RAW),
    ("clockdiff", NET_RAW), ("traceroute6.iputils", NET_RAW), ("fping", NET_RAW),
    ("mtr-packet", NET_RAW), ("tracepath", NET_RAW), ("dumpcap", NET_RAW | NET_ADMIN),
    ("gnome-keyring-daemon", IPC_LOCK), ("kwin_wayland", SYS_NICE),
];

/// Helpers, by their whole paths.
#[rustfmt::skip]
const HELPERS: &[(&str, u64)] = &[
    ("/usr/lib/dbus-1.0/dbus-daemon-launch-helper", ALL),
    ("/usr/libexec/dbus-1/dbus-daemon-launch-helper", ALL),
    ("/usr/lib64/dbus-1/dbus-daemon-launch-helper", ALL),
    ("/usr/lib/polkit-1/polkit-agent-helper-1", ALL),
    ("/usr/libexec/polkit-agent-helper-1", ALL),
    ("/usr/lib/policykit-1/polkit-agent-helper-1", ALL),
    ("/usr/lib/openssh/ssh-keysign", ALL),
    ("/usr/libexec/openssh/ssh-keysign", ALL),
    ("/usr/lib/ssh/ssh-keysign", ALL),
    ("/usr/lib/snapd/snap-confine", ALL),
    ("/usr/libexec/snapd/snap-confine", ALL),
    ("/usr/lib/xorg/Xorg.wrap", ALL),
    ("/usr/libexec/Xorg.wrap", ALL),
    ("/usr/lib/eject/dmcrypt-get-device", ALL),
    ("/usr/libexec/sssd/krb5_child", ALL),
    ("/usr/libexec/sssd/ldap_child", ALL),
    ("/usr/libexec/sssd/proxy_child", ALL),
    ("/usr/libexec/sssd/selinux_child", ALL),
    ("/usr/libexec/spice-gtk-x86_64/spice-client-glib-usb-acl-helper", ALL),
    ("/usr/libexec/qemu-bridge-helper", ALL),
    ("/usr/lib/qemu/qemu-bridge-helper", ALL),
    ("/usr/libexec/cockpit-session", ALL),
    ("/usr/lib/cockpit/cockpit-session", ALL),
    ("/usr/lib/x86_64-linux-gnu/utempter/utempter", ALL),
    ("/usr/libexec/utempter/utempter", ALL),
    ("/usr/lib/x86_64-linux-gnu/gstreamer1.0/gstreamer-1.0/gst-ptp-helper", NET_BIND_SERVICE | NET_ADMIN),
    ("/usr/lib/aarch64-linux-gnu/gstreamer1.0/gstreamer-1.0/gst-ptp-helper", NET_BIND_SERVICE | NET_ADMIN),
    ("/usr/libexec/gstreamer-1.0/gst-ptp-helper", NET_BIND_SERVICE | NET_ADMIN | SYS_NICE),
];

/// Where packages put helpers of their programs.
const HELPERS_PLACES: &[&str] = &["/usr/lib/", "/usr/lib64/", "/usr/libexec/", "/opt/"];

/// Who reads hashed passwords and sudoers, becomes root and starts a program, as its work.
#[rustfmt::skip]
pub(super) const READERS: &[&str] = &[
    "/usr/bin/sudo", "/usr/bin/sudo-rs", "/usr/bin/su", "/usr/bin/su-rs", "/bin/su", "/usr/bin/doas",
    "/usr/bin/pkexec", "/usr/bin/login", "/bin/login", "/usr/bin/passwd", "/usr/bin/newgrp",
    "/usr/bin/sg", "/usr/bin/chsh", "/usr/bin/chfn", "/usr/bin/gpasswd", "/usr/bin/chage",
    "/usr/bin/crontab", "/usr/bin/at", "/usr/sbin/sshd", "/usr/lib/openssh/sshd-session",
    "/usr/lib/openssh/sshd-auth", "/usr/libexec/openssh/sshd-session",
    "/usr/libexec/openssh/sshd-auth", "/usr/sbin/cron", "/usr/sbin/crond", "/usr/sbin/anacron",
    "/usr/sbin/atd", "/usr/sbin/runuser", "/sbin/runuser", "/usr/bin/runuser", "/usr/sbin/unix_chkpwd",
    "/sbin/unix_chkpwd", "/usr/bin/systemd", "/usr/lib/systemd/systemd", "/lib/systemd/systemd",
    "/usr/lib/systemd/systemd-executor", "/usr/lib/systemd/systemd-userdbd",
    "/usr/lib/systemd/systemd-userwork", "/usr/sbin/useradd", "/usr/sbin/userdel",
    "/usr/sbin/usermod", "/usr/sbin/groupadd", "/usr/sbin/groupdel", "/usr/sbin/groupmod",
    "/usr/sbin/chpasswd", "/usr/sbin/chgpasswd", "/usr/sbin/newusers", "/usr/sbin/pwconv",
    "/usr/sbin/grpconv", "/usr/sbin/pwck", "/usr/sbin/grpck", "/usr/sbin/vipw", "/usr/sbin/visudo",
    "/usr/sbin/lightdm", "/usr/sbin/gdm3", "/usr/sbin/gdm", "/usr/libexec/gdm-session-worker",
    "/usr/lib/gdm3/gdm-session-worker", "/usr/bin/sddm", "/usr/libexec/sddm-helper",
    "/usr/libexec/accounts-daemon", "/usr/lib/accountsservice/accounts-daemon",
    "/usr/libexec/polkit-agent-helper-1", "/usr/lib/polkit-1/polkit-agent-helper-1",
    "/usr/sbin/vsftpd", "/usr/sbin/proftpd", "/usr/sbin/dovecot", "/usr/lib/dovecot/auth",
    "/usr/libexec/dovecot/auth", "/usr/sbin/saslauthd", "/usr/libexec/cockpit-session",
    // It asks for the password again when it locks a terminal.
    "/usr/bin/screen", "/usr/bin/vlock", "/usr/sbin/dropbear", "/usr/sbin/xrdp-sesman", "/usr/sbin/smbd",
];

/// Whether the program at `path`, which root installed there, may give these rights.
pub(super) fn may_give(path: &[u8], gain: &Gain) -> bool {
    let name = |directory: &&str| path.strip_prefix(directory.as_bytes());
    let is_named = |name: &[u8], listed: &str| listed.as_bytes() == name;
    let name = DIRECTORIES.iter().find_map(name);
    let by_name = PROGRAMS.iter().find(|(listed, _)| name.is_some_and(|it| is_named(it, listed)));
    let by_path = HELPERS.iter().find(|(listed, _)| is_named(path, listed));
    by_name
        .or(by_path)
        .is_some_and(|&(_, may)| may == ALL || !gain.is_root && gain.capabilities & !may == 0)
}

/// Whether a package's helper may lie there.
pub(super) fn is_helpers_place(path: &[u8]) -> bool {
    HELPERS_PLACES.iter().any(|place| path.starts_with(place.as_bytes()))
}
