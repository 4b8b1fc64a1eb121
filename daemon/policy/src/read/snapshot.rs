//! A snapshot of what a node knows: a file of objects each of which says in a comment where it was written, so
//! that what is told of it has the file and the line that somebody can open.

/// What the first line of a snapshot begins with; the node's name follows.
pub const SNAPSHOT: &str = "# bulkhead snapshot of ";

/// What a document's first line says of where the object was written.
#[must_use]
pub fn header(object: &str, place: Option<(&str, u32)>, revision: u64) -> String {
    match place {
        Some((file, line)) => format!("# {object} of {file}:{line}, revision {revision}\n"),
        None => format!("# {object}, revision {revision}\n"),
    }
}

/// A snapshot, taken apart.
#[derive(Debug, Default)]
pub(super) struct Parts<'t> {
    /// What says no place, with the lines that it has in the snapshot.
    pub(super) rest: String,
    /// File, line, and what is written there.
    pub(super) placed: Vec<(&'t str, u32, String)>,
}

/// `None` if it is no snapshot.
pub(super) fn parts(text: &str) -> Option<Parts<'_>> {
    let first = text.lines().find(|line| *line != "---")?;
    first.starts_with(SNAPSHOT).then_some(())?;
    let mut parts = Parts::default();
    let mut is_placed = false;
    let mut begins = true;
    for line in text.split_inclusive('\n') {
        if line.trim_end() == "---" {
            (is_placed, begins) = (false, true);
            parts.rest.push_str(line);
            continue;
        }
        if std::mem::take(&mut begins)
            && let Some((file, at)) = place(line.trim_end())
        {
            parts.placed.push((file, at, String::new()));
            is_placed = true;
            parts.rest.push('\n');
            continue;
        }
        match parts.placed.last_mut().filter(|_| is_placed) {
            Some((_, _, document)) => {
                document.push_str(line);
                parts.rest.push('\n');
            }
            None => parts.rest.push_str(line),
        }
    }
    Some(parts)
}

/// File and line of a [`header`].
fn place(line: &str) -> Option<(&str, u32)> {
    let (said, _) = line.strip_prefix("# ")?.rsplit_once(", revision ")?;
    let (_, place) = said.split_once(" of ")?;
    let (file, line) = place.rsplit_once(':')?;
    Some((file, line.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::Reader;

    const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
                          metadata: {name: p, namespace: NS}\nspec:\n  podSelector: {}\n  ingress:\n  - {}\n";

    #[test]
    fn objects_are_told_with_the_place_where_somebody_wrote_them() {
        let text = [
            format!("{SNAPSHOT}n1\n"),
            header("NetworkPolicy x/p", Some(("of of/a b.yaml", 7)), 3)
                + &POLICY.replace("NS", "x"),
            header("NetworkPolicy y/p", None, 4) + &POLICY.replace("NS", "y"),
            "{\"apiVersion\":\"bulkhead/v1\",\"kind\":\"Circumstances\",\"spec\":{}}\n".to_owned(),
        ]
        .join("---\n");
        let mut reader = Reader::new();
        reader.read("now.yaml", &text).unwrap();
        let reading = reader.finish();
        assert_eq!(reading.complaints, []);
        let places: Vec<_> = reading
            .world
            .policies
            .values()
            .map(|policy| {
                let rule = &policy.ingress.as_ref().unwrap()[0];
                (policy.origin.at(None), policy.origin.at(rule.line))
            })
            .collect();
        let told = |places: [&str; 2]| {
            let [whole, rule] = places.map(|place| Some(place.to_owned()));
            (whole, rule)
        };
        assert_eq!(
            places,
            [
                told(["of of/a b.yaml:7", "of of/a b.yaml:13"]),
                told(["now.yaml:13", "now.yaml:19"])
            ]
        );
    }

    #[test]
    fn another_file_is_none() {
        assert!(parts("# x of a:1, revision 2\nkind: Pod\n").is_none());
        assert!(parts("").is_none());
    }
}
