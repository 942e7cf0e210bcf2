//! Programs that read secrets of their own, for their own service. By path, which counts only where
//! nobody but root could have put another program, and none is preloaded or traced.

use sentinel_ipc::file_class::{bit, class};

use crate::{process_table::Process, rules::identity::is_trusted_as};

/// Keys that a server presents to its clients.
const SERVERS: u32 = bit(class::PRIVATE_KEY) | bit(class::SSH_HOST_KEY);
/// What authentication asks for: whoever it lets in has nothing of it.
const AUTHENTICATION: u32 =
    bit(class::PASSWORD_HASHES) | bit(class::SUDOERS) | bit(class::SSH_HOST_KEY);
const SSH: u32 = bit(class::SSH_KEY) | bit(class::SSH_HOST_KEY);
const CLOUD: u32 = bit(class::CLOUD_CREDENTIALS);
const CLIENT: u32 = bit(class::CLIENT_CREDENTIALS);
const CLIENT_WITH_KEY: u32 = CLIENT | bit(class::PRIVATE_KEY);
const STORES: u32 =
    bit(class::PASSWORD_STORE) | bit(class::BROWSER_STORE) | bit(class::PRIVATE_KEY);
const REGISTRY: u32 = CLOUD | CLIENT;

/// A program, and the classes of files that are its own.
#[rustfmt::skip]
const PROGRAMS: &[(&str, u32)] = &[
    // Who lets people in.
    ("/usr/bin/sudo", AUTHENTICATION), ("/usr/bin/sudo-rs", AUTHENTICATION),
    ("/usr/bin/su", AUTHENTICATION), ("/bin/su", AUTHENTICATION), ("/usr/bin/su-rs", AUTHENTICATION),
    ("/usr/bin/doas", AUTHENTICATION), ("/usr/bin/pkexec", AUTHENTICATION),
    ("/usr/bin/login", AUTHENTICATION), ("/bin/login", AUTHENTICATION),
    ("/usr/bin/passwd", AUTHENTICATION), ("/usr/sbin/unix_chkpwd", AUTHENTICATION),
    ("/sbin/unix_chkpwd", AUTHENTICATION), ("/usr/sbin/sshd", AUTHENTICATION),
    ("/usr/lib/openssh/sshd-session", AUTHENTICATION), ("/usr/lib/openssh/sshd-auth", AUTHENTICATION),
    ("/usr/libexec/openssh/sshd-session", AUTHENTICATION),
    ("/usr/libexec/openssh/sshd-auth", AUTHENTICATION), ("/usr/sbin/cron", AUTHENTICATION),
    ("/usr/sbin/crond", AUTHENTICATION), ("/usr/bin/crontab", AUTHENTICATION),
    ("/usr/sbin/atd", AUTHENTICATION), ("/usr/sbin/runuser", AUTHENTICATION),
    ("/sbin/runuser", AUTHENTICATION), ("/usr/bin/runuser", AUTHENTICATION),
    ("/usr/bin/newgrp", AUTHENTICATION), ("/usr/bin/chsh", AUTHENTICATION),
    ("/usr/bin/chfn", AUTHENTICATION), ("/usr/bin/chage", AUTHENTICATION),
    ("/usr/bin/systemd", AUTHENTICATION), ("/usr/lib/systemd/systemd", AUTHENTICATION),
    ("/lib/systemd/systemd", AUTHENTICATION), ("/usr/lib/systemd/systemd-executor", AUTHENTICATION),
    ("/usr/libexec/polkit-agent-helper-1", AUTHENTICATION),
    ("/usr/lib/polkit-1/polkit-agent-helper-1", AUTHENTICATION),
    // Clients whose keys prove who they are, and do not leave.
    ("/usr/bin/ssh", SSH), ("/usr/bin/ssh-add", SSH), ("/usr/bin/ssh-agent", SSH),
    ("/usr/bin/ssh-keygen", SSH), ("/usr/lib/openssh/ssh-keysign", SSH),
    ("/usr/libexec/openssh/ssh-keysign", SSH),
    ("/usr/bin/gpg", bit(class::PRIVATE_KEY)), ("/usr/bin/gpg-agent", bit(class::PRIVATE_KEY)),
    // Clients that send a password or token to the service that it is for.
    ("/usr/bin/kubectl", CLOUD), ("/usr/local/bin/kubectl", CLOUD), ("/usr/bin/helm", CLOUD),
    ("/usr/local/bin/helm", CLOUD), ("/usr/bin/kubelet", CLOUD | bit(class::PRIVATE_KEY)),
    ("/usr/bin/docker", CLOUD), ("/usr/bin/podman", CLOUD), ("/usr/bin/skopeo", CLOUD),
    ("/usr/bin/buildah", CLOUD), ("/usr/bin/terraform", CLOUD), ("/usr/local/bin/aws", CLOUD),
    ("/usr/local/aws-cli/v2/current/dist/aws", CLOUD), ("/usr/bin/gh", CLIENT),
    ("/usr/bin/git", CLIENT), ("/usr/lib/git-core/git", CLIENT),
    ("/usr/lib/git-core/git-remote-http", CLIENT), ("/usr/libexec/git-core/git-remote-http", CLIENT),
    ("/usr/lib/git-core/git-credential-store", CLIENT),
    ("/usr/libexec/git-core/git-credential-store", CLIENT), ("/usr/libexec/git-core/git", CLIENT),
    ("/usr/bin/curl", CLIENT), ("/usr/bin/wget", CLIENT), ("/usr/bin/ftp", CLIENT),
    ("/usr/bin/lftp", CLIENT), ("/usr/bin/cargo", CLIENT), ("/usr/bin/fetchmail", CLIENT_WITH_KEY),
    ("/usr/bin/msmtp", CLIENT), ("/usr/bin/psql", CLIENT_WITH_KEY),
    ("/usr/lib/postgresql/16/bin/psql", CLIENT_WITH_KEY), ("/usr/bin/pg_dump", CLIENT_WITH_KEY),
    ("/usr/lib/postgresql/15/bin/psql", CLIENT_WITH_KEY),
    ("/usr/lib/postgresql/17/bin/psql", CLIENT_WITH_KEY),
    ("/usr/bin/mysql", CLIENT_WITH_KEY), ("/usr/bin/mariadb", CLIENT_WITH_KEY),
    ("/usr/bin/mysqldump", CLIENT_WITH_KEY), ("/usr/bin/mariadb-dump", CLIENT_WITH_KEY),
    // Where people keep passwords.
    ("/usr/lib/firefox/firefox", STORES), ("/usr/lib64/firefox/firefox", STORES),
    ("/usr/lib/firefox-esr/firefox-esr", STORES), ("/usr/lib/thunderbird/thunderbird", STORES),
    ("/usr/lib64/thunderbird/thunderbird", STORES), ("/usr/lib/chromium/chromium", STORES),
    ("/usr/lib64/chromium-browser/chromium-browser", STORES), ("/opt/google/chrome/chrome", STORES),
    ("/usr/bin/gnome-keyring-daemon", STORES), ("/usr/bin/keepassxc", STORES),
    // Servers.
    ("/usr/sbin/nginx", SERVERS), ("/usr/sbin/apache2", SERVERS), ("/usr/sbin/httpd", SERVERS),
    ("/usr/sbin/haproxy", SERVERS), ("/usr/sbin/lighttpd", SERVERS), ("/usr/bin/caddy", SERVERS),
    ("/usr/bin/traefik", SERVERS), ("/usr/bin/stunnel4", SERVERS), ("/usr/bin/stunnel", SERVERS),
    ("/usr/bin/redis-server", SERVERS), ("/usr/bin/valkey-server", SERVERS),
    ("/usr/sbin/mysqld", SERVERS), ("/usr/sbin/mariadbd", SERVERS), ("/usr/bin/postgres", SERVERS),
    ("/usr/lib/postgresql/15/bin/postgres", SERVERS), ("/usr/lib/postgresql/16/bin/postgres", SERVERS),
    ("/usr/lib/postgresql/17/bin/postgres", SERVERS), ("/usr/bin/mongod", SERVERS),
    ("/usr/sbin/dovecot", SERVERS), ("/usr/lib/dovecot/config", SERVERS),
    ("/usr/libexec/dovecot/config", SERVERS), ("/usr/lib/dovecot/imap-login", SERVERS),
    ("/usr/lib/postfix/sbin/smtpd", SERVERS), ("/usr/lib/postfix/sbin/smtp", SERVERS),
    ("/usr/lib/postfix/sbin/tlsmgr", SERVERS), ("/usr/libexec/postfix/smtpd", SERVERS),
    ("/usr/libexec/postfix/smtp", SERVERS), ("/usr/sbin/exim4", SERVERS), ("/usr/sbin/exim", SERVERS),
    ("/usr/sbin/sendmail", SERVERS), ("/usr/sbin/slapd", SERVERS), ("/usr/sbin/named", SERVERS),
    ("/usr/sbin/unbound", SERVERS), ("/usr/sbin/openvpn", SERVERS),
    ("/usr/lib/ipsec/charon", SERVERS), ("/usr/libexec/strongswan/charon", SERVERS),
    ("/usr/sbin/rsyslogd", SERVERS), ("/usr/sbin/vsftpd", SERVERS), ("/usr/sbin/proftpd", SERVERS),
    ("/usr/bin/vault", SERVERS), ("/usr/bin/etcd", SERVERS), ("/usr/bin/dockerd", SERVERS | CLOUD),
    ("/usr/bin/containerd", SERVERS | CLOUD), ("/usr/sbin/NetworkManager", SERVERS),
    ("/usr/sbin/wpa_supplicant", SERVERS), ("/usr/bin/certbot", SERVERS),
];

