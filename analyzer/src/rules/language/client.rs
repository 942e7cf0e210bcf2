//! Programs that read secrets of their own: `[[client]]` tables.

use sentinel_ipc::file_class::{SECRET, bit};

use super::{
    error::{Wrong, unknown},
    is_said, matching,
    table::{Item, Table, integer, one_or_more, text, unlike},
};
use crate::{
    escape::escape, program::is_name_of_one, rules::fields::FILE_CLASSES, secrets::own::Client,
};

const KEYS: [&str; 8] =
    ["why", "exe", "script", "class", "file", "port", "sends_files", "secret_options"];

/// A client.
pub(super) fn parse(item: &Item<'_>) -> Result<Client, Wrong> {
    let table = Table::of(item, "a client", &KEYS)?;
    let exe = list(&table, "exe", |item| {
        matching(
            item,
            is_path,
            "a whole path, in which one * may stand for a part of a directory's name",
        )
    })?;
    let what = "a whole path, or the name of a script in a directory of programs";
    let script = list(&table, "script", |item| matching(item, is_script, what))?;
    if exe.is_empty() && script.is_empty() {
        table.required("exe")?;
    }
    if let (true, Some(item)) = (script.is_empty(), table.get("exe")) {
        one_or_more(item).iter().try_for_each(runs_nothing_else)?;
    }
    let classes = table.required("class")?;
    let classes = one_or_more(classes).iter().try_fold(0, |all, one| Ok(all | class(one)?))?;
    if classes == 0 {
        return Err(Wrong::new(table.required("class")?.span(), "the list is empty"));
    }
    let sends_files = table.get("sends_files").map_or(Ok(false), |item| {
        item.get_ref().as_bool().ok_or_else(|| unlike(item, "true or false"))
    })?;
    if let (false, Some(item)) = (sends_files, table.get("secret_options")) {
        let why = "`secret_options` means something beside `sends_files = true` only";
        return Err(Wrong::new(item.span(), why));
    }
    Ok(Client {
        why: matching(table.required("why")?, is_said, "a sentence")?,
        exe,
        script,
        classes,
        file: list(&table, "file", file)?,
        port: list(&table, "port", port)?,
        sends_files,
        secret_options: list(&table, "secret_options", |item| {
            matching(item, is_option, "an option, which begins with -")
        })?,
    })
}

/// The values of `key`, none if it is missing.
fn list<'t, T>(
    table: &Table<'t>,
    key: &str,
    value: impl Fn(&'t Item<'t>) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    let Some(item) = table.get(key) else { return Ok(Vec::new()) };
    match one_or_more(item) {
        [] => Err(Wrong::new(item.span(), "the list is empty")),
        items => items.iter().map(value).collect(),
    }
}

/// An interpreter alone says nothing about what is run.
fn runs_nothing_else(item: &Item<'_>) -> Result<(), Wrong> {
    let path = text(item)?;
    let name = path.rsplit('/').next().unwrap_or_default();
    if is_name_of_one(name.as_bytes()) {
        let why = format!("`{path}` runs whatever it is given: say which `script` is meant");
        return Err(Wrong::new(item.span(), why));
    }
    Ok(())
}

fn class(item: &Item<'_>) -> Result<u32, Wrong> {
    let name = text(item)?;
    let secret = || FILE_CLASSES.iter().filter(|(_, class)| class & SECRET != 0);
    let one = |class: u32| if class == SECRET { 0 } else { bit(class) };
    match secret().find(|(known, _)| *known == name) {
        Some((_, SECRET)) => Ok(secret().fold(0, |all, (_, class)| all | one(*class))),
        Some((_, class)) => Ok(one(*class)),
        None => {
            let known = secret().map(|(name, _)| *name);
            Err(Wrong::new(item.span(), unknown("class of secrets", name, known)))
        }
    }
}

fn file(item: &Item<'_>) -> Result<String, Wrong> {
    let what =
        "the end of a path, as .aws/credentials, or a directory, as .azure/, without * and ?";
    matching(item, is_file, what).map(|name| escape(name.as_bytes()))
}

fn port(item: &Item<'_>) -> Result<u16, Wrong> {
    let number = integer(item).and_then(|number| u16::try_from(number).ok());
    number.filter(|number| *number > 0).ok_or_else(|| unlike(item, "a port, from 1 to 65535"))
}

fn is_path(text: &str) -> bool {
    let name = text.rsplit('/').next().unwrap_or_default();
    let has_plain_name = !name.is_empty() && !name.contains('*');
    text.starts_with('/') && has_plain_name && text.matches('*').count() <= 1
}

