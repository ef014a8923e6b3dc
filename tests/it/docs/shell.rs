//! As much of a shell as the commands of the guides need: words, quotes, comments, pipes.

/// The commands of a script, in words, without what their output is sent to.
pub(super) fn commands(script: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut letters = script.chars().peekable();
    let mut quote = None;
    // Where a redirection leads is no argument.
    let mut is_target = false;
    let end = |word: &mut Option<String>, commands: &mut Vec<Vec<String>>, is_target: &mut bool| {
        if let Some(word) = word.take()
            && !std::mem::take(is_target)
        {
            commands.last_mut().unwrap().push(word);
        }
    };
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            (_, Some(open)) if letter == open => quote = None,
            ('\\', Some('"')) | (_, None) if letter == '\\' => match letters.next() {
                Some('\n') | None => {}
                Some(next) => word.get_or_insert_default().push(next),
            },
            (_, Some(_)) => word.get_or_insert_default().push(letter),
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            ('#', None) if word.is_none() => while letters.next_if(|c| *c != '\n').is_some() {},
            ('\n' | ';' | '|' | '&', None) => {
                end(&mut word, &mut commands, &mut is_target);
                commands.push(Vec::new());
            }
            ('>', None) => {
                end(&mut word, &mut commands, &mut is_target);
                is_target = true;
            }
            _ if letter.is_whitespace() => end(&mut word, &mut commands, &mut is_target),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    end(&mut word, &mut commands, &mut is_target);
    commands.retain(|words| !words.is_empty());
    commands
}

/// A command without what is set for it alone, and without who runs it: `A=1 sudo x y` is `x y`.
pub(super) fn bare(words: &[String]) -> &[String] {
    let before = words
        .iter()
        .take_while(|word| matches!(word.as_str(), "sudo" | "env" | "export") || assignment(word).is_some());
    &words[before.count()..]
}

/// The name in `NAME=value`.
pub(super) fn assignment(word: &str) -> Option<&str> {
    let (name, _) = word.split_once('=')?;
    let is_name = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name
            .bytes()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_');
    is_name.then_some(name)
}

#[test]
fn splits_scripts_like_a_shell() {
    let script = "A=1 x 'a b'\"c\" # no\ny --z \\\n  w > out | v -\nn `m` '' a#b && o 2>e\n";
    let expected: [&[&str]; 5] = [
        &["A=1", "x", "a bc"],
        &["y", "--z", "w"],
        &["v", "-"],
        &["n", "`m`", "", "a#b"],
        &["o", "2"],
    ];
    assert_eq!(commands(script), expected);
    let words = commands("A=1 sudo x B=2").remove(0);
    assert_eq!(bare(&words), ["x", "B=2"]);
}
