//! Real attacks for each rule of the library, by shell commands on copies of the system's directories.

/// Rule, and commands of which each must raise it.
pub const ATTACKS: &[(&str, &[&str])] = &[
    (
        "password_hashes_read",
        &[
            "cat /etc/shadow >/dev/null",
            "exec 3</etc/shadow; cat <&3 >/dev/null",
            "cp /etc/shadow $top/s",
            "tar cf $top/s.tar /etc/shadow 2>/dev/null",
            "mv /etc/shadow /etc/harmless; cat /etc/harmless >/dev/null",
            "cp /usr/bin/cat $top/passwd; exec -a passwd $top/passwd /etc/shadow >/dev/null",
        ],
    ),
    (
        "ssh_private_key_read",
        &[
            "mkdir -p /root/.ssh; echo key >/root/.ssh/id_rsa; chmod 600 /root/.ssh/id_rsa; cat /root/.ssh/id_rsa >/dev/null",
            "mkdir -p /home/u/.ssh; (umask 077; echo key >/home/u/.ssh/work); base64 /home/u/.ssh/work >/dev/null",
            "(umask 077; echo key >/etc/ssh/ssh_host_x_key); cp /etc/ssh/ssh_host_x_key $top/k",
            "mkdir -p /root/.ssh; (umask 077; echo key >/root/.ssh/k); perl -pe '' /root/.ssh/k >/dev/null",
        ],
    ),
    (
        "stored_passwords_read",
        &[
            "mkdir -p /home/u/.mozilla/firefox/p; echo x >/home/u/.mozilla/firefox/p/logins.json; cat /home/u/.mozilla/firefox/p/logins.json >/dev/null",
            "mkdir -p /home/u/.mozilla/firefox/p; echo x >/home/u/.mozilla/firefox/p/key4.db; cp /home/u/.mozilla/firefox/p/key4.db $top",
            "mkdir -p /root/.password-store; (umask 077; echo x >/root/.password-store/a.gpg); base64 /root/.password-store/a.gpg >/dev/null",
            "(umask 077; echo x >/home/all.kdbx); cat /home/all.kdbx >/dev/null",
        ],
    ),
    (
        "secrets_gathered",
        &[
            "umask 077; for n in 1 2 3 4 5 6 7 8 9; do echo x >/etc/$n.pem; done; cat /etc/?.pem >/dev/null",
            "umask 077; for n in 1 2 3 4 5 6 7 8 9; do mkdir -p /home/$n; echo x >/home/$n/.env; done; cat /home/?/.env >/dev/null",
            "umask 077; for n in 1 2 3 4 5 6 7 8 9; do mkdir -p /home/$n/.ssh; echo x >/home/$n/.ssh/id_rsa; done; tar cf $top/all.tar /home/?/.ssh 2>/dev/null",
            "umask 077; for n in 1 2 3 4 5 6 7 8 9; do mkdir -p /home/$n; echo x >/home/$n/.netrc; done; grep -r x /home --include=.netrc >/dev/null",
        ],
    ),
    (
        "process_environment_read",
        &[
            "sleep 60 & sleeps; cat /proc/$!/environ >/dev/null; kill $!",
            "sleep 60 & sleeps; tr '\\0' '\\n' </proc/$!/environ >/dev/null; kill $!",
            "mkdir $top/p; mount -t proc p $top/p; sleep 60 & sleeps; cat $top/p/$!/environ >/dev/null; kill $!",
            "sleep 60 & sleeps; perl -e 'open F,\"<\",\"/proc/$ARGV[0]/environ\"; print <F>' $! >/dev/null; kill $!",
        ],
    ),
    (
        "raw_disk_opened",
        &[
            "disk=$(lsblk -dnro MAJ:MIN,TYPE | awk '$2 == \"disk\" {print $1; exit}'); mknod $top/d b ${disk%:*} ${disk#*:}; head -c 512 $top/d >/dev/null",
            "disk=$(lsblk -dnro MAJ:MIN,TYPE | awk '$2 == \"disk\" {print $1; exit}'); mknod $top/d b ${disk%:*} ${disk#*:}; debugfs -R 'stat /' $top/d >/dev/null 2>&1",
            "disk=$(lsblk -dnro MAJ:MIN,TYPE | awk '$2 == \"disk\" {print $1; exit}'); mknod $top/d b ${disk%:*} ${disk#*:}; dd if=$top/d of=/dev/null count=1 2>/dev/null",
            "disk=$(lsblk -dnro MAJ:MIN,TYPE | awk '$2 == \"disk\" {print $1; exit}'); mknod $top/d b ${disk%:*} ${disk#*:}; perl -e \"open F,'<$top/d'\"",
        ],
    ),
    (
        "account_file_changed",
        &[
            "echo 'x::0:0::/root:/bin/sh' >>/etc/passwd",
            "sed -i 's/^root:[^:]*/root:/' /etc/shadow",
            "cp /etc/passwd $top/p; cp $top/p /etc/passwd",
            "echo 'x::0:' >$top/g; mv $top/g /etc/group",
        ],
    ),
    (
        "sudoers_changed",
        &[
            "mkdir -p /etc/sudoers.d; echo 'u ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/u",
            "echo 'u ALL=(ALL) NOPASSWD: ALL' | tee -a /etc/sudoers >/dev/null",
            "mkdir -p /etc/sudoers.d; echo x >$top/x; ln -s $top/x /etc/sudoers.d/x",
            "echo x >$top/x; mv $top/x /etc/sudoers",
        ],
    ),
    (
        "authentication_changed",
        &[
            "echo 'auth sufficient pam_permit.so' >>/etc/pam.d/common-auth",
            "cp /usr/bin/true $(ls -d /usr/lib/*/security /usr/lib/security /usr/lib64/security 2>/dev/null | head -1)/pam_unix.so",
            "sed -i '1i # x' /etc/nsswitch.conf",
            "mkdir -p /etc/ssh; echo 'PermitRootLogin yes' >/etc/ssh/sshd_config",
        ],
    ),
    (
        "authorized_keys_write",
        &[
            "mkdir -p /root/.ssh; echo 'ssh-ed25519 AAAA' >>/root/.ssh/authorized_keys",
            "mkdir -p /home/u/.ssh; echo k >$top/k; mv $top/k /home/u/.ssh/authorized_keys",
            "mkdir -p /home/u/.ssh; echo k | tee /home/u/.ssh/authorized_keys2 >/dev/null",
            "mkdir -p /home/u/.ssh; ln -s $top/k /home/u/.ssh/authorized_keys",
        ],
    ),
    (
        "scheduled_task_write",
        &[
            "echo '* * * * * root id' >/etc/cron.d/x",
            "mkdir -p /var/spool/cron/crontabs; echo x >$top/x; mv $top/x /var/spool/cron/crontabs/root",
            "printf '#!/bin/sh\\nid\\n' >$top/x; ln $top/x /etc/cron.daily/x 2>/dev/null || cp $top/x /etc/cron.daily/x",
            "echo '* * * * * root id' >>/etc/crontab",
        ],
    ),
    (
        "service_unit_write",
        &[
            "mkdir -p /etc/systemd/system; echo '[Service]' >/etc/systemd/system/x.service",
            "mkdir -p /etc/systemd/system/multi-user.target.wants; ln -s $top/x /etc/systemd/system/multi-user.target.wants/x.service",
            "mkdir -p /etc/udev/rules.d; echo 'RUN+=\"/x\"' >/etc/udev/rules.d/99-x.rules",
            "mkdir -p /root/.config/systemd/user; echo '[Service]' >/root/.config/systemd/user/x.service",
            "mkdir -p /etc/init.d; cp /usr/bin/true /etc/init.d/x",
        ],
    ),
    (
        "shell_startup_write",
        &[
            "echo id >>/root/.bashrc",
            "echo id >/etc/profile.d/x.sh",
            "mkdir -p /home/u; echo id >$top/x; mv $top/x /home/u/.profile",
            "echo 'LD_PRELOAD=/x.so' >>/etc/environment",
        ],
    ),
    (
        "preload_file_write",
        &[
            "echo /x.so >$top/x; mv $top/x /etc/ld.so.preload",
            "ln -s $top/x /etc/ld.so.preload",
            "perl -e 'open F,\">/etc/ld.so.preload\"'",
            "touch $top/e; cp $top/e /etc/ld.so.preload",
        ],
    ),
    (
        "library_path_changed",
        &[
            "echo /x >/etc/ld.so.conf.d/0.conf",
            "echo /x >>/etc/ld.so.conf",
            "echo /x >$top/x; mv $top/x /etc/ld.so.conf.d/x.conf",
            "sed -i '1i /x' /etc/ld.so.conf",
        ],
    ),
    (
        "boot_file_write",
        &[
            "cp /usr/bin/true /boot/vmlinuz-x",
            "mkdir -p /boot/grub; echo x >>/boot/grub/grub.cfg",
            "echo x >$top/x; mv $top/x /boot/initrd.img-x",
            "ln -s /boot/vmlinuz-x /boot/vmlinuz",
        ],
    ),
    (
        "system_program_write",
        &[
            "cp /usr/bin/true /usr/bin/x",
            "echo x >>/usr/bin/ls",
            "cp /usr/bin/true $top/x; mv $top/x /usr/sbin/x",
            "ln -s $top/x /usr/local/bin/ls",
            "cp /usr/bin/true $top/dpkg; mkdir -p /usr/lib/x; exec -a /usr/bin/dpkg cp $top/dpkg /usr/lib/x/y",
        ],
    ),
    (
        "package_database_write",
        &[
            "mkdir -p /var/lib/dpkg/info; echo x >/var/lib/dpkg/info/x.md5sums",
            "mkdir -p /var/lib/dpkg; echo x >>/var/lib/dpkg/status",
            "mkdir -p /var/lib/rpm; echo x >$top/x; mv $top/x /var/lib/rpm/rpmdb.sqlite",
            "mkdir -p /usr/lib/sysimage/rpm; echo x >/usr/lib/sysimage/rpm/rpmdb.sqlite",
        ],
    ),
    (
        "setuid_bit_set",
        &[
            "cp /usr/bin/true $top/x; chmod u+s $top/x",
            "cp /usr/bin/true $top/x; chmod 6755 $top/x",
            "install -m 4755 /usr/bin/true $top/x",
            "cp /usr/bin/true $top/x; perl -e \"open F,'<$top/x'; chmod 04755, *F\"",
        ],
    ),
    (
        "log_cut_or_removed",
        &[
            "mkdir -p /var/log; echo x >>/var/log/auth.log; truncate -s 0 /var/log/auth.log",
            "echo x >>/var/log/wtmp; rm /var/log/wtmp",
            "echo x >>/var/log/syslog; echo y >$top/y; mv $top/y /var/log/syslog",
            "mkdir -p /var/log/audit; echo x >>/var/log/audit/audit.log; rm /var/log/audit/audit.log",
        ],
    ),
    (
        "log_moved_away",
        &[
            "echo x >>/var/log/secure; mv /var/log/secure /var/log/x",
            "echo x >>/var/log/btmp; perl -e 'rename \"/var/log/btmp\",\"/var/log/x\"'",
            "echo x >>/var/log/auth.log; mv /var/log/auth.log /var/log/x",
            "echo x >>/var/log/wtmp; perl -e 'rename \"/var/log/wtmp\",\"/var/log/harmless\"'",
        ],
    ),
    (
        "log_overwritten",
        &[
            "echo x >>/var/log/auth.log; : >/var/log/auth.log",
            "echo x >>/var/log/wtmp; dd if=/dev/zero of=/var/log/wtmp bs=1 count=1 conv=notrunc 2>/dev/null",
            "echo x >>/var/log/lastlog; perl -e 'open F,\"+</var/log/lastlog\"'",
            "echo x >>/var/log/btmp; cp /dev/null /var/log/btmp",
        ],
    ),
    (
        "shell_history_removed",
        &[
            "echo x >/root/.bash_history; rm /root/.bash_history",
            "ln -sf /dev/null /root/.bash_history",
            "echo x >/root/.zsh_history; truncate -s 0 /root/.zsh_history",
            "echo x >/root/.python_history; perl -e 'unlink \"/root/.python_history\"'",
        ],
    ),
    (
        "sentinel_file_changed",
        &[
            "mkdir -p /etc/sentinel; echo x >/etc/sentinel/analyzer.toml",
            "mkdir -p /etc/sentinel/rules.d; echo x >$top/x; mv $top/x /etc/sentinel/rules.d/x.toml",
            "mkdir -p /var/log/sentinel; echo x >/var/log/sentinel/alerts.json; rm /var/log/sentinel/alerts.json",
            "mkdir -p /var/lib/sentinel; ln -s /dev/null /var/lib/sentinel/baseline",
        ],
    ),
    (
        "memory_file_run",
        &[
            "python3 -c 'import os; f=os.memfd_create(\"x\",0); os.write(f,open(\"/usr/bin/true\",\"rb\").read()); os.execv(\"/proc/self/fd/%d\"%f,[\"true\"])'",
            "python3 -c 'import os; f=os.memfd_create(\"\"); os.write(f,open(\"/usr/bin/dash\",\"rb\").read()); os.execve(f,[\"sh\",\"-c\",\"true\"],{})'",
            "perl -e 'my $n=\"x\"; my $f=syscall(319,$n,0); open O,\">&=\".$f; open I,\"</usr/bin/true\"; print O <I>; close I; exec {\"/proc/$$/fd/$f\"} \"x\"'",
            "perl -e 'my $n=\"\"; my $f=syscall(319,$n,0); open O,\">&=\".$f; open I,\"</usr/bin/dash\"; print O <I>; exec {\"/proc/self/fd/$f\"} \"[kworker]\", \"-c\", \"true\"'",
        ],
    ),
    (
        "deleted_file_run",
        &[
            "cp /usr/bin/true $top/x; cp /usr/bin/true $top/y; exec 3<$top/x; mv $top/y $top/x; /proc/self/fd/3",
            "d=$(mktemp -d /dev/shm/x.XXXX); cp /usr/bin/true $d/x; exec 3<$d/x; rm -r $d; /proc/self/fd/3",
            "cp /usr/bin/true $top/x; exec 3<$top/x; rm $top/x; /proc/self/fd/3",
            "cp /usr/bin/dash $top/x; exec 3<$top/x; rm $top/x; /proc/self/fd/3 -c true",
        ],
    ),
    (
        "dropped_file_run",
        &[
            "d=$(mktemp -d /dev/shm/x.XXXX); cat /usr/bin/true >$d/x; chmod +x $d/x; $d/x; rm -r $d",
            "d=$(mktemp -d /dev/shm/x.XXXX); cat /usr/bin/dash >$d/x; chmod 755 $d/x; $d/x -c true; rm -r $d",
            "d=$(mktemp -d /dev/shm/x.XXXX); install -m 755 /usr/bin/true $d/x; (sleep 0.1; $d/x); rm -r $d",
            "d=$(mktemp -d /dev/shm/x.XXXX); cat /usr/bin/true >$d/x; chmod +x $d/x; mv $d/x $d/y; $d/y; rm -r $d",
        ],
    ),
    (
        "shared_memory_run",
        &[
            "d=$(mktemp -d /dev/shm/x.XXXX); cp /usr/bin/true $d/x; $d/x; rm -r $d",
            "d=$(mktemp -d /dev/shm/.x.XXXX); cp /usr/bin/true $d/ls; $d/ls; rm -r $d",
            "d=$(mktemp -d /dev/shm/x.XXXX); cp /usr/bin/dash $d/x; cd $d; ./x -c true; rm -r $d",
            "mkdir -p $top/s; d=$(mktemp -d /dev/shm/x.XXXX); cp /usr/bin/true $d/x; ln -s $d/x $top/s/x; $top/s/x; rm -r $d",
        ],
    ),
    (
        "temporary_file_run",
        &[
            "cp /usr/bin/true $top/x; $top/x",
            "d=$(mktemp -d /var/tmp/x.XXXX); cp /usr/bin/true $d/x; $d/x",
            "cp /usr/bin/dash $top/x; $top/x -c true",
            "cp /usr/bin/true $top/x; mkdir -p /home/u; ln -s $top/x /home/u/x; /home/u/x",
        ],
    ),
    (
        "user_namespace_made",
        &[
            "setpriv --reuid=1000 --clear-groups perl -e 'syscall(272,0x10000000)==0 or die'",
            "setpriv --reuid=1000 --clear-groups unshare -Urmn true",
            "setpriv --reuid=1000 --clear-groups unshare -U true",
            "setpriv --reuid=65532 --clear-groups unshare -Ur true",
        ],
    ),
    (
        "web_server_shell",
        &[
            "cp /usr/bin/perl /usr/sbin/nginx; /usr/sbin/nginx -e 'system(\"true; true\")'",
            "cp /usr/bin/perl /usr/sbin/apache2; /usr/sbin/apache2 -e 'print `id; id`' >/dev/null",
            "cp /usr/bin/perl /usr/sbin/php-fpm8.2; /usr/sbin/php-fpm8.2 -e 'open P,\"-|\",\"/bin/bash\",\"-c\",\"id\"; print <P>' >/dev/null",
            "cp /usr/bin/perl /usr/sbin/lighttpd; /usr/sbin/lighttpd -e 'if (!fork) { exec \"/bin/sh\", \"-c\", \"true\" } wait'",
        ],
    ),
    (
        "database_shell",
        &[
            "mkdir -p /usr/lib/postgresql/15/bin; cp /usr/bin/perl /usr/lib/postgresql/15/bin/postgres; /usr/lib/postgresql/15/bin/postgres -e 'print `id; id`' >/dev/null",
            "cp /usr/bin/perl /usr/sbin/mysqld; /usr/sbin/mysqld -e 'system(\"true; true\")'",
            "cp /usr/bin/perl /usr/bin/redis-server; /usr/bin/redis-server -e 'system(\"/bin/bash\",\"-c\",\"true\")'",
            "cp /usr/bin/perl /usr/sbin/mariadbd; /usr/sbin/mariadbd -e 'if (!fork) { exec \"/bin/sh\", \"-c\", \"true\" } wait'",
        ],
    ),
    (
        "foreign_process_traced",
        &[
            "sleep 60 & sleeps; perl -e 'syscall(101,16,shift()+0,0,0)' $!; kill -9 $!",
            "sleep 60 & sleeps; perl -e 'syscall(101,0x4206,shift()+0,0,0)' $!; kill -9 $!",
            "sleep 60 & sleeps; cp /usr/bin/strace $top/x; timeout 3 $top/x -qq -p $! 2>/dev/null || true; kill $!",
            "sleep 60 & sleeps; cp /usr/bin/gdb $top/x; timeout 20 $top/x -nx -batch -p $! >/dev/null 2>&1 || true; kill $!",
        ],
    ),
    (
        "foreign_code_injected",
        &[
            "sleep 60 & p=$!; sleeps; a=$(awk '/\\[stack\\]/ {split($1,x,\"-\"); print x[1]}' /proc/$p/maps); perl -e '$p=$ARGV[0]+0; syscall(101,16,$p,0,0); select undef,undef,undef,0.1; syscall(101,5,$p,hex $ARGV[1],0)' $p $a; kill -9 $p",
            "sleep 60 & p=$!; sleeps; a=$(awk '/\\[stack\\]/ {split($1,x,\"-\"); print x[1]}' /proc/$p/maps); perl -e '$p=$ARGV[0]+0; syscall(101,16,$p,0,0); select undef,undef,undef,0.1; syscall(101,4,$p,hex $ARGV[1],0)' $p $a; kill -9 $p",
            "sleep 60 & sleeps; perl -e '$p=shift()+0; syscall(101,0x4206,$p,0,0); syscall(101,0x4207,$p,0,0); select undef,undef,undef,0.1; $b=\"\\0\"x512; syscall(101,12,$p,0,$b); syscall(101,13,$p,0,$b)' $!; kill -9 $!",
            "sleep 60 & sleeps; perl -e '$p=shift()+0; syscall(101,16,$p,0,0); select undef,undef,undef,0.1; $b=\"\\0\"x512; syscall(101,12,$p,0,$b); syscall(101,13,$p,0,$b)' $!; kill -9 $!",
        ],
    ),
    (
        "foreign_memory_read",
        &[
            "cp /usr/bin/perl $top/gdb; sleep 60 & p=$!; sleeps; a=$(awk '/\\[stack\\]/ {split($1,x,\"-\"); print x[1]}' /proc/$p/maps); $top/gdb -e '$b=\"\\0\"x8; $l=pack(\"Q2\",unpack(\"Q\",pack(\"P\",$b)),8); $r=pack(\"Q2\",hex $ARGV[1],8); syscall(310,$ARGV[0]+0,$l,1,$r,1,0)' $p $a; kill $p",
            "sleep 60 & p=$!; sleeps; a=$(awk '/\\[stack\\]/ {split($1,x,\"-\"); print x[1]}' /proc/$p/maps); (setsid perl -e '$b=\"\\0\"x8; $l=pack(\"Q2\",unpack(\"Q\",pack(\"P\",$b)),8); $r=pack(\"Q2\",hex $ARGV[1],8); syscall(310,$ARGV[0]+0,$l,1,$r,1,0)' $p $a); kill $p",
            "cp /usr/bin/perl /usr/local/bin/gdb; sleep 60 & p=$!; sleeps; a=$(awk '/\\[stack\\]/ {split($1,x,\"-\"); print x[1]}' /proc/$p/maps); /usr/local/bin/gdb -e '$b=\"\\0\"x8; $l=pack(\"Q2\",unpack(\"Q\",pack(\"P\",$b)),8); $r=pack(\"Q2\",hex $ARGV[1],8); syscall(310,$ARGV[0]+0,$l,1,$r,1,0)' $p $a; kill $p",
            "sleep 60 & p=$!; sleeps; a=$(awk '/\\[stack\\]/ {split($1,x,\"-\"); print x[1]}' /proc/$p/maps); perl -e '$b=\"\\0\"x8; $l=pack(\"Q2\",unpack(\"Q\",pack(\"P\",$b)),8); $r=pack(\"Q2\",hex $ARGV[1],8); syscall(310,$ARGV[0]+0,$l,1,$r,1,0)' $p $a; kill $p",
        ],
    ),
    (
        "foreign_memory_written",
        &[
            "cp /usr/bin/perl $top/gdb; sleep 60 & p=$!; sleeps; a=$(awk '/\\[stack\\]/ {split($1,x,\"-\"); print x[1]}' /proc/$p/maps); $top/gdb -e '$b=\"\\0\"x8; $l=pack(\"Q2\",unpack(\"Q\",pack(\"P\",$b)),8); $r=pack(\"Q2\",hex $ARGV[1],8); syscall(311,$ARGV[0]+0,$l,1,$r,1,0)' $p $a; kill $p",
            "sleep 60 & p=$!; sleeps; a=$(awk '/\\[stack\\]/ {split($1,x,\"-\"); print x[1]}' /proc/$p/maps); (setsid perl -e '$b=\"\\0\"x8; $l=pack(\"Q2\",unpack(\"Q\",pack(\"P\",$b)),8); $r=pack(\"Q2\",hex $ARGV[1],8); syscall(311,$ARGV[0]+0,$l,1,$r,1,0)' $p $a); kill $p",
            "cp /usr/bin/perl /usr/local/bin/gdb; sleep 60 & p=$!; sleeps; a=$(awk '/\\[stack\\]/ {split($1,x,\"-\"); print x[1]}' /proc/$p/maps); /usr/local/bin/gdb -e '$b=\"\\0\"x8; $l=pack(\"Q2\",unpack(\"Q\",pack(\"P\",$b)),8); $r=pack(\"Q2\",hex $ARGV[1],8); syscall(311,$ARGV[0]+0,$l,1,$r,1,0)' $p $a; kill $p",
            "sleep 60 & p=$!; sleeps; a=$(awk '/\\[stack\\]/ {split($1,x,\"-\"); print x[1]}' /proc/$p/maps); perl -e '$b=\"\\0\"x8; $l=pack(\"Q2\",unpack(\"Q\",pack(\"P\",$b)),8); $r=pack(\"Q2\",hex $ARGV[1],8); syscall(311,$ARGV[0]+0,$l,1,$r,1,0)' $p $a; kill $p",
        ],
    ),
    (
        "process_memory_file_write",
        &[
            "sleep 60 & sleeps; perl -e 'open F,\"+<\",\"/proc/$ARGV[0]/mem\"' $!; kill $!",
            "sleep 60 & sleeps; exec 3<>/proc/$!/mem; kill $!",
            "sleep 60 & sleeps; dd if=/dev/null of=/proc/$!/mem conv=notrunc 2>/dev/null; kill $!",
            "sleep 60 & sleeps; exec 3<>/proc/$!/task/$!/mem; kill $!",
        ],
    ),
    (
        "process_memory_file_read",
        &[
            "sleep 60 & sleeps; exec 3</proc/$!/mem; kill $!",
            "sleep 60 & sleeps; perl -e 'open F,\"<\",\"/proc/$ARGV[0]/mem\"' $!; kill $!",
            "sleep 60 & sleeps; mkdir $top/p; mount -t proc p $top/p; exec 3<$top/p/$!/mem; kill $!",
            "sleep 60 & sleeps; exec 3</proc/$!/task/$!/mem; kill $!",
        ],
    ),
    (
        "userfaultfd_opened",
        &[
            "setpriv --reuid=1000 --clear-groups perl -e 'syscall(323,0x80001)'",
            "setpriv --reuid=65532 --clear-groups perl -e 'syscall(323,0x801)'",
            "cp /usr/bin/perl $top/criu; chmod 755 $top $top/criu; setpriv --reuid=1000 --clear-groups $top/criu -e 'syscall(323,1)'",
            "setpriv --reuid=1000 --clear-groups perl -e 'syscall(323,1)'",
        ],
    ),
    (
        "rootkit_module_load",
        &[
            "cp /usr/bin/true $top/x.ko; perl -e 'open F,\"<$ARGV[0]\"; $n=\"\"; syscall(313,fileno(F),$n,0)' $top/x.ko",
            "perl -e '$b=\"x\"x64; $n=\"\"; syscall(175,$b,64,$n)'",
            "perl -e '$n=\"x\"; $f=syscall(319,$n,0); $p=\"\"; syscall(313,$f,$p,0)'",
            "mkdir -p /usr/lib/modules/x; cp /usr/bin/true /usr/lib/modules/x/y.ko; cp /usr/bin/perl $top/modprobe; exec -a modprobe $top/modprobe -e 'open F,\"</usr/lib/modules/x/y.ko\"; $n=\"\"; syscall(313,fileno(F),$n,0)'",
        ],
    ),
    (
        "bpf_program_loaded",
        &[
            "perl -e '$i=pack(\"Q2\",0xb7,0x95); $i=pack(\"CCsl CCsl\",0xb7,0,0,0,0x95,0,0,0); $l=\"GPL\\0\"; $a=pack(\"L L Q Q L L Q L L\",8,2,unpack(\"Q\",pack(\"P\",$i)),unpack(\"Q\",pack(\"P\",$l)),0,0,0,0,0).\"\\0\"x80; $r=syscall(321,5,$a,72); die $! if $r<0'",
            "perl -e '$i=pack(\"Q2\",0xb7,0x95); $i=pack(\"CCsl CCsl\",0xb7,0,0,0,0x95,0,0,0); $l=\"GPL\\0\"; $a=pack(\"L L Q Q L L Q L L\",6,2,unpack(\"Q\",pack(\"P\",$i)),unpack(\"Q\",pack(\"P\",$l)),0,0,0,0,0).\"\\0\"x80; $r=syscall(321,5,$a,72); die $! if $r<0'",
            "cp /usr/bin/perl $top/bpftool; $top/bpftool -e '$i=pack(\"Q2\",0xb7,0x95); $i=pack(\"CCsl CCsl\",0xb7,0,0,0,0x95,0,0,0); $l=\"GPL\\0\"; $a=pack(\"L L Q Q L L Q L L\",1,2,unpack(\"Q\",pack(\"P\",$i)),unpack(\"Q\",pack(\"P\",$l)),0,0,0,0,0).\"\\0\"x80; $r=syscall(321,5,$a,72); die $! if $r<0'",
            "perl -e '$i=pack(\"Q2\",0xb7,0x95); $i=pack(\"CCsl CCsl\",0xb7,0,0,0,0x95,0,0,0); $l=\"GPL\\0\"; $a=pack(\"L L Q Q L L Q L L\",1,2,unpack(\"Q\",pack(\"P\",$i)),unpack(\"Q\",pack(\"P\",$l)),0,0,0,0,0).\"\\0\"x80; $r=syscall(321,5,$a,72); die $! if $r<0'",
        ],
    ),
    (
        "kernel_helper_changed",
        &[
            "exec 3<>/proc/sys/kernel/core_pattern",
            "perl -e 'open F,\"+</proc/sys/kernel/modprobe\"' ; exec 3>>/proc/sys/kernel/core_pattern",
            "mkdir $top/p; mount -t proc p $top/p; exec 3<>$top/p/sys/kernel/core_pattern",
            "mkdir $top/b; mount --bind /proc/sys/kernel $top/b; exec 3<>$top/b/core_pattern",
        ],
    ),
    (
        "kernel_hardening_changed",
        &[
            "exec 3<>/proc/sys/kernel/randomize_va_space",
            "perl -e 'open F,\"+</proc/sys/kernel/kptr_restrict\"'",
            "mkdir $top/p; mount -t proc p $top/p; exec 3<>$top/p/sys/kernel/dmesg_restrict",
            "dd if=/dev/null of=/proc/sys/kernel/perf_event_paranoid conv=notrunc 2>/dev/null",
        ],
    ),
    (
        "packet_socket",
        &[
            "perl -e 'use Socket; socket(S,17,3,0x0300) or die'",
            "perl -e 'use Socket; socket(S,17,2,0x0300) or die'",
            "cp /usr/bin/perl $top/tcpdump; exec -a tcpdump $top/tcpdump -e 'use Socket; socket(S,17,3,0) or die'",
            "unshare -n perl -e 'use Socket; socket(T,17,3,0x0300) or die'",
        ],
    ),
    (
        "release_agent_write",
        &[
            "mkdir $top/c; mount -t cgroup -o rdma c $top/c 2>/dev/null || mount -t cgroup -o none,name=sentinel_test3 c $top/c; cat $top/c/release_agent >$top/c/release_agent",
            "mkdir $top/c; mount -t cgroup -o rdma c $top/c 2>/dev/null || mount -t cgroup -o none,name=sentinel_test4 c $top/c; perl -e \"open F,'+<$top/c/release_agent'\"",
            "mkdir $top/c; mount -t cgroup -o rdma c $top/c 2>/dev/null || mount -t cgroup -o none,name=sentinel_test5 c $top/c; ln -s $top/c/release_agent $top/harmless; exec 3<>$top/harmless",
            "mkdir $top/c; mount -t cgroup -o rdma c $top/c 2>/dev/null || mount -t cgroup -o none,name=sentinel_test c $top/c; exec 3<>$top/c/release_agent",
        ],
    ),
    (
        "cgroup_hierarchy_mounted",
        &[
            "mkdir $top/c; mount -t cgroup -o none,name=sentinel_test6 c $top/c; umount $top/c",
            "mkdir $top/c; cp /usr/bin/mount $top/runc; $top/runc -t cgroup -o none,name=sentinel_test7 c $top/c; umount $top/c",
            "mkdir $top/c; perl -e '$a=\"c\"; $t=\"cgroup\"; $o=\"none,name=sentinel_test8\"; $p=\"$ARGV[0]\"; syscall(165,$a,$p,$t,0,$o)==0 or die $!' $top/c; umount $top/c",
            "mkdir $top/c; mount -t cgroup -o none,name=sentinel_test2 c $top/c; umount $top/c",
        ],
    ),
    (
        "namespace_joined",
        &[
            "unshare -m sleep 60 & sleeps; nsenter -t $! -m true; kill $!",
            "unshare -n sleep 60 & sleeps; nsenter --net=/proc/$!/ns/net true; kill $!",
            "unshare -u sleep 60 & sleeps; perl -e 'open F,\"<\",\"/proc/$ARGV[0]/ns/uts\"; syscall(308,fileno(F),0)==0 or die' $!; kill $!",
            "unshare -n sleep 60 & sleeps; nsenter -t $! -n true; kill $!",
        ],
    ),
    (
        "process_files_mounted_over",
        &[
            "mkdir $top/e; sleep 60 & sleeps; perl -e '$s=$ARGV[0]; $t=\"/proc/$ARGV[1]\"; $n=\"\"; syscall(165,$s,$t,$n,4096,0)==0 or die $!' $top/e $!; kill $!",
            "mkdir $top/e; mount -t tmpfs t $top/e; sleep 60 & sleeps; mount --move $top/e /proc/$! 2>/dev/null || mount --bind $top/e /proc/$!; kill $!",
            "mkdir $top/e; sleep 60 & sleeps; mount --bind $top/e /proc/$!; kill $!",
            "sleep 60 & sleeps; mount -t tmpfs t /proc/$!; kill $!",
        ],
    ),
    (
        "disk_mounted_in_container",
        &[
            "truncate -s 4M $top/i; mkfs.ext4 -q $top/i >/dev/null 2>&1; mkdir $top/m; c=$CGROUP/docker-$(printf %064d 7).scope; mkdir $c; echo $$ >$c/cgroup.procs; mount -o loop $top/i $top/m; umount $top/m; echo $$ >$CGROUP/cgroup.procs; rmdir $c",
            "truncate -s 4M $top/i; mkfs.ext2 -q $top/i >/dev/null 2>&1; mkdir $top/m; c=$CGROUP/docker-$(printf %064d 8).scope; mkdir $c; echo $$ >$c/cgroup.procs; mount -o loop $top/i $top/m; umount $top/m; echo $$ >$CGROUP/cgroup.procs; rmdir $c",
        ],
    ),
    (
        "link_to_secret",
        &[
            "ln -s /etc/shadow $top/x",
            "ln /etc/shadow /etc/harmless",
            "ln -s /root/.ssh/id_rsa /var/x",
            "cd $top; mkdir -p a/b; perl -e 'symlink \"/etc/sudoers\",\"/var/y\"'",
        ],
    ),
    (
        "firewall_flushed",
        &[
            "cp /usr/bin/true /usr/sbin/xtables-nft-multi; exec -a ip6tables /usr/sbin/xtables-nft-multi --flush",
            "cp /usr/bin/true /usr/sbin/xtables-legacy-multi; exec -a iptables /usr/sbin/xtables-legacy-multi -t nat -F",
            "cp /usr/bin/true /usr/sbin/nft; /usr/sbin/nft flush ruleset",
            "cp /usr/bin/true /usr/sbin/xtables-nft-multi; exec -a iptables /usr/sbin/xtables-nft-multi -F",
        ],
    ),
    (
        "sentinel_signalled",
        &[
            "setpriv --reuid=65532 --clear-groups kill -9 $SENTINEL_LOADER || true",
            "setpriv --reuid=65532 --clear-groups kill -STOP $SENTINEL_ENFORCER || true",
            "setpriv --reuid=65532 --clear-groups perl -e 'kill TERM => $ENV{SENTINEL_ANALYZER}'",
            "setpriv --reuid=65532 --clear-groups perl -e 'kill KILL => $ENV{SENTINEL_LOADER}'",
        ],
    ),
    (
        "security_service_stopped",
        &[
            "cp /usr/bin/true /usr/bin/systemctl; /usr/bin/systemctl stop auditd",
            "cp /usr/bin/true /usr/bin/systemctl; systemctl mask --now rsyslog",
            "cp /usr/bin/true /usr/bin/systemctl; systemctl disable sentinel-loader.service",
            "cp /usr/bin/true /usr/bin/systemctl; systemctl kill -s KILL sentinel-analyzer",
        ],
    ),
];