fn is_script(text: &str) -> bool {
    text.starts_with('/') || !text.is_empty() && !text.contains('/')
}

fn is_file(text: &str) -> bool {
    text.contains(|character| character != '/') && !text.contains(['*', '?'])
}

fn is_option(text: &str) -> bool {
    text.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::super::clients;
    use crate::secrets::own::Client;

    const WHOLE: &str = "[[client]]\nwhy = \"w\"\nexe = [\"/usr/bin/a\"]\nscript = \"s\"\nclass = \
                         [\"ssh_key\", \"sudoers\"]\nfile = \".a/b\"\nport = 443\nsends_files = true\n\
                         secret_options = \"--key\"\n";

    fn told(from: &str, to: &str) -> String {
        let text = WHOLE.replace(from, to);
        assert_ne!(text, WHOLE, "{from}");
        clients("c.toml", &text).unwrap_err().to_string()
    }

    #[test]
    fn a_client_says_who_reads_what_and_where_it_goes() {
        let all = clients("c.toml", WHOLE).unwrap();
        let [client] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!(client.class_names(), ["sudoers", "ssh_key"]);
        let Client { exe, script, file, port, sends_files, secret_options, why, .. } = client;
        assert_eq!((exe, script), (&vec!["/usr/bin/a".to_owned()], &vec!["s".to_owned()]));
        assert_eq!((file, port), (&vec![".a/b".to_owned()], &vec![443]));
        assert_eq!((*sends_files, secret_options), (true, &vec!["--key".to_owned()]));
        assert_eq!(why, "w");
        let all =
            clients("c.toml", &WHOLE.replace("[\"ssh_key\", \"sudoers\"]", "\"secret\"")).unwrap();
        let names = all[0].class_names();
        assert!(names.contains(&"private_key") && !names.contains(&"ordinary"), "{names:?}");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (from, to, wrong) in [
            ("why", "whi", "c.toml:2:1: `whi` is no key of a client: did you mean `why`?"),
            ("\"w\"", "\"\"", "c.toml:2:7: \"\" stands where a sentence belongs"),
            ("why = \"w\"\n", "", "c.toml:1:1: `why` is missing here"),
            (
                "sudoers",
                "sudoer",
                "c.toml:5:21: `sudoer` is no class of secrets: did you mean `sudoers`?",
            ),
            (
                "sudoers",
                "ordinary",
                "c.toml:5:21: `ordinary` is no class of secrets: there are pass",
            ),
            ("[\"ssh_key\", \"sudoers\"]", "[]", "c.toml:5:9: the list is empty"),
            (
                "[\"/usr/bin/a\"]",
                "\"a\"",
                "c.toml:3:7: \"a\" stands where a whole path, in which one *",
            ),
            ("/usr/bin/a", "/usr/bin/*", "c.toml:3:8: \"/usr/bin/*\" stands where a whole path"),
            ("/usr/bin/a", "/*/*/a", "c.toml:3:8: \"/*/*/a\" stands where a whole path"),
            (
                "\"s\"",
                "\"bin/s\"",
                "c.toml:4:10: \"bin/s\" stands where a whole path, or the name of a",
            ),
            ("\".a/b\"", "[]", "c.toml:6:8: the list is empty"),
            ("\".a/b\"", "\"*.pem\"", "c.toml:6:8: \"*.pem\" stands where the end of a path"),
            ("443", "[443, 0]", "c.toml:7:14: 0 stands where a port, from 1 to 65535 belongs"),
            ("443", "70000", "c.toml:7:8: 70000 stands where a port"),
            ("443", "\"https\"", "c.toml:7:8: \"https\" stands where a port"),
            ("true", "1", "c.toml:8:15: 1 stands where true or false belongs"),
            (
                "true",
                "false",
                "c.toml:9:18: `secret_options` means something beside `sends_files = true`",
            ),
            ("\"--key\"", "\"key\"", "c.toml:9:18: \"key\" stands where an option"),
        ] {
            let told = told(from, to);
            assert!(told.starts_with(wrong), "{told}");
        }
        let nobody = told("exe = [\"/usr/bin/a\"]\nscript = \"s\"\n", "");
        assert_eq!(nobody, "c.toml:1:1: `exe` is missing here");
    }

    #[test]
    fn an_interpreter_alone_is_nobody() {
        for name in ["python3.11", "bash", "node", "perl", "busybox"] {
            let text =
                WHOLE.replace("script = \"s\"\n", "").replace("bin/a", &format!("bin/{name}"));
            let wrong = clients("c.toml", &text).unwrap_err().to_string();
            assert!(wrong.contains("runs whatever it is given: say which `script`"), "{wrong}");
        }
    }
}