/// A script in a directory of programs, and the classes of files that are its own.
const SCRIPTS: &[(&str, u32)] = &[
    ("aws", CLOUD),
    ("az", CLOUD),
    ("gcloud", CLOUD),
    ("gsutil", CLOUD),
    ("openstack", CLOUD),
    ("npm", REGISTRY),
    ("npx", REGISTRY),
    ("yarn", REGISTRY),
    ("pnpm", REGISTRY),
    ("pip", CLIENT),
    ("pip3", CLIENT),
    ("twine", CLIENT),
    ("poetry", CLIENT),
    ("certbot", SERVERS),
    ("ansible", SSH),
];
const DIRECTORIES: [&str; 3] = ["/usr/bin/", "/usr/local/bin/", "/bin/"];

/// Whether secrets of `class` are what the process's program reads for its own service.
pub(super) fn is_own(process: &Process, class: u32) -> bool {
    let has = |classes: &u32| classes & bit(class) != 0;
    PROGRAMS.iter().any(|(path, own)| has(own) && is_trusted_as(process, path.as_bytes()))
        || script_of(process).is_some_and(|name| {
            SCRIPTS.iter().any(|(listed, own)| has(own) && listed.as_bytes() == name)
        })
}

/// Whether a server has secrets of `class` for its clients.
pub(super) fn is_servers(class: u32) -> bool {
    SERVERS & bit(class) != 0
}

/// The name of the script that a trusted interpreter runs, if it is called as one in a directory of
/// programs.
fn script_of(process: &Process) -> Option<&[u8]> {
    let identity = &process.image.as_ref()?.identity;
    identity.sound_path().filter(|_| !process.was_traced)?;
    let script = identity.sound_script()?;
    let mut names = DIRECTORIES.iter().filter_map(|one| script.strip_prefix(one.as_bytes()));
    names.next()
}
