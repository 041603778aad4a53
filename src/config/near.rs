/// Returns the one of `names` that `written` is a misspelling of, if it is near enough to one.
pub(super) fn near<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let nearest = names.map(|name| (distance(written, name), name)).min();
    nearest.and_then(|(distance, name)| (distance <= name.len() / 3).then_some(name))
}

/// How many letters to change, add or leave out to get from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (index, letter) in from.chars().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        let mut next = vec![left];
        for (other, &above) in to.chars().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(letter != other))
                .min(above + 1)
                .min(left + 1);
            diagonal = above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
