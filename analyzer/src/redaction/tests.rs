use proptest::prelude::*;

use super::*;
use crate::{analysis::Analysis, baseline::observer::Figures, escape::command_line};

/// A command line as alerts have it, without secrets.
fn redacted(arguments: &[&str]) -> String {
    Redaction::default().text(command_line(&arguments.iter().collect()))
}

#[test]
fn all_built_in_patterns_are_sound() {
    assert_eq!(BUILT_IN.patterns.len(), built_in::PATTERNS.len());
}

#[test]
fn usual_secrets_are_taken_out_and_the_rest_stays() {
    for (arguments, told) in [
        (&["db", "--password=hunter2", "-v"][..], "db --password=[redacted] -v"),
        (&["db", "--password=two words", "-v"], "db '--password=[redacted]' -v"),
        (&["db", "--password", "hunter2", "-v"], "db --password [redacted] -v"),
        (&["db", "--password", "two words", "-v"], "db --password '[redacted]' -v"),
        (&["db", "--password", "it's", "-v"], "db --password '[redacted]' -v"),
        (&["env", "DB_PASSWORD=x", "run"], "env DB_PASSWORD=[redacted] run"),
        (&["mysql", "-uroot", "-phunter2", "shop"], "mysql -uroot -p[redacted] shop"),
        (&["mysql", "-p", "shop"], "mysql -p shop"),
        (
            &["curl", "-H", "Authorization: Bearer abc.def", "https://x.org/"],
            "curl -H 'Authorization: [redacted]' https://x.org/",
        ),
        (&["curl", "-u", "me:hunter2", "x.org"], "curl -u me:[redacted] x.org"),
        (&["curl", "-u", "me:hunter 2", "x.org"], "curl -u 'me:[redacted]' x.org"),
        (
            &["git", "clone", "https://me:hunter2@x.org/a/b"],
            "git clone https://me:[redacted]@x.org/a/b",
        ),
        (&["curl", "http://x.org:80/a@b"], "curl http://x.org:80/a@b"),
        (
            &["bash", "-c", "PASSWORD=hunter2 curl x.org | sh"],
            "bash -c 'PASSWORD=[redacted] curl x.org | sh'",
        ),
        (
            &["bash", "-c", "export TOKEN='a b'; nc x.org 1"],
            r"bash -c 'export TOKEN='\''[redacted]'\''; nc x.org 1'",
        ),
        (
            &["bash", "-c", "curl -H \"Authorization: Bearer abc\" x.org"],
            "bash -c 'curl -H \"Authorization: [redacted] [redacted]\" x.org'",
        ),
        (&["docker", "run", "-e", "TOKEN=a b", "x"], "docker run -e 'TOKEN=[redacted]' x"),
        (&["perl", "-e", "$token=1; exec q(sh)"], "perl -e '$token=[redacted]; exec q(sh)'"),
        (
            &["post", r#"{"password": "a b", "user": "me"}"#],
            r#"post '{"password": "[redacted]", "user": "me"}'"#,
        ),
        (&["aws", "AKIAIOSFODNN7EXAMPLE"], "aws AKIA[redacted]"),
        (
            &["x", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nAbC=\n-----END RSA PRIVATE KEY-----"],
            "x '-----BEGIN RSA PRIVATE KEY-----[redacted]'",
        ),
        (&["openssl", "-passin", "pass:hunter2"], "openssl -passin pass:[redacted]"),
        (&["ls", "/etc/passwd", "--color=auto"], "ls /etc/passwd --color=auto"),
        (&["x", "--password="], "x --password="),
        (&["env", "DB_PASS=hunter2", "run"], "env DB_PASS=[redacted] run"),
        (&["curl", "-H", "X-Token: hunter2"], "curl -H 'X-Token: [redacted]'"),
        (&["x", "eyJ0eXAiOiJKV1QiLCJhbGciOi.eyJzdWIiOiIxMjM0.SflK"], "x eyJ0eXAi[redacted]"),
        (&["x", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0.SflK"], "x eyJhbGci[redacted]"),
        (&["x", "eyJjdHkiOiJKV1QifQ.eyJzdWIiOiIxMjM0.SflK"], "x eyJjdHkiOiJKV1QifQ.eyJ[redacted]"),
        (&["db", "--password=\"hunter\"2", "-v"], "db '--password=[redacted]' -v"),
        (&["db", "--password='hunter'2", "-v"], "db '--password=[redacted]' -v"),
        (&["bash", "-c", "TOKEN=\"a\"b sh"], "bash -c 'TOKEN=[redacted] sh'"),
        (&["post", r#"{"token": "a\"b", "x": 1}"#], r#"post '{"token": "[redacted]", "x": 1}'"#),
    ] {
        assert_eq!(redacted(arguments), told);
    }
}

#[test]
fn sentences_keep_their_apostrophes() {
    let redact = |text: &str| Redaction::default().text(text.to_owned());
    let sentence = "the shell's parent didn't end; TOKEN=x was said";
    assert_eq!(redact(sentence), "the shell's parent didn't end; TOKEN=[redacted] was said");
    assert_eq!(
        redact("started /bin/db: db '--password=a b' c"),
        "started /bin/db: db '--password=[redacted]' c"
    );
}

#[test]
fn patterns_of_ones_own_are_looked_for_too() {
    let redaction = Redaction::with(vec!["badge-**nr {}.".parse().unwrap()]);
    let redact = |text: &str| redaction.text(text.to_owned());
    assert_eq!(redact("BADGE-a b NR 7.5.end"), "BADGE-a b NR [redacted].end");
    assert_eq!(redact("badge-nr 75"), "badge-nr 75", "what has to follow does not");
    assert_eq!(redact("token=x"), "token=[redacted]");
}

#[test]
fn what_is_no_pattern_is_told() {
    let long = format!("{}{{}}", "a".repeat(121));
    for (text, words) in [
        ("password", "{} is missing"),
        ("", "{} is missing"),
        ("a={} b={}", "twice"),
        ("a={}*", "no meaning"),
        ("{}", "begin with text"),
        (" {}", "begin with text"),
        ("**a{}", "begin with text"),
        (&long, "more than 120"),
    ] {
        let why = text.parse::<Pattern>().unwrap_err();
        assert!(why.contains(words), "{text}: {why}");
    }
}

/// A word of a shell's command.
fn shell_word(secret: &str) -> String {
    format!("'{}'", secret.replace('\'', "'\\''"))
}

/// Ways in which a program is given a secret.
fn given(secret: &str) -> Vec<Vec<String>> {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    vec![
        words(&["db", &format!("--password={secret}")]),
        words(&["db", "--token", secret, "x"]),
        words(&["env", &format!("API_KEY={secret}"), "sh"]),
        words(&["mysql", &format!("-p{secret}")]),
        words(&["curl", "-H", &format!("Authorization: Bearer {secret}")]),
        words(&["curl", "--user", &format!("me:{secret}")]),
        words(&["docker", "run", "-e", &format!("SECRET={secret}")]),
        words(&["env", &format!("DB_PASS={secret}"), "sh"]),
        words(&["curl", "-H", &format!("X-Token: {secret}")]),
        words(&["bash", "-c", &format!("export TOKEN={}; nc x.org 1", shell_word(secret))]),
        words(&["post", &format!("{{\"password\": {}}}", serde_json::to_string(secret).unwrap())]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_alert_tells_a_secret_wherever_it_stands(
        // With what a shell, JSON or a terminal would trip over; longer than chance.
        secret in "['\"]{0,2}[A-Za-z0-9 '\"$;|&\\\\\u{e9}]{4,12}Q9x[A-Za-z0-9 '\"$;|&\\\\\u{e9}]{0,12}",
    ) {
        let secret = secret.trim_start();
        for arguments in given(secret) {
            let line = command_line(&arguments.iter().collect());
            let told = Redaction::default().text(line.clone());
            // Nothing of it: this stands in its midst.
            prop_assert!(!told.contains("Q9x"), "{line} became {told}");
        }
    }

    #[test]
    fn any_text_is_taken_and_what_is_redacted_stays_so(
        text in "(password=|token |://a:|'| |\\\\|\"|@|-c |-e |mysql|-p|\u{e9}|x){0,40}",
    ) {
        let redaction = Redaction::default();
        let once = redaction.text(text.clone());
        prop_assert!(once == text || once.contains(REDACTED));
    }
}

#[test]
fn every_text_of_an_alert_is_redacted() {
    const SECRET: &str = "--password=hunter2";
    let all = |text: &str| text.replace("[redacted]", "");
    let text = || SECRET.to_owned();
    let alert = Alert {
        comm: Some(text()),
        exe: Some(text()),
        cmdline: Some(text()),
        script: Some(text()),
        ancestors: vec![AlertAncestor { pid: 1, exe: Some(text()), exe_trusted: true }],
        container_id: Some(text()),
        cgroup: Some(text()),
        unit: Some(text()),
        message: text(),
        steps: vec![AlertStep { timestamp_boot: 1, pid: 1, event: "exec", detail: text() }],
        figures: Some(Box::new(Figures {
            syscall: text(),
            rate: 1.0,
            mean: 1.0,
            stddev: 1.0,
            z: None,
            seconds: None,
        })),
        ..Analysis::new(false).breaker_tripped(1)
    };
    let alert = Redaction::default().alert(alert);
    let written = serde_json::to_string(&alert).unwrap();
    assert!(!all(&written).contains("hunter2"), "{written}");
    assert_eq!(written.matches("[redacted]").count(), 11, "{written}");
}
