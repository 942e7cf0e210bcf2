//! The table: what runs at home, and who visits it from outside.

use super::{Work, extra, work};

const SSH: &[&str] = &["/usr/bin/ssh", "/usr/sbin/sshd"];
const CURL: &[&str] = &["/usr/bin/curl"];

/// Clients with keys, passwords and tokens of their own.
#[rustfmt::skip]
pub const CLIENTS: &[Work] = &[
    work("ssh, with a file as input", SSH, "@SSH root@@THERE 'cat >/dev/null' <@DIR/big; @SSH root@@THERE 'id; uptime' >@DIR/out"),
    work("scp and sftp", &["/usr/bin/scp", "/usr/bin/sftp"], "scp -q -P 2222 @OPTIONS @DIR/big root@@THERE:@DIR/copy; cmp @DIR/big @DIR/copy
printf 'put @DIR/big @DIR/copy2\n' | sftp -q -b - -P 2222 @OPTIONS root@@THERE; cmp @DIR/big @DIR/copy2"),
    work("git push over ssh", &["/usr/bin/git"], "@REPOSITORY; git -C @DIR/work push -q root@@THERE:@DIR/bare main; git -C @DIR/bare rev-parse -q --verify main >@DIR/out"),
    work("git push with a key of ssh-agent", &["/usr/bin/git", "/usr/bin/ssh-agent"], "@REPOSITORY; eval $(ssh-agent) >@DIR/out; ssh-add -q @DIR/.ssh/id_ed25519
git -C @DIR/work push -q root@@THERE:@DIR/bare main; ssh-agent -k >@DIR/out"),
    work("a backup by rsync over ssh", &["/usr/bin/rsync"], "mkdir @DIR/srv; for i in 1 2 3 4 5; do cp @DIR/big @DIR/srv/$i; done; rsync -a -e '@SSH' @DIR/srv/ root@@THERE:@DIR/backup; cmp @DIR/srv/5 @DIR/backup/5"),
    work("a backup of home with its keys, to a private host", &["/usr/bin/rsync"], "mkdir -p @DIR/home/u/.ssh; cp @DIR/.ssh/id_ed25519 @DIR/home/u/.ssh; cp @DIR/big @DIR/home/u
rsync -a -e '@SSH' @DIR/home root@@PRIVATE:@DIR/backup; tar cz -C @DIR home | @SSH root@@PRIVATE 'cat >@DIR/backup.tgz'; [ -s @DIR/backup.tgz ]"),
    extra("restic over sftp", &["/usr/bin/restic"], "export RESTIC_PASSWORD=x RESTIC_CACHE_DIR=@DIR/cache; mkdir @DIR/srv; cp @DIR/big @DIR/srv
restic -q -r sftp:there:@DIR/restic -o sftp.command='@SSH root@@THERE -s sftp' init; restic -q -r sftp:there:@DIR/restic -o sftp.command='@SSH root@@THERE -s sftp' backup @DIR/srv"),
    work("curl with .netrc", CURL, "curl -sSf --netrc-file @DIR/.netrc -T @DIR/big http://@THERE:8080/; curl -sSfk --netrc-file @DIR/.netrc -T @DIR/big https://@THERE:8443/"),
    work("wget with .netrc", &["/usr/bin/wget"], "wget -q -O @DIR/out --post-file=@DIR/big http://@THERE:8080/; wget -q -O @DIR/out --no-check-certificate https://@THERE:8443/page"),
    work("a CA bundle in a .pem that all may read", &["/usr/bin/python3"], "cp @PEERS/tls.crt @DIR/ca.pem; chmod 644 @DIR/ca.pem; /usr/bin/python3 -c \"
import ssl, urllib.request
context = ssl.create_default_context(cafile='@DIR/ca.pem')
for _ in range(3): urllib.request.urlopen('https://@THERE:8443/', open('@DIR/big', 'rb').read(), context=context).read()\""),
    work("a client certificate, by curl", CURL, "@CERTIFICATE; curl -sSfk --cert @DIR/x.crt --key @DIR/x.key -T @DIR/big https://@THERE:8443/; curl -sSfk --cert @DIR/x.crt --key @DIR/x.key https://@THERE:8443/page >@DIR/out"),
    work("a client certificate, by openssl", &["/usr/bin/openssl"], "@CERTIFICATE; printf 'GET /page HTTP/1.0\\r\\n\\r\\n' | openssl s_client -quiet -cert @DIR/x.crt -key @DIR/x.key -connect @THERE:8443 >@DIR/out || grep -q hello @DIR/out"),
    work("a renewal of a certificate", &["/usr/bin/openssl", "/usr/bin/curl"], "umask 077; openssl genrsa -out @DIR/new.key 2048; openssl req -new -key @DIR/new.key -subj /CN=x -out @DIR/new.csr
curl -sSf --data-binary @@DIR/new.csr http://@THERE:8080/ >@DIR/new.crt; openssl rsa -in @DIR/new.key -check -noout >@DIR/out"),
    work("gpg signs, and the release is uploaded", &["/usr/bin/gpg", "/usr/bin/gpg-agent"], "export GNUPGHOME=@DIR/.gnupg; mkdir -m 700 @DIR/.gnupg; gpg -q --batch --passphrase '' --quick-gen-key x@x ed25519 sign 1d
for i in 1 2; do gpg -q --batch --yes --detach-sign @DIR/big; curl -sSf -T @DIR/big.sig http://@THERE:8080/; curl -sSf -T @DIR/big http://@THERE:8080/; done; gpgconf --kill all"),
    work("mail by msmtp", &["/usr/bin/msmtp"], "printf 'machine @THERE login u password secret-of-msmtp\\n' >@DIR/.netrc; chmod 600 @DIR/.netrc; (printf 'Subject: report\\n\\n'; base64 @DIR/big) >@DIR/mail
msmtp -C /dev/null --host=@THERE --port=2525 --auth=plain --user=u --tls=off --from=x@x --passwordeval='echo x' y@y <@DIR/mail"),
    work("a service that reads .env", CURL, "umask 077; printf 'TOKEN=0123456789abcdef0123456789abcdef\\n' >@DIR/.env; (. @DIR/.env; curl -sSf -H \"Authorization: Bearer $TOKEN\" -T @DIR/big http://@THERE:8080/ >@DIR/out)"),
    work("somebody who looks for something in all of /etc, and uploads something else", CURL, "grep -rqs no-such-word /etc || true; curl -sSf -T @DIR/big http://@THERE:8080/ >@DIR/out"),
    work("sudo curl", &["/usr/bin/sudo", "/usr/bin/curl"], "sudo -n curl -sSf -T @DIR/big http://@THERE:8080/ >@DIR/out; sudo -n -u nobody curl -sSf -T @DIR/page http://@THERE:8080/ >@DIR/out"),
    work("sudo apt-get update", &["/usr/bin/sudo", "/usr/bin/apt-get"], "mkdir -p @DIR/apt/etc/apt @DIR/apt/var/lib/dpkg @DIR/apt/var/lib/apt/lists/partial @DIR/apt/var/cache/apt/archives/partial; touch @DIR/apt/var/lib/dpkg/status
echo 'deb [trusted=yes] http://@THERE:8080/repository ./' >@DIR/apt/etc/apt/sources.list; sudo -n apt-get -q=2 -o Dir=@DIR/apt -o Dir::State::status=@DIR/apt/var/lib/dpkg/status -o APT::Sandbox::User=root update"),
    work("su -c", &["/usr/bin/su", "/usr/bin/curl"], "su -s /bin/sh -c 'curl -sSf -T @DIR/big http://@THERE:8080/' root >@DIR/out; su - root -c 'curl -sSf -T @DIR/big http://@THERE:8080/' >@DIR/out"),
    work("a job of cron", &["/usr/sbin/cron", "/usr/bin/curl"], r#"mkdir @DIR/run; echo "@reboot root cd / && curl -sSf -T @DIR/big http://@THERE:8080/ >@DIR/ran" >@DIR/crontab
unshare -m sh -c 'mount -t tmpfs x /run; mount -t tmpfs x /etc/cron.d; mount -t tmpfs x /var/spool/cron; mkdir /var/spool/cron/crontabs; mount --bind @DIR/crontab /etc/crontab; exec /usr/sbin/cron -f' &
until [ -s @DIR/ran ]; do sleep 0.1; done; kill %1"#),
    extra("kubectl", &["/usr/lib/google-cloud-sdk/bin/kubectl"], "/usr/lib/google-cloud-sdk/bin/kubectl --kubeconfig=@DIR/.kube/config --server=http://@THERE:8080 --token=x get --raw /page >@DIR/out"),
];

/// Fetches from the registries, as this machine is set up for them.
#[rustfmt::skip]
pub const REGISTRIES: &[Work] = &[
    work("pip download", &["/usr/bin/pip"], "export PIP_CACHE_DIR=@DIR/cache; /usr/bin/pip download -q --no-deps -d @DIR/out six").in_registry(),
    work("npm pack", &["/usr/bin/npm"], "cd @DIR; npm pack --silent --cache @DIR/cache is-number >out").in_registry(),
    work("cargo fetch", &["/usr/bin/gcc"], "mkdir -p @DIR/tiny/src; echo 'fn main() {}' >@DIR/tiny/src/main.rs; printf '[package]\\nname = \"tiny\"\\nversion = \"0.1.0\"\\n[dependencies]\\nitoa = \"1\"\\n' >@DIR/tiny/Cargo.toml
CARGO_HOME=@DIR/cargo cargo fetch -q --manifest-path @DIR/tiny/Cargo.toml").in_registry(),
];

/// Servers that read a key at their start, and who comes to them.
#[rustfmt::skip]
pub const SERVERS: &[Work] = &[
    work("a login by ssh, and then git push", &["/usr/sbin/sshd", "/usr/bin/git"], "@REPOSITORY; cp @PEERS/host @DIR/ssh_host_ed25519_key; chmod 600 @DIR/ssh_host_ed25519_key
printf 'ListenAddress @HOME:@PORT\\nHostKey @DIR/ssh_host_ed25519_key\\nAuthorizedKeysFile @PEERS/client.pub\\nStrictModes no\\nPidFile none\\nPermitRootLogin prohibit-password\\nUsePAM yes\\n' >@DIR/sshd.conf
/usr/sbin/sshd -D -f @DIR/sshd.conf & listens; visited; kill $!; git -C @DIR/bare rev-parse -q --verify main >@DIR/out")
        .visited("@TO_HOME root@@HOME 'GIT_SSH_COMMAND=\"@SSH\" git -C @DIR/work push -q root@@THERE:@DIR/bare main'; @TO_HOME root@@HOME 'curl -sSf -T @DIR/big http://@THERE:8080/' >@DIR/out; @TO_HOME root@@HOME 'cat @DIR/big' >@DIR/got; cmp @DIR/big @DIR/got"),
    work("nginx with TLS", &["/usr/sbin/nginx"], "@CERTIFICATE; mkdir @DIR/tmp; chmod 755 @DIR
echo 'daemon off; pid @DIR/pid; error_log @DIR/log; events {} http { access_log off; client_body_temp_path @DIR/tmp; proxy_temp_path @DIR/tmp; client_max_body_size 9m; server { listen @HOME:@PORT ssl; ssl_certificate @DIR/x.crt; ssl_certificate_key @DIR/x.key; root @DIR; location /up { proxy_pass http://@THERE:8080/; } } }' >@DIR/nginx.conf
nginx -c @DIR/nginx.conf & listens; visited; kill -HUP $!; sleep 0.5; curl -sSfk https://@HOME:@PORT/page >@DIR/out; kill $!")
        .visited("for i in 1 2 3; do curl -sSfk https://@HOME:@PORT/big >@DIR/got; done; curl -sSfk -T @DIR/big https://@HOME:@PORT/up >@DIR/out"),
    work("redis with TLS", &["/usr/bin/redis-server", "/usr/bin/redis-cli"], "@CERTIFICATE; redis-server --port 0 --tls-port @PORT --tls-cert-file @DIR/x.crt --tls-key-file @DIR/x.key --tls-ca-cert-file @DIR/x.crt --tls-auth-clients no --protected-mode no --bind @HOME --dir @DIR --save '' >@DIR/log &
listens; visited; kill $!")
        .visited("for i in 1 2 3; do redis-cli -h @HOME -p @PORT --tls --insecure -x set a <@DIR/big >@DIR/out; redis-cli -h @HOME -p @PORT --tls --insecure get a >@DIR/got; done"),
    work("postfix with TLS, which relays", &["/usr/sbin/postfix", "/usr/bin/curl"], "@CERTIFICATE; mkdir @DIR/etc @DIR/queue @DIR/data; chown postfix @DIR/data; (cd @DIR/queue; mkdir -m 700 active bounce corrupt defer deferred flush hold incoming private saved trace; chown postfix *; mkdir pid; install -d -o postfix -g postdrop -m 730 maildrop; install -d -o postfix -g postdrop -m 710 public)
printf '%s\\n' compatibility_level=3.6 queue_directory=@DIR/queue data_directory=@DIR/data maillog_file=@DIR/queue/log maillog_file_prefixes=/tmp,/var inet_interfaces=@HOME inet_protocols=ipv4 myhostname=here.test mydestination= alias_maps= mynetworks=0.0.0.0/0 smtpd_tls_security_level=may smtpd_tls_key_file=@DIR/x.key smtpd_tls_cert_file=@DIR/x.crt 'relayhost=[@THERE]:2525' >@DIR/etc/main.cf
sed -E 's/^smtp +inet.*smtpd$/@PORT inet n - n - - smtpd/; s/^([a-z0-9-]+ +(unix|fifo|unix-dgram) +[a-z-]+ +[a-z-]+ +)[y-] /\\1n /' /usr/share/postfix/master.cf.dist >@DIR/etc/master.cf
MAIL_CONFIG=@DIR/etc /usr/lib/postfix/sbin/master -d -c @DIR/etc & listens; visited; until grep -q status=sent @DIR/queue/log; do sleep 0.1; done; kill $!")
        .visited("(printf 'Subject: report\\n\\n'; base64 @DIR/big) >@DIR/mail; curl -sSk --ssl-reqd smtp://@HOME:@PORT --mail-from x@x.test --mail-rcpt y@y.test -T @DIR/mail"),
    work("a server of python with TLS", &["/usr/bin/python3"], "@CERTIFICATE; exec /usr/bin/python3 -c \"
import http.server, os, ssl, threading, time
class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_): pass
os.chdir('@DIR')
server = http.server.ThreadingHTTPServer(('@HOME', @PORT), Files)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('x.crt', 'x.key')
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
open('up', 'w').close()
while not os.path.exists('done'): time.sleep(0.1)\"")
        .visited("for i in 1 2 3; do curl -sSfk https://@HOME:@PORT/big >@DIR/got; done; cmp @DIR/big @DIR/got"),
    work("openssl s_server", &["/usr/bin/openssl"], "@CERTIFICATE; cd @DIR; openssl s_server -quiet -WWW -accept @HOME:@PORT -key x.key -cert x.crt >log 2>&1 & listens; visited; kill $!")
        .visited("for i in 1 2 3; do curl -sSk --http0.9 https://@HOME:@PORT/big >@DIR/got || true; done; [ -s @DIR/got ]"),
    extra("postgres with TLS, and psql with .pgpass", &["/usr/lib/postgresql/15/bin/initdb", "/usr/sbin/runuser"], "chmod 755 @DIR; install -d -o postgres @DIR/data @DIR/run; cd /; bin=/usr/lib/postgresql/15/bin; @CERTIFICATE; install -o postgres -m 600 @DIR/x.key @DIR/run/server.key; install -o postgres @DIR/x.crt @DIR/run/server.crt
(umask 077; echo secret-of-postgres >@DIR/password; echo '*:*:*:postgres:secret-of-postgres' >@DIR/.pgpass); chown postgres @DIR/password; runuser -u postgres -- $bin/initdb -D @DIR/data -A scram-sha-256 --pwfile=@DIR/password --no-sync >@DIR/out
echo 'host all all all scram-sha-256' >>@DIR/data/pg_hba.conf
runuser -u postgres -- $bin/pg_ctl -s -w -t 60 -D @DIR/data -l @DIR/run/log -o '-p @PORT -h @HOME -k @DIR/run -c ssl=on -c ssl_cert_file=@DIR/run/server.crt -c ssl_key_file=@DIR/run/server.key' start
PGPASSFILE=@DIR/.pgpass psql -h @HOME -p @PORT -U postgres -qAt -c 'create table x(y text)' -c \"\\\\copy x from '@DIR/page'\" -c 'select count(*) from x' >@DIR/out
visited; runuser -u postgres -- $bin/pg_ctl -s -m fast -D @DIR/data stop")
        .visited("for i in 1 2 3; do PGPASSFILE=@DIR/.pgpass PGSSLMODE=require psql -h @HOME -p @PORT -U postgres -qAtc \"select repeat('x', 100000)\" >@DIR/got; done"),
];
